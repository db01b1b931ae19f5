//! Drops what a restore has left on the server: its own databases when it ends, those of killed restores in a later run.

use std::time::{Duration, Instant};

use serde::Deserialize;

use super::journal::{Journal, MARK};
use crate::postgres::quote::identifier;
use crate::postgres::{Client, DatabaseError};
use crate::store::catalog::{BackupDirectory, DatabaseName};
use crate::system::lock::Lock;

/// Time limit for the server to end the sessions of a killed psql.
const SETTLE_TIME: Duration = Duration::from_secs(10);

/// Drops the largest tables, one by one, with a lock timeout: a statement of the load may run on after its psql has
/// ended.
const DROP_LARGEST_TABLES: &str = r"
    SET client_min_messages = error;
    SET lock_timeout = '2s';
    SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
    WHERE datname = current_database() AND pid <> pg_backend_pid();
    SELECT format('DROP TABLE IF EXISTS %s CASCADE', oid::regclass) FROM pg_class
    WHERE relkind = 'r' AND relnamespace <> 'pg_catalog'::regnamespace AND pg_table_size(oid) > 1048576
    ORDER BY pg_table_size(oid) DESC LIMIT 20
    \gexec
";

/// Lists the databases of one restore.
const LEFT: &str = "
    SELECT coalesce(json_agg(json_build_object('name', datname, 'is_template', datistemplate,
                                               'comment', shobj_description(oid, 'pg_database'))), '[]')
    FROM pg_database WHERE datname ~ ('^_backupgram_(scratch|replaced)_' || :'tag' || '(_[0-9]+)?$')
";

/// A database with a subscription cannot be dropped.
const DROP_SUBSCRIPTIONS: &str = r"
    SET client_min_messages = warning;
    SELECT format('ALTER SUBSCRIPTION %1$I DISABLE; ALTER SUBSCRIPTION %1$I SET (slot_name = NONE);
                   DROP SUBSCRIPTION %1$I;', subname)
    FROM pg_subscription WHERE subdbid = (SELECT oid FROM pg_database WHERE datname = current_database())
    \gexec
";

/// Counts the relations that a new database does not have.
const COUNT_CONTENTS: &str = "
    SELECT count(*) FROM pg_class
    WHERE relnamespace NOT IN ('pg_catalog'::regnamespace, 'information_schema'::regnamespace,
                               'pg_toast'::regnamespace);
";

/// A database with the name of one of a restore.
#[derive(Debug, Deserialize)]
struct Left {
    name: DatabaseName,
    is_template: bool,
    comment: Option<String>,
}

/// Ends the sessions whose application name begins with `:'name'`, and counts them in `:ended`.
const END_SESSIONS: &str = r"
    SELECT count(pg_terminate_backend(pid)) AS ended FROM pg_stat_activity
    WHERE starts_with(application_name, :'name') AND pid <> pg_backend_pid()
    \gset
";

/// The state of a restore that loads under the target's name.
#[derive(Debug, Deserialize)]
struct Aside {
    /// Whether a database has the target's name, and its comment.
    present: bool,
    comment: Option<String>,
    /// Whether there is a database that was moved aside, and whether it has been replaced for good.
    moved: bool,
    is_done: bool,
}

const ASIDE: &str = "
    SELECT json_build_object(
        'present', EXISTS (SELECT FROM pg_database WHERE datname = :'target'),
        'comment', (SELECT shobj_description(oid, 'pg_database') FROM pg_database WHERE datname = :'target'),
        'moved', EXISTS (SELECT FROM pg_database WHERE datname = :'replaced'),
        'is_done', coalesce((SELECT starts_with(shobj_description(oid, 'pg_database'), 'backupgram has replaced')
                             FROM pg_database WHERE datname = :'replaced'), false));
";

/// Ends the sessions in a database.
const END_SESSIONS_OF: &str = "
    SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
    WHERE datname = :'database' AND pid <> pg_backend_pid();
";

/// Attempts to rename a database that was moved aside back. Each waits up to five seconds for its sessions
/// (`CountOtherDBBackends` in PostgreSQL).
const RENAMES: u32 = 4;

impl Journal {
    /// Ends the renaming session of a killed psql, and waits for its end. The server finishes the current statement
    /// before it notices that the client has gone.
    ///
    /// # Errors
    /// When the server cannot be asked.
    pub fn settle_renames(&self, client: &Client) -> Result<(), DatabaseError> {
        self.settle(client, &self.renamer()).map(drop)
    }

    /// Ends the sessions whose application names begin with `name`, and waits for their end. Returns the databases of
    /// this restore that exist then.
    fn settle(&self, client: &Client, name: &str) -> Result<Vec<Left>, DatabaseError> {
        let sql = format!("{END_SESSIONS}SELECT json_build_array(({LEFT}), :ended);");
        let deadline = Instant::now() + SETTLE_TIME;
        loop {
            let (left, ended): (_, u64) =
                client.ask_regardless(&sql, &[("name", name), ("tag", &self.tag)])?;
            if ended == 0 || Instant::now() >= deadline {
                return Ok(left);
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Drops the remaining databases of this restore, renames the target back if necessary, and removes the journal.
    ///
    /// # Errors
    /// When one cannot be dropped. The journal stays then.
    pub fn end(&self, directory: &BackupDirectory, client: &Client) -> Result<(), DatabaseError> {
        let mut left = self.settle(client, self.scratch().as_str())?;
        // Read from the file, as this value has the state at the beginning of the restore.
        let noted = Self::read(&self.path(directory)).ok().and_then(|journal| journal.replication);
        if let Some(target) = &self.target {
            self.put_back(target, client)?;
        }
        let settled = noted.as_ref().map_or(Ok(()), |noted| noted.settle(client, &self.replaced()));
        if self.target.is_some() || noted.is_some() {
            left = client.ask_regardless(&format!("{LEFT};"), &[("tag", &self.tag)])?;
        }
        let mut failure = settled.err();
        for left in &left {
            let dropped = is_ours(client, left).and_then(|is_ours| {
                if is_ours {
                    let is_scratch = left.name.as_str().starts_with("_backupgram_scratch_");
                    drop_database(client, left, is_scratch || noted.is_some())
                } else {
                    log::warn!(
                        "database {} has a name that backupgram uses, but not its mark: it is not dropped",
                        left.name
                    );
                    Ok(())
                }
            });
            failure = failure.or(dropped.err());
        }
        if let Some(error) = failure {
            return Err(error);
        }
        self.forget(directory);
        Ok(())
    }

    /// Renames a database that was moved aside back, unless the new one is complete: during the load that has a
    /// staging comment, which is removed in the transaction that completes it.
    fn put_back(&self, target: &DatabaseName, client: &Client) -> Result<(), DatabaseError> {
        let Aside { present, comment, moved, is_done } = client
            .ask_regardless(ASIDE, &[("target", target.as_str()), ("replaced", self.replaced().as_str())])?;
        let is_unfinished = comment.is_some_and(|comment| self.is_mark(&comment));
        if present && is_unfinished {
            let left = Left { name: target.clone(), is_template: false, comment: None };
            drop_database(client, &left, true)?;
        }
        if !moved || is_done {
            return Ok(());
        }
        if present && !is_unfinished {
            let problem = format!(
                "database {target} exists again, and the previous one is called {}: drop or rename one of them",
                self.replaced()
            );
            return Err(DatabaseError::Answer(problem));
        }
        self.rename_back(target, client)?;
        log::info!("the previous database is called {target} again");
        Ok(())
    }

    /// Renames the database that was moved aside, after ending its sessions.
    fn rename_back(&self, target: &DatabaseName, client: &Client) -> Result<(), DatabaseError> {
        let (from, to) = (identifier(self.replaced().as_str()), identifier(target.as_str()));
        let mut attempts = 1..=RENAMES;
        loop {
            attempts.next();
            let _ = client.clean_up(END_SESSIONS_OF, &[("database", self.replaced().as_str())]);
            match client.clean_up(&format!("ALTER DATABASE {from} RENAME TO {to};"), &[]) {
                Err(_) if !attempts.is_empty() => {}
                renamed => return renamed.map(drop),
            }
        }
    }
}

/// Whether a database with such a name belongs to a restore: it has a staging comment, or it is empty, as a restore
/// may be killed before it can write the comment.
fn is_ours(client: &Client, left: &Left) -> Result<bool, DatabaseError> {
    match &left.comment {
        Some(comment) => Ok(comment.starts_with(MARK)),
        None => Ok(client.of_database(&left.name).ask_regardless::<u64>(COUNT_CONTENTS, &[])? == 0),
    }
}

/// Drops a database. As DROP DATABASE begins with a checkpoint, which fails on a full disk and leaves the database
/// invalid, the largest tables are dropped first, which needs none. Subscriptions are dropped with it if
/// `with_subscriptions`; otherwise only those that were never connected.
fn drop_database(client: &Client, left: &Left, with_subscriptions: bool) -> Result<(), DatabaseError> {
    if let Err(error) = client.of_database(&left.name).clean_up(DROP_LARGEST_TABLES, &[]) {
        log::debug!("{} was not emptied: {error}", left.name);
    }
    if with_subscriptions && let Err(error) = client.of_database(&left.name).clean_up(DROP_SUBSCRIPTIONS, &[])
    {
        // If nobody can connect to it, as through a pooler that does not know it, there are none, or DROP DATABASE
        // tells.
        log::debug!("the subscriptions of {} were not dropped: {error}", left.name);
    }
    let name = identifier(left.name.as_str());
    let ordinary =
        if left.is_template { format!("ALTER DATABASE {name} IS_TEMPLATE false;\n") } else { String::new() };
    // Suppresses the notice that it does not exist any more.
    let quietly = "SET client_min_messages = warning;\n";
    client
        .clean_up(&format!("{quietly}{ordinary}DROP DATABASE IF EXISTS {name} WITH (FORCE);\n"), &[])
        .map(drop)
}

/// Drops the databases that killed restores left on this server. Journals in a directory that the lock does not cover
/// may be of a running restore, and are skipped. Failures are logged, and tried again by the next run.
pub fn cleanup_databases(directory: &BackupDirectory, lock: &Lock, client: &Client) {
    let (own, fallback) = directory.notes();
    let own = own.into_iter().filter(|_| lock.covers_directory());
    for path in own.chain(fallback) {
        match Journal::read(&path) {
            Ok(journal) if journal.server != client.server().address() => {
                log::warn!(
                    "a killed restore may have left database {} on {}",
                    journal.scratch(),
                    journal.server
                );
            }
            Ok(journal) => match journal.end(directory, client) {
                Ok(()) => log::info!("dropped what a killed restore left: {}", journal.scratch()),
                Err(error) => log::warn!(
                    "cannot drop {} or {}, which a killed restore left: {error}",
                    journal.scratch(),
                    journal.replaced()
                ),
            },
            Err(error) => log::warn!("cannot use {}: {error}", path.display()),
        }
    }
}
