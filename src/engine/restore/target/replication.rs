//! Subscriptions and replication slots of a database that is replaced. They are bound to the database, and would live
//! on or be dropped with it unnoticed.

use std::thread;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::engine::restore::error::RestoreError;
use crate::postgres::quote::{identifier, literal};
use crate::postgres::{Client, DatabaseError, parsed};
use crate::store::catalog::DatabaseName;
use crate::util::units;

/// The subscriptions and slots of a database.
#[derive(Debug)]
pub struct Replication {
    client: Client,
    target: DatabaseName,
    found: Found,
}

#[derive(Debug, Deserialize)]
struct Found {
    /// The OID of the database. `None` if it does not exist.
    oid: Option<u32>,
    role: String,
    subscriptions: Vec<Subscription>,
    slots: Vec<String>,
    /// Whether the role may drop slots.
    may_drop_slots: bool,
}

#[derive(Debug, Deserialize)]
struct Subscription {
    oid: u32,
    name: String,
    /// The name of its slot at the publisher.
    slot: Option<String>,
    is_enabled: bool,
    /// Whether the role may alter and drop it.
    may_be_dropped: bool,
}

/// The query for those of `:'database'`.
pub const QUESTION: &str = "
    SELECT json_build_object(
        'oid', (SELECT oid::bigint FROM pg_database WHERE datname = :'database'),
        'role', current_user,
        'subscriptions', (SELECT coalesce(json_agg(json_build_object('oid', s.oid::bigint, 'name', s.subname,
                'slot', s.subslotname, 'is_enabled', s.subenabled,
                'may_be_dropped', pg_has_role(s.subowner, 'USAGE')) ORDER BY s.subname), '[]')
            FROM pg_subscription s JOIN pg_database d ON d.oid = s.subdbid WHERE d.datname = :'database'),
        'slots', (SELECT coalesce(json_agg(slot_name ORDER BY slot_name), '[]') FROM pg_replication_slots
            WHERE database = :'database' AND NOT temporary),
        'may_drop_slots', (SELECT rolsuper OR rolreplication FROM pg_roles WHERE rolname = current_user));
";

/// The current name of a database, by its OID, and whether a restore has replaced it.
const NOW: &str = "
    SELECT json_build_object('name', datname, 'is_replaced',
        coalesce(starts_with(shobj_description(oid, 'pg_database'), 'backupgram has replaced'), false))
    FROM pg_database WHERE oid = :'oid'::oid;
";

#[derive(Debug, Deserialize)]
struct Now {
    name: DatabaseName,
    is_replaced: bool,
}

/// The replication of a database that is replaced, for the journal. Written before anything is changed. It has OIDs,
/// as names change meanwhile.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Noted {
    /// The OID of the database.
    database: u32,
    /// Its name after it was replaced.
    kept_as: DatabaseName,
    /// The OIDs of its subscriptions that are disabled meanwhile.
    stopped: Vec<u32>,
}

/// Time limit for a slot to become inactive after its sender was terminated.
const SLOT_LIMIT: Duration = Duration::from_secs(10);

impl Replication {
    /// Queries the server. A database that does not exist has none.
    ///
    /// # Errors
    /// When the server cannot be asked.
    pub fn of(client: &Client, target: &DatabaseName) -> Result<Self, DatabaseError> {
        Self::of_answer(client.ask(QUESTION, &[("database", target.as_str())])?, client, target)
    }

    /// Parses the answer to [`QUESTION`].
    ///
    /// # Errors
    /// When the answer has another form.
    pub fn of_answer(answer: Value, client: &Client, target: &DatabaseName) -> Result<Self, DatabaseError> {
        Ok(Self { client: client.clone(), target: target.clone(), found: parsed(answer)? })
    }

    /// A description for messages. `None` if there is none.
    pub fn described(&self) -> Option<String> {
        let Found { subscriptions, slots, .. } = &self.found;
        let mut parts = Vec::new();
        if !subscriptions.is_empty() {
            let names = subscriptions.iter().map(|subscription| &subscription.name);
            parts.push(format!("subscriptions {}", units::list(names)));
        }
        if !slots.is_empty() {
            parts.push(format!("replication slots {}", units::list(slots)));
        }
        (!parts.is_empty()).then(|| parts.join(" and "))
    }

    /// Checks that there is none, or that it `may_be_dropped` and the role may drop it.
    ///
    /// # Errors
    /// When it may not be dropped. The error names all of it.
    pub fn check(&self, may_be_dropped: bool) -> Result<(), RestoreError> {
        let Some(described) = self.described() else { return Ok(()) };
        if !may_be_dropped {
            return Err(RestoreError::Replication(self.target.clone(), described));
        }
        let Found { role, subscriptions, slots, may_drop_slots, .. } = &self.found;
        let foreign = subscriptions.iter().filter(|subscription| !subscription.may_be_dropped);
        let foreign: Vec<_> = foreign.map(|subscription| &subscription.name).collect();
        let missing = if !foreign.is_empty() {
            let names = units::list(foreign);
            format!("role {role} cannot drop these subscriptions of database {}: {names}", self.target)
        } else if !slots.is_empty() && !may_drop_slots {
            format!(
                "role {role} cannot drop replication slots, which it must to replace database {}: run ALTER ROLE \
                 {role} REPLICATION",
                self.target
            )
        } else {
            return Ok(());
        };
        Err(RestoreError::Missing(missing))
    }

    /// Disables the subscriptions while `work` replaces the database. Afterwards it drops them and the slots, or
    /// enables them again if `work` has failed. `note` writes the journal, so that a later run does that if this one
    /// is killed.
    ///
    /// # Errors
    /// When they cannot be disabled, or `work` fails.
    pub fn during<T, E: From<RestoreError>>(
        &self,
        note: impl FnOnce(&Noted) -> Result<(), RestoreError>,
        kept_as: &DatabaseName,
        work: impl FnOnce() -> Result<T, E>,
    ) -> Result<T, E> {
        let (Some(database), Some(_)) = (self.found.oid, self.described()) else { return work() };
        let enabled = self.found.subscriptions.iter().filter(|subscription| subscription.is_enabled);
        let stopped: Vec<u32> = enabled.map(|subscription| subscription.oid).collect();
        let noted = Noted { database, kept_as: kept_as.clone(), stopped };
        note(&noted)?;
        let stopped = self.stop().map_err(RestoreError::from);
        let worked = stopped.map_err(E::from).and_then(|()| work());
        match &worked {
            Ok(_) => self.drop_all(),
            // If this fails, it is tried again when the journal is processed.
            Err(_) => drop(noted.resume(&self.client)),
        }
        worked
    }

    fn stop(&self) -> Result<(), DatabaseError> {
        let mut enabled = self.found.subscriptions.iter().filter(|subscription| subscription.is_enabled);
        enabled
            .try_for_each(|subscription| alter(&self.client, subscription.oid, &subscription.name, "DISABLE"))
    }

    fn drop_all(&self) {
        for Subscription { oid, name, slot, .. } in &self.found.subscriptions {
            let dropped = alter(&self.client, *oid, name, "DISABLE")
                .and_then(|()| alter(&self.client, *oid, name, "SET (slot_name = NONE)"))
                .and_then(|()| {
                    let drop = format!("DROP SUBSCRIPTION {};", identifier(name));
                    in_database_of(&self.client, *oid, &drop)
                });
            match (dropped, slot) {
                (Err(error), _) => {
                    log::error!("cannot drop subscription {name} of the replaced database: {error}")
                }
                (Ok(()), Some(slot)) => log::warn!(
                    "subscription {name} is dropped; its slot is still at the publisher: there, run SELECT \
                     pg_drop_replication_slot({})",
                    literal(slot).trim()
                ),
                (Ok(()), None) => log::info!("subscription {name} is dropped"),
            }
        }
        for slot in &self.found.slots {
            match drop_slot(&self.client, slot) {
                Ok(()) => log::warn!(
                    "replication slot {slot} is dropped; its subscriber gets no more changes: there, drop the \
                     subscription and create it again"
                ),
                Err(error) => {
                    log::error!("cannot drop replication slot {slot} of the replaced database: {error}")
                }
            }
        }
    }
}

impl Noted {
    /// Finishes the work after a restore has ended or was killed: drops subscriptions and slots of a database that was
    /// replaced, and enables the subscriptions of one that was not.
    ///
    /// # Errors
    /// When the server cannot be asked, or one cannot be altered.
    pub fn settle(&self, client: &Client, replaced: &DatabaseName) -> Result<(), DatabaseError> {
        let now: Option<Now> = client.ask_regardless(NOW, &[("oid", &self.database.to_string())])?;
        let Some(Now { name, is_replaced }) = now else { return Ok(()) };
        if name == self.kept_as && (name != *replaced || is_replaced) {
            let replication = Replication::of_regardless(client, &name)?;
            replication.drop_all();
            match Replication::of_regardless(client, &name)?.described() {
                Some(left) => Err(DatabaseError::Answer(format!("database {name} still has {left}"))),
                None => Ok(()),
            }
        } else {
            self.resume(client)
        }
    }

    fn resume(&self, client: &Client) -> Result<(), DatabaseError> {
        let mut failure = None;
        for oid in &self.stopped {
            let resumed = resume(client, *oid);
            failure = failure.or(resumed.err());
        }
        failure.map_or(Ok(()), Err)
    }
}

impl Replication {
    fn of_regardless(client: &Client, database: &DatabaseName) -> Result<Self, DatabaseError> {
        let found = client.ask_regardless(QUESTION, &[("database", database.as_str())])?;
        Ok(Self { client: client.clone(), target: database.clone(), found })
    }
}

/// Enables a disabled subscription, if it still exists.
fn resume(client: &Client, oid: u32) -> Result<(), DatabaseError> {
    let sql = "SELECT to_json(subname) FROM pg_subscription WHERE oid = :'oid'::oid AND NOT subenabled;";
    let name: Option<String> = client.ask_regardless(sql, &[("oid", &oid.to_string())])?;
    let Some(name) = name else { return Ok(()) };
    let enabled = alter(client, oid, &name, "ENABLE");
    match &enabled {
        Ok(()) => log::info!("subscription {name} is enabled again"),
        Err(error) => log::error!("subscription {name} is still disabled: {error}"),
    }
    enabled
}

/// Alters a subscription, whatever the current name of its database is.
fn alter(client: &Client, oid: u32, name: &str, change: &str) -> Result<(), DatabaseError> {
    in_database_of(client, oid, &format!("ALTER SUBSCRIPTION {} {change};", identifier(name)))
}

/// Runs statements in the database of a subscription, if that exists.
fn in_database_of(client: &Client, oid: u32, sql: &str) -> Result<(), DatabaseError> {
    let database = "SELECT to_json(datname) FROM pg_database d JOIN pg_subscription s ON s.subdbid = d.oid
                    WHERE s.oid = :'oid'::oid;";
    let database: Option<DatabaseName> = client.ask_regardless(database, &[("oid", &oid.to_string())])?;
    let Some(database) = database else { return Ok(()) };
    client.of_database(&database).clean_up(sql, &[]).map(drop)
}

/// Drops a slot, and terminates its sender.
fn drop_slot(client: &Client, slot: &str) -> Result<(), DatabaseError> {
    let end = "SELECT count(pg_terminate_backend(active_pid)) FROM pg_replication_slots
               WHERE slot_name = :'slot' AND active_pid IS NOT NULL;
               SELECT count(pg_drop_replication_slot(slot_name)) FROM pg_replication_slots
               WHERE slot_name = :'slot' AND NOT active;
               SELECT count(*) FROM pg_replication_slots WHERE slot_name = :'slot';";
    let deadline = Instant::now() + SLOT_LIMIT;
    loop {
        let output = client.clean_up(end, &[("slot", slot)])?;
        let left = output.stdout.trim_ascii().ends_with(b"1");
        if !left {
            return Ok(());
        }
        if Instant::now() >= deadline {
            return Err(DatabaseError::Answer(format!("slot {slot} is in use")));
        }
        thread::sleep(Duration::from_millis(50));
    }
}
