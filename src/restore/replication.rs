//! Logical replication from and into a database that is about to be replaced: subscriptions and slots belong to it, and
//! would live on, or go with it, without anybody's knowing.

use std::thread;
use std::time::{Duration, Instant};

use serde::Deserialize;

use super::RestoreError;
use super::journal::Journal;
use crate::catalog::{BackupDirectory, DatabaseName};
use crate::postgres::quote::{identifier, literal};
use crate::postgres::{Client, DatabaseError};
use crate::units;

/// The subscriptions and slots of a database.
#[derive(Debug)]
pub struct Replication {
    client: Client,
    target: DatabaseName,
    found: Found,
}

#[derive(Debug, Deserialize)]
struct Found {
    subscriptions: Vec<Subscription>,
    slots: Vec<String>,
}

#[derive(Debug, Deserialize)]
struct Subscription {
    oid: u32,
    name: String,
    /// The slot at the publisher.
    slot: Option<String>,
    is_enabled: bool,
}

const QUERY: &str = "
    SELECT json_build_object(
        'subscriptions', (SELECT coalesce(json_agg(json_build_object('oid', s.oid::bigint, 'name', s.subname,
                'slot', s.subslotname, 'is_enabled', s.subenabled) ORDER BY s.subname), '[]')
            FROM pg_subscription s JOIN pg_database d ON d.oid = s.subdbid WHERE d.datname = :'database'),
        'slots', (SELECT coalesce(json_agg(slot_name ORDER BY slot_name), '[]') FROM pg_replication_slots
            WHERE database = :'database' AND NOT temporary));
";

/// The database that a subscription is in, whatever it is called by now.
const DATABASE_OF: &str = "
    SELECT to_json(datname) FROM pg_database d JOIN pg_subscription s ON s.subdbid = d.oid
    WHERE s.oid = :'oid'::oid;
";

/// How long a slot that is in use may take to come free when its sender is ended.
const SLOT_LIMIT: Duration = Duration::from_secs(10);

impl Replication {
    /// Asks the server; a database that is not there has none.
    ///
    /// # Errors
    /// When it cannot be asked.
    pub fn of(client: &Client, target: &DatabaseName) -> Result<Self, DatabaseError> {
        let found = client.ask(QUERY, &[("database", target.as_str())])?;
        Ok(Self { client: client.clone(), target: target.clone(), found })
    }

    /// Sees that there is none, or that it `may_be_dropped`.
    ///
    /// # Errors
    /// When there is, and may not; the error names all of it.
    pub fn check(&self, may_be_dropped: bool) -> Result<(), RestoreError> {
        let Found { subscriptions, slots } = &self.found;
        let mut parts = Vec::new();
        if !subscriptions.is_empty() {
            let names = subscriptions.iter().map(|subscription| &subscription.name);
            parts.push(format!("subscriptions {}", units::list(names)));
        }
        if !slots.is_empty() {
            parts.push(format!("replication slots {}", units::list(slots)));
        }
        match parts.is_empty() || may_be_dropped {
            true => Ok(()),
            false => Err(RestoreError::Replication(self.target.clone(), parts.join(" and "))),
        }
    }

    /// Stops the subscriptions while `work` replaces the database, and drops them and the slots when it has. When it has
    /// not, they go on. `journal` is told, so that they also do when we are killed.
    ///
    /// # Errors
    /// When they cannot be stopped, or `work` fails.
    pub fn during<T, E: From<RestoreError>>(
        &self,
        journal: &Journal,
        directory: &BackupDirectory,
        work: impl FnOnce() -> Result<T, E>,
    ) -> Result<T, E> {
        let enabled: Vec<&Subscription> =
            self.found.subscriptions.iter().filter(|subscription| subscription.is_enabled).collect();
        if !enabled.is_empty() {
            let oids = enabled.iter().map(|subscription| subscription.oid).collect();
            journal.note_stopped(directory, &self.target, oids)?;
            for subscription in &enabled {
                let stopped = alter(&self.client, subscription, "DISABLE");
                stopped.map_err(RestoreError::from)?;
            }
        }
        let worked = work();
        match &worked {
            Ok(_) => self.drop_all(),
            Err(_) => {
                for subscription in enabled {
                    if let Err(error) = alter(&self.client, subscription, "ENABLE") {
                        log::error!("subscription {} is disabled and stays so: {error}", subscription.name);
                    }
                }
            }
        }
        worked
    }

    fn drop_all(&self) {
        for subscription in &self.found.subscriptions {
            let Subscription { name, slot, .. } = subscription;
            let dropped = alter(&self.client, subscription, "DISABLE")
                .and_then(|()| alter(&self.client, subscription, "SET (slot_name = NONE)"))
                .and_then(|()| drop_subscription(&self.client, subscription));
            match (dropped, slot) {
                (Err(error), _) => log::error!("subscription {name} of the replaced database stays: {error}"),
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
                    "replication slot {slot} is dropped; its subscriber gets nothing any more: there, drop the \
                     subscription and make it again"
                ),
                Err(error) => log::error!("replication slot {slot} of the replaced database stays: {error}"),
            }
        }
    }
}

/// Changes a subscription, in whatever its database is called.
fn alter(client: &Client, subscription: &Subscription, change: &str) -> Result<(), DatabaseError> {
    let sql = format!("ALTER SUBSCRIPTION {} {change};", identifier(&subscription.name));
    in_database_of(client, subscription.oid, &sql)
}

fn drop_subscription(client: &Client, subscription: &Subscription) -> Result<(), DatabaseError> {
    in_database_of(client, subscription.oid, &format!("DROP SUBSCRIPTION {};", identifier(&subscription.name)))
}

/// Gives orders in the database of a subscription; none when it is gone.
fn in_database_of(client: &Client, oid: u32, sql: &str) -> Result<(), DatabaseError> {
    let database: Option<DatabaseName> = client.ask_regardless(DATABASE_OF, &[("oid", &oid.to_string())])?;
    let Some(database) = database else { return Ok(()) };
    client.of_database(&database).clean_up(sql, &[]).map(drop)
}

/// Drops a slot; whoever it sends to is cut off.
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

/// Has subscriptions go on that a restore had stopped that was killed, as long as their database is the target, or has
/// only been moved aside.
///
/// # Errors
/// When the server cannot be asked, or one cannot be enabled.
pub fn resume(client: &Client, target: &DatabaseName, aside: &DatabaseName, oids: &[u32]) -> Result<(), DatabaseError> {
    for oid in oids {
        let sql = "SELECT to_json(subname) FROM pg_subscription s JOIN pg_database d ON d.oid = s.subdbid
                   WHERE s.oid = :'oid'::oid AND (d.datname = :'target' OR d.datname = :'aside'
                     AND NOT coalesce(starts_with(shobj_description(d.oid, 'pg_database'), 'backupgram has'), false));";
        let (number, target, aside) = (oid.to_string(), target.as_str(), aside.as_str());
        let name: Option<String> =
            client.ask_regardless(sql, &[("oid", &number), ("target", target), ("aside", aside)])?;
        if let Some(name) = name {
            in_database_of(client, *oid, &format!("ALTER SUBSCRIPTION {} ENABLE;", identifier(&name)))?;
            log::info!("subscription {name}, which a killed restore had stopped, goes on");
        }
    }
    Ok(())
}
