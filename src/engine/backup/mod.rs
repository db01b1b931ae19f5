//! A backup run: preflight checks, then each database in turn, then the record of it and the notifications.

mod conclusion;
mod death;
mod dump;
mod error;
mod excluded;
mod item;
mod preflight;
mod properties;
mod prune;
mod publish;
mod recipe;
mod room;
mod stream;

use std::time::{Duration, Instant};

use crate::delivery::notify::{Event, Notifier};
use crate::engine::restore;
use crate::postgres::{Client, Server};
use crate::settings::{Databases, Storage, Subject};
use crate::store::catalog::{BackupDirectory, BackupName, DatabaseName, Scope};
use crate::store::records::status;
use crate::store::records::{DatabaseReport, Report};
use crate::system::lock::Lock;
use crate::system::process::{ProgramError, Runner};
use crate::system::run_note::OwnNote;
use crate::util::units;
use crate::util::unwind;
use excluded::Exclusions;
use item::{ItemBackup, asking};
use preflight::Versions;
use recipe::{Item, Recipe};

pub use conclusion::{Conclusion, record, record_and_notify};
pub use death::Death;
pub use error::BackupError;
pub use preflight::disk_space;
pub use stream::StreamError;

/// A backup run with everything that it needs.
pub struct Backup<'a> {
    /// Where to keep what it makes.
    pub storage: &'a Storage,
    /// The server.
    pub server: &'a Server,
    /// What to dump.
    pub subject: &'a Subject,
    /// Sends webhooks and runs hooks.
    pub notifier: &'a Notifier,
    /// Starts the programs.
    pub runner: &'a Runner,
    /// The run's note, by which others record the run if it dies.
    pub note: &'a OwnNote,
}

/// What a run dumps, and of which server.
struct Plan {
    client: Client,
    versions: Versions,
    items: Vec<Item>,
    /// Whether the passwords of roles are dumped.
    passwords: bool,
}

impl Backup<'_> {
    /// Backs up every database of the settings, or `only` some of them. One that fails does not stop the others.
    /// [`record_and_notify`] does the rest when the lock is free again.
    ///
    /// # Errors
    /// When another run holds the lock, or the directory cannot be used at all.
    pub fn run(&self, only: &[DatabaseName]) -> Result<Report, BackupError> {
        let begun = Instant::now();
        let directory = BackupDirectory::new(&self.storage.directory);
        directory.prepare()?;
        let patience = Duration::from_secs(self.storage.lock_wait.into());
        let lock =
            Lock::take(directory.root(), "backup", patience, self.runner).map_err(BackupError::Locked)?;
        let mut databases = Vec::new();
        let ended = directory.sweep_leftovers().map_err(BackupError::from).and_then(|_| {
            // Only after the sweep, which may free the space for it.
            status::reserve(&directory);
            self.back_up_all(&directory, &lock, only, &mut databases)
        });
        let error = ended.err().map(|error| error.to_string());
        Ok(Report::of_run(begun, databases, &self.subject.databases.names(only), error))
    }

    fn back_up_all(
        &self,
        directory: &BackupDirectory,
        lock: &Lock,
        only: &[DatabaseName],
        reports: &mut Vec<DatabaseReport>,
    ) -> Result<(), BackupError> {
        self.notifier.tell(&Event::Started { databases: &self.subject.databases.names(only) });
        self.runner.check().map_err(ProgramError::Interrupted)?;
        let hook = self.notifier.pre_backup_hook();
        self.runner.check().map_err(ProgramError::Interrupted)?;
        hook.map_err(BackupError::Hook)?;
        preflight::check_space(directory, self.storage, None)?;
        let plan = self.look_at_server(directory, lock, only)?;
        let Plan { client, versions, items, passwords } = &plan;
        let mut exclusions = Exclusions::new(&self.subject.excluded_tables);
        for item in items {
            let begun = Instant::now();
            let what = format!("querying the server about {}", item.name);
            let _doing = asking(self.runner, client, &what, Some(item));
            exclusions.look_at(client, item);
            let is_encrypted = self.storage.passphrase.is_some();
            let recipe = Recipe::new(client, self.subject, item, is_encrypted, *passwords);
            let (storage, server, runner) = (self.storage, self.server, self.runner);
            let backup = ItemBackup { storage, server, runner, directory, client, versions, item };
            let mut hold = None;
            // A panic fails this item only.
            let backed_up = preflight::refuse_invalid(client, item).and_then(|()| {
                unwind::catch(|| backup.run(recipe, &mut hold))
                    .unwrap_or_else(|panic| Err(BackupError::Panic(panic)))
            });
            if backed_up.as_ref().is_err_and(|error| error.interrupted().is_some()) {
                return backed_up.map(drop);
            }
            let report = DatabaseReport { clock: hold, ..database_report(&item.name, backed_up, begun) };
            self.note.add(&report);
            reports.push(report);
        }
        if only.is_empty() {
            exclusions.finish();
        }
        Ok(())
    }

    /// Connects to the server, clears what killed restores have left there, and chooses what to dump.
    fn look_at_server(
        &self,
        directory: &BackupDirectory,
        lock: &Lock,
        only: &[DatabaseName],
    ) -> Result<Plan, BackupError> {
        let named = match &self.subject.databases {
            Databases::Named(names) => names.as_slice(),
            Databases::Discovered { .. } | Databases::Cluster => only,
        };
        let doing =
            self.runner.activity().begin(format!("connecting to the server {}", self.server.address()));
        let (client, versions) = preflight::check_server(self.server, named.first(), self.runner)?;
        drop(doing);
        let _doing = asking(self.runner, &client, "querying the server for its databases", None);
        restore::cleanup_databases(directory, lock, &client);
        for remark in &self.subject.options.remarks {
            log::warn!("POSTGRES_EXTRA_OPTS {remark}");
        }
        let items = preflight::choose_items(&client, self.subject, only)?;
        let passwords = items.iter().all(|item| item.scope == Scope::Database)
            || preflight::sees_role_passwords(&client, self.subject)?;
        Ok(Plan { client, versions, items, passwords })
    }
}

fn database_report(
    database: &DatabaseName,
    backed_up: Result<(BackupName, u64), BackupError>,
    begun: Instant,
) -> DatabaseReport {
    match backed_up {
        Ok((name, size)) => {
            let seconds = begun.elapsed().as_secs_f64();
            log::info!("{database}: published last/{name}, {}, {seconds:.1} s", units::bytes(size));
            DatabaseReport::published(database.as_str(), format!("last/{name}"), size)
        }
        Err(error) => {
            log::error!("{database}: {error}");
            let report = DatabaseReport::failed(database.as_str(), error.to_string());
            match error {
                BackupError::Unproven(name, size, _) => {
                    DatabaseReport { file: Some(format!("last/{name}")), size: Some(size), ..report }
                }
                _ => report,
            }
        }
    }
}
