//! Verifies published backups and records the results in their manifests. Each backup is read from end to end without a
//! database, or restored into a temporary server.

mod finding;
mod opened;

use std::collections::{HashMap, HashSet};
use std::fs::File;

use crate::engine::content::{ContentError, DecryptionContext, Snapshot, bytes_to_read, read_fully};
use crate::engine::proof::{self, ProofError};
use crate::store::catalog::{
    BackupDirectory, BackupName, DirectoryError, Manifest, Opened, Slot, Verification,
};
use crate::store::records::{LastProof, proofs};
use crate::system::process::Interrupted;
use crate::system::progress::Progress;
use crate::util::{clock, durable};

use opened::{Found, OpenError, Reading};

pub use finding::{Finding, Verdict};

/// Verifies backups one after the other.
pub struct Verifier<'a> {
    directory: &'a BackupDirectory,
    keys: DecryptionContext,
    /// Whether it has been said that the directory takes no results.
    is_unwritable: bool,
    /// What was read of files that may have further names.
    known: HashMap<Identity, Reading>,
    /// Files that have been proven.
    proven: HashSet<Identity>,
    /// How many jobs restore at once.
    jobs: usize,
}

/// Tells a file, as it is now, from all others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Identity {
    inode: (u64, u64),
    size: i64,
    modified: (i64, i64),
}

impl<'a> Verifier<'a> {
    /// A verifier of the backups of a directory. It restores with so many jobs.
    pub fn new(directory: &'a BackupDirectory, keys: DecryptionContext, jobs: usize) -> Self {
        let (known, proven) = (HashMap::new(), HashSet::new());
        Self { directory, keys, is_unwritable: false, known, proven, jobs }
    }

    /// Proves a backup by restoring it, once whatever further names it has, and writes down what came of it. Only the
    /// holder of the directory's lock may call this.
    ///
    /// # Errors
    /// Only when a stop signal comes. Whatever else goes wrong is in the verdict.
    pub fn prove(&mut self, slot: Slot, name: &BackupName) -> Result<Verdict, Interrupted> {
        let mut found = match Found::open(self.directory, slot, name) {
            Ok(found) => found,
            Err(error) => return Ok(unopened(slot, name, &error)),
        };
        let name = found.opened.name.clone();
        let identity = identity(&found.opened);
        if identity.is_some_and(|identity| self.proven.contains(&identity)) {
            return Ok(Verdict { slot, name, finding: Finding::Whole });
        }
        if found.is_replaced || found.manifest.is_none() {
            self.settle_before_proof(slot, &mut found)?;
        }
        let proof = proof::prove(self.directory, slot, &name, &self.keys, self.jobs);
        if let Some(interrupted) = proof.as_ref().err().and_then(|error| error.interrupted()) {
            return Err(interrupted);
        }
        let failed = |error: &ProofError| Finding::failed(error, error.is_damage());
        let finding = proof.as_ref().err().map_or(Finding::Whole, failed);
        if !matches!(finding, Finding::Unknown(_)) {
            self.proven.extend(identity.filter(|_| proof.is_ok()));
            let result = proof.map_err(|_| finding.error().unwrap_or_default().to_owned());
            let verification = Verification::by_restore(clock::now(), result);
            match &found.manifest {
                Some(manifest) => self.note_proof(slot, &found.opened, manifest, &verification),
                None if found.is_replaced => {
                    log::info!(
                        "{slot}/{name}: the proof is not recorded: the manifest describes another file"
                    );
                }
                None => {}
            }
        }
        Ok(Verdict { slot, name, finding })
    }

    /// Reads what looks replaced, or has no manifest, for its checksum. A manifest that is its own after all gets to know
    /// the new time, and that of another file is forgotten, so that no proof is written into it. Where there is none, a
    /// first one is written.
    fn settle_before_proof(&mut self, slot: Slot, found: &mut Found) -> Result<(), Interrupted> {
        let reading = match self.reading(slot, &found.opened) {
            Ok(reading) => reading,
            Err(error) => {
                found.manifest = None;
                return error.interrupted().map_or(Ok(()), Err);
            }
        };
        if found.manifest.is_none() {
            found.manifest = found.first_manifest(slot, &reading);
            self.write_first(slot, &found.opened, found.manifest.as_ref());
            return Ok(());
        }
        let own = found.manifest.take().filter(|manifest| reading.sha256 == manifest.sha256);
        if let Some(before) = own {
            let after = before.clone().of(found.appearance);
            let written = self.directory.replace_manifest(slot, &found.opened.name, &before, &after);
            written.unwrap_or_else(|error| self.tell_unwritten(slot, &found.opened.name, &error));
            found.manifest = Some(after);
        }
        Ok(())
    }

    /// Writes a proof down for every name of the same file, and for the directories that hold the same files.
    fn note_proof(&mut self, slot: Slot, opened: &Opened, manifest: &Manifest, verification: &Verification) {
        let entries = self.directory.list_all().unwrap_or_default();
        for entry in entries.iter().filter(|entry| entry.alias_of.is_none()) {
            let Some(before) = entry.manifest.as_deref() else { continue };
            let is_same = || {
                let other = self.directory.open(entry.slot, &entry.name);
                other.is_ok_and(|other| is_same_backup(&opened.file, &other.file))
            };
            if before.sha256 == manifest.sha256 && is_same() {
                let mut after = before.clone();
                after.note(verification.clone());
                let written = self.directory.replace_manifest(entry.slot, &entry.name, before, &after);
                written.unwrap_or_else(|error| self.tell_unwritten(entry.slot, &entry.name, &error));
            }
        }
        if verification.error.is_none() {
            let proof =
                LastProof { file: format!("{slot}/{}", opened.name), verification: verification.clone() };
            let noted = proofs::note(self.directory, manifest.database.clone(), proof);
            if let Err(error) = noted
                && !(self.is_unwritable && durable::is_unwritable(&error))
            {
                log::warn!("cannot record the proof: {error}");
            }
        }
    }

    /// Verifies a backup and writes down what came of it.
    ///
    /// # Errors
    /// Only when a stop signal comes. Whatever else goes wrong is in the verdict.
    pub fn verify(&mut self, slot: Slot, name: &BackupName) -> Result<Verdict, Interrupted> {
        let found = match Found::open(self.directory, slot, name) {
            Ok(found) => found,
            Err(error) => return Ok(unopened(slot, name, &error)),
        };
        let finding = match self.reading(slot, &found.opened) {
            Ok(reading) => self.judge(slot, &found, &reading),
            Err(error) => error.interrupted().map_or(Ok(Finding::Unknown(error.to_string())), Err)?,
        };
        Ok(Verdict { slot, name: found.opened.name, finding })
    }

    /// What was read of a file, under this name or another of it.
    fn reading(&mut self, slot: Slot, opened: &Opened) -> Result<Reading, ContentError> {
        let identity = identity(opened);
        if let Some(known) = identity.and_then(|identity| self.known.get(&identity)) {
            return Ok(known.clone());
        }
        let reading = self.read(slot, opened)?;
        if !matches!(reading.finding, Finding::Unknown(_)) {
            self.known.extend(identity.map(|identity| (identity, reading.clone())));
        }
        Ok(reading)
    }

    fn read(&self, slot: Slot, opened: &Opened) -> Result<Reading, ContentError> {
        let file = opened.file.try_clone().map_err(ContentError::Read)?;
        let total = bytes_to_read(&file);
        let progress = Progress::start(format!("verifying {slot}/{}", opened.name), total);
        Ok(read_fully(file, &self.keys, &progress)?.into())
    }

    /// Judges by what was read, and writes down what was found in a manifest of this very file, or in a first one.
    fn judge(&mut self, slot: Slot, found: &Found, reading: &Reading) -> Finding {
        let manifest = found.manifest.as_ref();
        let is_its = manifest.is_some_and(|manifest| manifest.sha256 == reading.sha256);
        let name = &found.opened.name;
        let has_other_checksum = manifest.is_some() && !is_its && !found.is_replaced;
        // Whatever else was in the way, another checksum means damage.
        let finding = if has_other_checksum {
            Finding::Broken(ContentError::Checksum.to_string())
        } else {
            reading.finding.clone()
        };
        match manifest {
            Some(_) if found.is_replaced && !is_its => log::warn!(
                "{slot}/{name} was replaced after its manifest was written: only its content is checked, and the \
                 result is not recorded"
            ),
            Some(manifest) => {
                let now = if is_its { manifest.clone().of(found.appearance) } else { manifest.clone() };
                let recorded = self.record(slot, name, manifest, now, &finding);
                recorded.unwrap_or_else(|error| self.tell_unwritten(slot, name, &error));
            }
            None => {
                let mut first = found.first_manifest(slot, reading);
                if let (Some(manifest), Some(verification)) = (&mut first, finding.by_checksum(clock::now()))
                {
                    manifest.note(verification);
                    self.write_first(slot, &found.opened, first.as_ref());
                }
            }
        }
        finding
    }

    fn write_first(&mut self, slot: Slot, opened: &Opened, manifest: Option<&Manifest>) {
        let written = manifest.map_or(Ok(()), |it| self.directory.write_first_manifest(slot, opened, it));
        written.unwrap_or_else(|error| self.tell_unwritten(slot, &opened.name, &error));
    }

    /// Writes down what was found, unless another backup has taken the name meanwhile.
    fn record(
        &self,
        slot: Slot,
        name: &BackupName,
        before: &Manifest,
        mut now_known: Manifest,
        finding: &Finding,
    ) -> Result<(), DirectoryError> {
        let Some(verification) = finding.by_checksum(clock::now()) else { return Ok(()) };
        now_known.note(verification);
        self.directory.replace_manifest(slot, name, before, &now_known)
    }

    /// Says that a result could not be written down; once when none can be.
    fn tell_unwritten(&mut self, slot: Slot, name: &BackupName, error: &DirectoryError) {
        match error.is_unwritable() {
            true if self.is_unwritable => {}
            true => {
                self.is_unwritable = true;
                log::warn!("cannot record results: {error}");
            }
            false => log::warn!("{slot}/{name}: cannot record the result: {error}"),
        }
    }
}

/// Whether two are of the same file, or of directories with the same files.
fn is_same_backup(one: &File, other: &File) -> bool {
    matches!((Snapshot::of(one), Snapshot::of(other)), (Ok(one), Ok(other)) if one == other)
}

/// What a file shares with its other names. A directory is read under each of its names.
fn identity(opened: &Opened) -> Option<Identity> {
    let status = &opened.status;
    (!opened.is_directory()).then_some(Identity {
        inode: (status.st_dev, status.st_ino),
        size: status.st_size,
        modified: (status.st_mtime, status.st_mtime_nsec),
    })
}

/// The verdict on a backup that cannot be opened.
fn unopened(slot: Slot, name: &BackupName, error: &OpenError) -> Verdict {
    let finding = Finding::Unknown(format!("cannot be verified: {error}"));
    Verdict { slot, name: name.clone(), finding }
}
