//! A backup run: preflight, each database in turn, and what is said and kept of it.

mod conclusion;
mod death;
mod dump;
mod error;
mod excluded;
mod options;
mod preflight;
mod properties;
mod prune;
mod publish;
mod recipe;
mod report;
mod room;
mod stream;

use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::{Timestamp, Zoned};

use crate::delivery::notify::{Event, Notifier};
use crate::engine::content::Keys;
use crate::engine::proof;
use crate::engine::restore;
use crate::engine::verify::{Verdict, Verifier};
use crate::postgres::{Client, Server, waits};
use crate::settings::{Databases, Storage, Subject};
use crate::store::catalog::{
    BackupDirectory, BackupName, DatabaseName, Dump, Manifest, Scope, Slot, Verification,
};
use crate::store::records::status;
use crate::store::retention::Hold;
use crate::system::gpg::Gpg;
use crate::system::lock::Lock;
use crate::system::process::{Doing, ProgramError, Runner};
use crate::system::run_note::OwnNote;
use crate::util::clock;
use crate::util::units;
use crate::util::unwind;
use excluded::Exclusions;
use recipe::{Item, Recipe};

pub use conclusion::{Conclusion, conclude, record};
pub use death::Death;
pub use error::BackupError;
pub use options::{DumpFormat, DumpOptions, OptionError};
pub use preflight::disk_space;
pub(crate) use report::is_of;
pub use report::{DatabaseReport, DeliveryReport, Outcome, Report, errors};
pub use stream::StreamError;

/// A backup run with everything that it needs.
pub struct Backup<'a> {
    /// Where to keep what it makes.
    pub storage: &'a Storage,
    /// The server.
    pub server: &'a Server,
    /// What to dump.
    pub subject: &'a Subject,
    /// Whom to tell.
    pub notifier: &'a Notifier,
    /// Starts the programs.
    pub runner: &'a Runner,
    /// Where the run leaves word of what it has come to, should it die.
    pub note: &'a OwnNote,
}

impl Backup<'_> {
    /// Backs up every database of the settings, or `only` some of them. One that fails does not stop the
    /// others. What follows from it is for [`conclude`] to do, when the lock is free again.
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
            // Only now: a killed run may have left the room that is to be kept.
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
        let named = match &self.subject.databases {
            Databases::Named(names) => names.as_slice(),
            Databases::Discovered { .. } | Databases::Cluster => only,
        };
        let doing = self.doing(format!("connecting to the server {}", self.server.address()));
        let (client, versions) = preflight::check_server(self.server, named.first(), self.runner)?;
        drop(doing);
        let doing = self.asking(&client, "asking the server what there is", None);
        restore::sweep(directory, lock, &client);
        for remark in &self.subject.options.remarks {
            log::warn!("POSTGRES_EXTRA_OPTS {remark}");
        }
        let items = preflight::choose_items(&client, self.subject, only)?;
        let passwords = items.iter().all(|item| item.scope == Scope::Database)
            || preflight::sees_role_passwords(&client, self.subject)?;
        drop(doing);
        let mut exclusions = Exclusions::new(&self.subject.excluded_tables);
        for item in items {
            let begun = Instant::now();
            let _doing = self.asking(&client, &format!("asking the server about {}", item.name), Some(&item));
            exclusions.look_at(&client, &item);
            let recipe = Recipe::new(&client, self.subject, &item, self.gpg().is_some(), passwords);
            let mut hold = None;
            // A mistake of ours that one of them brings to light is no reason to leave out the others.
            let backed_up = preflight::refuse_invalid(&client, &item).and_then(|()| {
                unwind::catch(|| self.back_up(directory, &client, &versions, &item, recipe, &mut hold))
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

    fn doing(&self, what: String) -> Doing {
        self.runner.activity().begin(what)
    }

    /// The same of what may wait for a lock on the server: in an item's database, or in any.
    fn asking(&self, client: &Client, what: &str, item: Option<&Item>) -> Doing {
        let client = client.clone();
        let item = item.filter(|item| item.scope == Scope::Database);
        let database = item.map(|item| item.name.clone());
        let probe = move || waits::of_dump(&client, database.as_ref());
        self.runner.activity().begin_with(what, Arc::new(probe))
    }

    fn gpg(&self) -> Option<Gpg> {
        self.storage.passphrase.clone().map(|passphrase| Gpg::new(passphrase, self.runner.clone()))
    }

    fn back_up(
        &self,
        directory: &BackupDirectory,
        client: &Client,
        versions: &preflight::Versions,
        item: &Item,
        mut recipe: Recipe,
        hold: &mut Option<Hold>,
    ) -> Result<(BackupName, u64), BackupError> {
        directory.refuse_namesake(&item.name)?;
        let last = preflight::last_backup(directory, item)?;
        preflight::check_space(directory, self.storage, last.as_ref().map(|last| last.size))?;
        recipe.last_dumped = last.and_then(|last| last.manifest?.dumped_as(recipe.format));
        let suffix = self.storage.ending();
        let (begun, time) = (Instant::now(), self.unused_time(directory, &item.name, &suffix)?);
        let (name, format) = (&item.name, recipe.format);
        let recorded = properties::record(client, &versions.server, item, self.gpg().as_ref())?;
        let (origin, recorded) = recorded.unzip();
        log::info!("{name}: dumping from {} (PostgreSQL {})", self.server.address(), versions.server);
        let file = BackupName::compose(name, &Slot::Last.stamp(&time), &suffix);
        directory.try_name(name, &file)?;
        let place = directory.open_partial()?;
        let doing = self.asking(client, &format!("dump of {name}"), Some(item));
        let partial = dump::dump(self.runner, recipe, self.gpg().as_ref(), place, file.as_str())?;
        drop(doing);
        let _doing = self.doing(format!("publishing the backup of {name}"));
        let manifest = Manifest {
            sha256: partial.written.sha256.clone(),
            size: partial.written.size,
            dumped: Some(partial.written.dumped),
            modified: None,
            database: name.clone(),
            format: Some(format),
            encrypted: self.storage.passphrase.is_some(),
            dump: Some(Dump {
                server_version: versions.server.text.clone(),
                tool_version: versions.tool.text.clone(),
                created_at: time.timestamp().as_second(),
                duration_seconds: begun.elapsed().as_secs_f64(),
                scope: item.scope,
            }),
            origin,
            properties: recorded.map(Box::new),
            needs: partial.needs.clone().map(Box::new),
            // The stream has looked at all of it, and nothing is read back.
            verified: Some(Verification::by_checksum(Timestamp::now().as_second(), None)),
            proven: None,
        };
        let published = publish::publish(directory, &suffix, &partial, &manifest, &time)?;
        publish::point_latest(directory, &suffix, self.storage.latest, &manifest, &published);
        let unproven = match self.is_proof_due(directory, name) {
            true => self.prove(directory, &file)?,
            false => None,
        };
        // Only what the backup itself is to blame for keeps the older ones: what a proof lacks it may lack for ever.
        match unproven {
            Some(verdict) if verdict.is_broken => {
                Err(unproven_error(file, manifest.size, verdict, ", and nothing old was deleted"))
            }
            unproven => {
                *hold = prune::prune(
                    directory,
                    self.storage,
                    name,
                    &published,
                    &self.server.address(),
                    client.server_clock(),
                );
                match unproven {
                    Some(verdict) => Err(unproven_error(file, manifest.size, verdict, "")),
                    None => Ok((file, manifest.size)),
                }
            }
        }
    }

    /// Whether the last restore proof of a database is too old for the settings.
    fn is_proof_due(&self, directory: &BackupDirectory, database: &DatabaseName) -> bool {
        let Some(interval) = self.storage.proof_interval else { return false };
        let now = clock::now();
        let ledger = proof::read(directory).unwrap_or_else(|error| {
            log::warn!("cannot tell when {database} was last proven: {error}");
            proof::Ledger::new()
        });
        let ledger = proof::believed(ledger, now);
        let age = |last: &proof::LastProof| now.saturating_sub(last.verification.at);
        ledger.get(database).is_none_or(|last| age(last) >= interval.cast_signed())
    }

    /// The verdict on a backup that is not proven.
    fn prove(&self, directory: &BackupDirectory, name: &BackupName) -> Result<Option<Verdict>, BackupError> {
        let _doing = self.doing(format!("restore proof of {name}"));
        let keys = Keys { passphrase: self.storage.passphrase.clone(), runner: self.runner.clone() };
        let verdict = Verifier::new(directory, keys, self.storage.restore_jobs).prove(Slot::Last, name);
        let verdict = verdict.map_err(ProgramError::Interrupted)?;
        Ok(Some(verdict).filter(|verdict| verdict.error.is_some()))
    }

    /// The time that names a backup. Names have seconds; a backup made in the same second as the last one of
    /// its database would replace it, so it begins in the next.
    fn unused_time(
        &self,
        directory: &BackupDirectory,
        database: &DatabaseName,
        suffix: &str,
    ) -> Result<Zoned, BackupError> {
        loop {
            let time = Zoned::now();
            let name = BackupName::compose(database, &Slot::Last.stamp(&time), suffix);
            if !directory.open_slot(Slot::Last)?.holds(name.as_str()) {
                return Ok(time);
            }
            self.runner.sleep(Duration::from_millis(50)).map_err(ProgramError::Interrupted)?;
        }
    }
}

fn unproven_error(name: BackupName, size: u64, verdict: Verdict, consequence: &str) -> BackupError {
    let error = verdict.error.unwrap_or_default();
    BackupError::Unproven(name.clone(), size, format!("last/{name} {error}{consequence}"))
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
