//! What a restore has on the server that belongs to nobody else, written down in the backup directory, or in the one
//! that stands in for it, so that a later run finds it when this one is killed.

use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::replication::Noted;
use crate::engine::restore::error::RestoreError;
use crate::postgres::quote::identifier;
use crate::postgres::{Client, DatabaseError};
use crate::store::catalog::{BackupDirectory, DatabaseName, NOTE_PREFIX};
use crate::store::record_file;
use crate::system::lock::Lock;
use crate::util::durable;
use crate::util::units::hexadecimal;

/// The databases of one restore.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Journal {
    /// The server that they are on.
    server: String,
    /// 12 hexadecimal digits that no other restore has.
    tag: String,
    /// The database that is loaded under its own name, while the one that had it is called as a replaced one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    target: Option<DatabaseName>,
    /// What there is of replication in the database that is being replaced.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    replication: Option<Noted>,
    /// The directory that it is written down in, where that is not the backup directory.
    #[serde(skip)]
    place: Option<PathBuf>,
}

/// What a comment of ours on a database begins with.
pub const MARK: &str = "backupgram ";
/// How long the server may take to end what a killed psql was doing.
const SETTLE_TIME: Duration = Duration::from_secs(10);

/// Drops the largest tables, one by one. A statement of the load may still be running for a while after its
/// psql has ended, and must not be waited for.
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

/// The databases of one restore. The pattern is as strict as the names are.
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

/// Counts what a database holds that is not of every database.
const COUNT_CONTENTS: &str = "
    SELECT count(*) FROM pg_class
    WHERE relnamespace NOT IN ('pg_catalog'::regnamespace, 'information_schema'::regnamespace,
                               'pg_toast'::regnamespace);
";

/// A database that carries the name of one of ours.
#[derive(Debug, Deserialize)]
struct Left {
    name: DatabaseName,
    is_template: bool,
    comment: Option<String>,
}

/// Ends the sessions that carry a name, or begin with it, and counts them as `:ended`.
const END_SESSIONS: &str = r"
    SELECT count(pg_terminate_backend(pid)) AS ended FROM pg_stat_activity
    WHERE starts_with(application_name, :'name') AND pid <> pg_backend_pid()
    \gset
";

/// What there is of a restore that loads under the target's name.
#[derive(Debug, Deserialize)]
struct Aside {
    /// Whether there is a database of the target's name, and its comment.
    present: bool,
    comment: Option<String>,
    /// Whether there is one that was moved aside, and whether it has been replaced for good.
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

/// Times that a database that was moved aside is tried to be given its name again. Each waits up to five seconds for
/// those who are connected (`CountOtherDBBackends` in PostgreSQL).
const RENAMES: u32 = 4;

impl Journal {
    /// Writes down that a restore begins; with a `target` one that loads under that name.
    ///
    /// # Errors
    /// When it cannot be written, or there are no random numbers.
    pub fn begin(
        directory: &BackupDirectory,
        server: String,
        target: Option<&DatabaseName>,
    ) -> Result<Self, RestoreError> {
        let mut random = [0; 6];
        getrandom::fill(&mut random).map_err(|error| RestoreError::Random(error.to_string()))?;
        let (tag, target) = (hexadecimal(&random), target.cloned());
        let mut journal = Self { server, tag, target, replication: None, place: None };
        let text = serde_json::to_vec(&journal).map_err(|error| RestoreError::Journal(error.into()))?;
        let path = directory.write_note(&journal.file_name(), &text).map_err(RestoreError::Journal)?;
        journal.place = path.parent().map(Path::to_path_buf);
        Ok(journal)
    }

    fn write(&self, directory: &BackupDirectory) -> Result<(), RestoreError> {
        let text = serde_json::to_vec(self).map_err(|error| RestoreError::Journal(error.into()))?;
        let path = self.path(directory);
        durable::replace_file(path.parent().unwrap_or(directory.root()), &path, &text, 0o600)
            .map_err(RestoreError::Journal)
    }

    /// Writes down what there is of replication in the database that is about to be replaced.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn note_replication(&self, directory: &BackupDirectory, noted: &Noted) -> Result<(), RestoreError> {
        Self { replication: Some(noted.clone()), ..self.clone() }.write(directory)
    }

    /// What is loaded into.
    pub fn scratch(&self) -> DatabaseName {
        self.name("scratch")
    }

    /// What the database at a place in a dump of several is loaded into.
    pub fn staged(&self, at: usize) -> DatabaseName {
        DatabaseName::ours("scratch", &format!("{}_{at}", self.tag))
    }

    /// What a replaced database is called until it is dropped.
    pub fn replaced(&self) -> DatabaseName {
        self.name("replaced")
    }

    /// What the comment on a database says that is being loaded.
    pub fn mark(&self, target: &DatabaseName) -> String {
        format!(
            "{MARK}loads a backup of {target} into this, {}; it will be renamed or dropped",
            self.scratch()
        )
    }

    /// Whether a comment is one of [`Self::mark`].
    pub fn is_mark(&self, comment: &str) -> bool {
        comment.starts_with(MARK) && comment.contains(self.scratch().as_str())
    }

    /// The name comes from the tag alone: whatever else somebody writes into the file, nothing but databases
    /// of restores can be dropped by it.
    fn name(&self, role: &str) -> DatabaseName {
        DatabaseName::ours(role, &self.tag)
    }

    fn file_name(&self) -> String {
        format!("{NOTE_PREFIX}{}.json", self.tag)
    }

    fn path(&self, directory: &BackupDirectory) -> PathBuf {
        self.place.as_deref().unwrap_or(directory.root()).join(self.file_name())
    }

    /// What a session that renames its databases is called. All others carry the scratch database's name.
    pub fn renamer(&self) -> String {
        format!("{} renames", self.scratch())
    }

    /// Waits until the server has ended whatever a killed psql was doing that renames databases: it finishes the
    /// order that it is at before it notices that nobody listens.
    ///
    /// # Errors
    /// When the server cannot be asked.
    pub fn settle_renames(&self, client: &Client) -> Result<(), DatabaseError> {
        self.settle(client, &self.renamer()).map(drop)
    }

    /// Ends the sessions whose names begin so, and waits until they are gone. Answers the databases that are there then.
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

    /// Drops the databases of this restore that are still there, and forgets it.
    ///
    /// # Errors
    /// When one cannot be dropped; it is not forgotten then.
    pub fn end(&self, directory: &BackupDirectory, client: &Client) -> Result<(), DatabaseError> {
        let mut left = self.settle(client, self.scratch().as_str())?;
        // The one in memory is as it was when the restore began.
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
                        "database {} has a name of ours, but is not marked as ours: it stays",
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

    /// Removes the note: nothing of the restore is left. One that stays does no harm.
    pub fn forget(&self, directory: &BackupDirectory) {
        let path = self.path(directory);
        let removed = durable::remove_if_there(&path).and_then(|_| durable::sync_parent(&path));
        removed.unwrap_or_else(|error| log::warn!("cannot remove {}: {error}", path.display()));
    }

    /// Gives a database that was moved aside its name again, unless the new one is whole: as long as that is being
    /// loaded, it has our comment, which goes in the transaction that completes it.
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
                "database {target} is there again, and the one that it was before is called {}: drop or rename one \
                 of them",
                self.replaced()
            );
            return Err(DatabaseError::Answer(problem));
        }
        self.rename_back(target, client)?;
        log::info!("database {target} has its name again");
        Ok(())
    }

    /// Renames the database that was moved aside, ending the sessions that somebody may have in it.
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

    fn read(path: &Path) -> io::Result<Self> {
        let missing = || io::Error::from(io::ErrorKind::NotFound);
        let mut journal: Self = record_file::read_json(path)?.ok_or_else(missing)?;
        journal.place = path.parent().map(Path::to_path_buf);
        let hexadecimal = journal.tag.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        if hexadecimal && journal.tag.len() == 12 {
            Ok(journal)
        } else {
            Err(io::Error::new(io::ErrorKind::InvalidData, "it is not a note of a restore"))
        }
    }
}

/// Whether a database that has one of our names is ours: its comment says so, or a restore was killed before it could
/// write one, and then there is nothing in it.
fn is_ours(client: &Client, left: &Left) -> Result<bool, DatabaseError> {
    match &left.comment {
        Some(comment) => Ok(comment.starts_with(MARK)),
        None => Ok(client.of_database(&left.name).ask_regardless::<u64>(COUNT_CONTENTS, &[])? == 0),
    }
}

/// DROP DATABASE begins with a checkpoint, which cannot be written on a disk that the load has filled, and nobody can
/// connect to what it leaves. The files of a dropped table go without one. Subscriptions go with it only where they have
/// never been connected to anything, or are to be dropped.
fn drop_database(client: &Client, left: &Left, with_subscriptions: bool) -> Result<(), DatabaseError> {
    if let Err(error) = client.of_database(&left.name).clean_up(DROP_LARGEST_TABLES, &[]) {
        log::debug!("{} was not emptied: {error}", left.name);
    }
    if with_subscriptions && let Err(error) = client.of_database(&left.name).clean_up(DROP_SUBSCRIPTIONS, &[])
    {
        // Where nobody can connect to it, as through a pooler that does not know it, there are none, or DROP DATABASE says
        // so.
        log::debug!("the subscriptions of {} were not dropped: {error}", left.name);
    }
    let name = identifier(left.name.as_str());
    let ordinary =
        if left.is_template { format!("ALTER DATABASE {name} IS_TEMPLATE false;\n") } else { String::new() };
    // The notice that it has gone meanwhile is not worth a line.
    let quietly = "SET client_min_messages = warning;\n";
    client
        .clean_up(&format!("{quietly}{ordinary}DROP DATABASE IF EXISTS {name} WITH (FORCE);\n"), &[])
        .map(drop)
}

/// Whether a restore has databases on a server that belong to nobody else: one that is at work, or was killed.
pub fn is_anything_left(directory: &BackupDirectory) -> bool {
    let (own, fallback) = directory.notes();
    !own.is_empty() || !fallback.is_empty()
}

/// Whether a database, by its comment, is one that a restore has not completed.
pub fn is_unfinished(comment: &str) -> bool {
    comment.starts_with(MARK) && comment.contains("_backupgram_scratch_")
}

/// Drops what killed restores left on this server. Notes in a directory that the lock does not cover may be of a restore
/// that is at work there, and are left alone. What cannot be dropped is a warning, and is tried again next time.
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
