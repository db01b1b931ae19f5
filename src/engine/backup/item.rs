//! The backup of one item: it is dumped, published, proven by a restore where that is due, and then older backups of it
//! that the settings no longer keep are deleted.

use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::{Timestamp, Zoned};

use super::dump::{self, Partial};
use super::error::BackupError;
use super::preflight::{self, Versions};
use super::recipe::{Item, Recipe};
use super::{properties, prune, publish};
use crate::engine::content::DecryptionContext;
use crate::engine::verify::{Verdict, Verifier};
use crate::postgres::{Client, Server, waits};
use crate::settings::Storage;
use crate::store::catalog::{BackupDirectory, BackupName, Dump, Manifest, Scope, Slot, Verification};
use crate::store::records;
use crate::store::records::proofs;
use crate::store::retention::Hold;
use crate::system::gpg::Gpg;
use crate::system::process::{Doing, ProgramError, Runner};
use crate::util::clock;

/// The pause before another look whether the second that would name a backup is over.
const PAUSE: Duration = Duration::from_millis(50);

/// What the backup of an item needs.
pub(super) struct ItemBackup<'a> {
    pub storage: &'a Storage,
    pub server: &'a Server,
    pub runner: &'a Runner,
    pub directory: &'a BackupDirectory,
    pub client: &'a Client,
    pub versions: &'a Versions,
    pub item: &'a Item,
}

/// A finished dump that is not published yet.
struct Dumped {
    file: BackupName,
    time: Zoned,
    partial: Partial,
    manifest: Manifest,
}

impl ItemBackup<'_> {
    /// Makes the backup, and answers its name in `last/` and its bytes. `hold` becomes why older ones are not deleted.
    ///
    /// # Errors
    /// When a step before the publication fails, or the restore proof does.
    pub fn run(&self, mut recipe: Recipe, hold: &mut Option<Hold>) -> Result<(BackupName, u64), BackupError> {
        self.directory.refuse_namesake(&self.item.name)?;
        let last = preflight::last_backup(self.directory, self.item)?;
        preflight::check_space(self.directory, self.storage, last.as_ref().map(|last| last.size))?;
        recipe.last_dumped = last.and_then(|last| last.manifest?.dumped_as(recipe.format));
        let suffix = self.storage.ending();
        let dumped = self.dump(recipe, &suffix)?;
        let _doing = self.runner.activity().begin(format!("publishing the backup of {}", self.item.name));
        let published = self.publish(&dumped, &suffix)?;
        let Dumped { file, manifest: Manifest { size, .. }, .. } = dumped;
        let unproven = if self.is_proof_due() { self.prove(&file)? } else { None };
        // A broken backup keeps the older ones. A proof that could not be made does not, as it may never be possible.
        if let Some(verdict) = unproven.as_ref().filter(|verdict| verdict.finding.is_broken()) {
            return Err(unproven_error(&file, size, verdict, ", and no older backup was deleted"));
        }
        *hold = self.prune(&published);
        match unproven {
            Some(verdict) => Err(unproven_error(&file, size, &verdict, "")),
            None => Ok((file, size)),
        }
    }

    fn dump(&self, recipe: Recipe, suffix: &str) -> Result<Dumped, BackupError> {
        let (name, format, gpg) = (&self.item.name, recipe.format, self.gpg());
        let (begun, time) = (Instant::now(), self.unused_time(suffix)?);
        let recorded = properties::record(self.client, &self.versions.server, self.item, gpg.as_ref())?;
        let (origin, recorded) = recorded.unzip();
        log::info!("{name}: dumping from {} (PostgreSQL {})", self.server.address(), self.versions.server);
        let file = BackupName::compose(name, &Slot::Last.stamp(&time), suffix);
        self.directory.try_name(name, &file)?;
        let place = self.directory.open_partial()?;
        let doing = asking(self.runner, self.client, &format!("dump of {name}"), Some(self.item));
        let partial = dump::dump(self.runner, recipe, gpg.as_ref(), place, file.as_str())?;
        drop(doing);
        let manifest = Manifest {
            sha256: partial.written.sha256.clone(),
            size: partial.written.size,
            dumped: Some(partial.written.dumped),
            modified: None,
            database: name.clone(),
            format: Some(format),
            encrypted: gpg.is_some(),
            dump: Some(Dump {
                server_version: self.versions.server.text.clone(),
                tool_version: self.versions.tool.text.clone(),
                created_at: time.timestamp().as_second(),
                duration_seconds: begun.elapsed().as_secs_f64(),
                scope: self.item.scope,
            }),
            origin,
            properties: recorded.map(Box::new),
            needs: partial.needs.clone().map(Box::new),
            // The whole dump was checked as it went by, and is not read back.
            verified: Some(Verification::by_checksum(Timestamp::now().as_second(), None)),
            proven: None,
        };
        Ok(Dumped { file, time, partial, manifest })
    }

    /// Gives the dump its names, and moves the `-latest` pointers.
    fn publish(&self, dumped: &Dumped, suffix: &str) -> Result<publish::Published, BackupError> {
        let Dumped { time, partial, manifest, .. } = dumped;
        let published = publish::publish(self.directory, suffix, partial, manifest, time)?;
        publish::point_latest(self.directory, suffix, self.storage.latest, manifest, &published);
        Ok(published)
    }

    /// Whether the last restore proof of the item is too old for the settings.
    fn is_proof_due(&self) -> bool {
        let Some(interval) = self.storage.proof_interval else { return false };
        let (database, now) = (&self.item.name, clock::now());
        let ledger = proofs::read(self.directory).unwrap_or_else(|error| {
            log::warn!("cannot tell when {database} was last proven: {error}");
            records::Ledger::new()
        });
        let ledger = proofs::believed(ledger, now);
        let age = |last: &records::LastProof| now.saturating_sub(last.verification.at);
        ledger.get(database).is_none_or(|last| age(last) >= interval.cast_signed())
    }

    /// Restores the backup for a proof. Answers the verdict if it is not proven.
    fn prove(&self, name: &BackupName) -> Result<Option<Verdict>, BackupError> {
        let _doing = self.runner.activity().begin(format!("restore proof of {name}"));
        let keys =
            DecryptionContext { passphrase: self.storage.passphrase.clone(), runner: self.runner.clone() };
        let mut verifier = Verifier::new(self.directory, keys, self.storage.restore_jobs);
        let verdict = verifier.prove(Slot::Last, name).map_err(ProgramError::Interrupted)?;
        Ok(Some(verdict).filter(|verdict| verdict.finding.error().is_some()))
    }

    /// Deletes what the settings no longer keep, unless something holds that.
    fn prune(&self, published: &publish::Published) -> Option<Hold> {
        let (name, server) = (&self.item.name, self.server.address());
        prune::prune(self.directory, self.storage, name, published, &server, self.client.server_clock())
    }

    fn gpg(&self) -> Option<Gpg> {
        self.storage.passphrase.clone().map(|passphrase| Gpg::new(passphrase, self.runner.clone()))
    }

    /// The time that names the backup. Names have seconds; a backup made in the same second as the last one of its
    /// database would replace that, so this waits for the next second.
    fn unused_time(&self, suffix: &str) -> Result<Zoned, BackupError> {
        loop {
            let time = Zoned::now();
            let name = BackupName::compose(&self.item.name, &Slot::Last.stamp(&time), suffix);
            if !self.directory.open_slot(Slot::Last)?.holds(name.as_str()) {
                return Ok(time);
            }
            self.runner.sleep(PAUSE).map_err(ProgramError::Interrupted)?;
        }
    }
}

/// Tells the run's activity of a step that may wait for a lock on the server, in an item's database or in any.
pub(super) fn asking(runner: &Runner, client: &Client, what: &str, item: Option<&Item>) -> Doing {
    let client = client.clone();
    let item = item.filter(|item| item.scope == Scope::Database);
    let database = item.map(|item| item.name.clone());
    let probe = move || waits::of_dump(&client, database.as_ref());
    runner.activity().begin_with(what, Arc::new(probe))
}

fn unproven_error(name: &BackupName, size: u64, verdict: &Verdict, consequence: &str) -> BackupError {
    let error = verdict.finding.error().unwrap_or_default();
    BackupError::Unproven(name.clone(), size, format!("last/{name} {error}{consequence}"))
}
