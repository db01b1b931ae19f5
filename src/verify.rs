//! Verifies published backups, and writes what came of it into their manifests: each is read from end to end, without
//! a database, or restored into a server of its own.

use std::collections::{HashMap, HashSet};
use std::path::Path;

use jiff::Timestamp;

use crate::catalog::{BackupDirectory, BackupName, DirectoryError, Manifest, Opened, Slot, Verification};
use crate::content::{ContentError, Keys, Snapshot, bytes_to_examine, examine};
use crate::process::Interrupted;
use crate::progress::Progress;
use crate::proof::{self, LastProof};

/// What verifying a backup found.
#[derive(Debug)]
pub struct Verdict {
    /// Its slot.
    pub slot: Slot,
    /// Its name; the target's of a pointer.
    pub name: BackupName,
    /// What is wrong with it, as the rest of a sentence that begins with its name.
    pub error: Option<String>,
    /// Whether it is the backup itself that is at fault, and not what it was looked at with.
    pub is_broken: bool,
}

impl Verdict {
    fn unopened(slot: Slot, name: &BackupName, error: &DirectoryError) -> Self {
        let error = Some(format!("cannot be verified: {error}"));
        Self { slot, name: name.clone(), error, is_broken: false }
    }
}

/// Verifies backups one after the other.
pub struct Verifier<'a> {
    directory: &'a BackupDirectory,
    keys: Keys,
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

/// What was read of a file: its checksum, and what is wrong with it by itself or was in the way.
#[derive(Debug, Clone)]
struct Reading {
    sha256: String,
    fault: Option<Fault>,
}

#[derive(Debug, Clone)]
struct Fault {
    said: String,
    is_damage: bool,
}

/// What is to be said of a backup.
enum Finding {
    Whole,
    Broken(String),
    /// It could not be looked into, which says nothing about it.
    Unknown(String),
}

impl<'a> Verifier<'a> {
    /// A verifier of the backups of a directory. It restores with so many jobs.
    pub fn new(directory: &'a BackupDirectory, keys: Keys, jobs: usize) -> Self {
        Self { directory, keys, known: HashMap::new(), proven: HashSet::new(), jobs }
    }

    /// Proves a backup by restoring it, once whatever further names it has, and writes down what came of it. Only the
    /// holder of the directory's lock may call this.
    ///
    /// # Errors
    /// Only when a stop signal comes. Whatever else goes wrong is in the verdict.
    pub fn prove(&mut self, slot: Slot, name: &BackupName) -> Result<Verdict, Interrupted> {
        let (opened, manifest) = match self.open(slot, name) {
            Ok(found) => found,
            Err(error) => return Ok(Verdict::unopened(slot, name, &error)),
        };
        let name = opened.name.clone();
        let identity = identity(&opened);
        if identity.is_some_and(|identity| self.proven.contains(&identity)) {
            return Ok(Verdict { slot, name, error: None, is_broken: false });
        }
        let proof = proof::prove(self.directory, slot, &name, &self.keys, self.jobs);
        if let Some(interrupted) = proof.as_ref().err().and_then(|error| error.interrupted()) {
            return Err(interrupted);
        }
        let error = proof.as_ref().err().map(ToString::to_string);
        let is_broken = proof.as_ref().is_err_and(|error| error.is_damage());
        if error.is_none() || is_broken {
            self.proven.extend(identity.filter(|_| error.is_none()));
            let verification = Verification::by_restore(now(), proof.map_err(|error| error.to_string()));
            if let Some(manifest) = manifest {
                self.note_proof(slot, &opened, &manifest, &verification);
            }
        }
        Ok(Verdict { slot, name, error, is_broken })
    }

    /// Writes a proof down for every name of the same file, and for the directories that hold the same files.
    fn note_proof(&self, slot: Slot, opened: &Opened, manifest: &Manifest, verification: &Verification) {
        let own = self.directory.path(slot, &opened.name);
        let entries = self.directory.list_all().unwrap_or_default();
        for entry in entries.iter().filter(|entry| entry.alias_of.is_none()) {
            let Some(before) = entry.manifest.as_deref() else { continue };
            let is_same = || is_same_backup(&own, &self.directory.path(entry.slot, &entry.name));
            if before.sha256 == manifest.sha256 && is_same() {
                let mut after = before.clone();
                after.note(verification.clone());
                let written = self.directory.replace_manifest(entry.slot, &entry.name, before, &after);
                written.unwrap_or_else(|error| log::warn!("the proof is not written down: {error}"));
            }
        }
        if verification.error.is_none() {
            let proof =
                LastProof { file: format!("{slot}/{}", opened.name), verification: verification.clone() };
            let noted = proof::note(self.directory, manifest.database.clone(), proof);
            noted.unwrap_or_else(|error| log::warn!("the proof is not written down: {error}"));
        }
    }

    /// Verifies a backup and writes down what came of it.
    ///
    /// # Errors
    /// Only when a stop signal comes. Whatever else goes wrong is in the verdict.
    pub fn verify(&mut self, slot: Slot, name: &BackupName) -> Result<Verdict, Interrupted> {
        let (opened, manifest) = match self.open(slot, name) {
            Ok(found) => found,
            Err(error) => return Ok(Verdict::unopened(slot, name, &error)),
        };
        let finding = self.find(slot, &opened, manifest.as_ref())?;
        if let Some(manifest) = manifest
            && let Err(error) = self.record(slot, &opened, manifest, &finding)
        {
            log::warn!("{slot}/{}: the result is not written down: {error}", opened.name);
        }
        let (error, is_broken) = match finding {
            Finding::Whole => (None, false),
            Finding::Broken(error) => (Some(error), true),
            Finding::Unknown(error) => (Some(error), false),
        };
        Ok(Verdict { slot, name: opened.name, error, is_broken })
    }

    /// The file and its manifest, while nobody can replace the one without the other.
    fn open(&self, slot: Slot, name: &BackupName) -> Result<(Opened, Option<Manifest>), DirectoryError> {
        let _lock = self.directory.lock_names()?;
        let opened = self.directory.open(slot, name)?;
        let manifest = self.directory.manifest(slot, &opened.name)?;
        Ok((opened, manifest))
    }

    fn find(
        &mut self,
        slot: Slot,
        opened: &Opened,
        manifest: Option<&Manifest>,
    ) -> Result<Finding, Interrupted> {
        let identity = identity(opened);
        let reading = match identity.and_then(|identity| self.known.get(&identity)) {
            Some(known) => known.clone(),
            None => match self.read(slot, opened) {
                Ok(reading) => reading,
                Err(error) => {
                    return error.interrupted().map_or(Ok(Finding::Unknown(error.to_string())), Err);
                }
            },
        };
        let expected = manifest.map_or(&reading.sha256, |manifest| &manifest.sha256);
        let finding = match &reading.fault {
            // Whatever was in the way of more, this tells damage.
            _ if *expected != reading.sha256 => Finding::Broken(ContentError::Checksum.to_string()),
            Some(Fault { said, is_damage: true }) => Finding::Broken(said.clone()),
            Some(Fault { said, is_damage: false }) => Finding::Unknown(said.clone()),
            None => Finding::Whole,
        };
        if reading.fault.as_ref().is_none_or(|fault| fault.is_damage) {
            self.known.extend(identity.map(|identity| (identity, reading)));
        }
        Ok(finding)
    }

    fn read(&self, slot: Slot, opened: &Opened) -> Result<Reading, ContentError> {
        let path = self.directory.path(slot, &opened.name);
        let file = opened.file.try_clone().map_err(ContentError::Read)?;
        let total = bytes_to_examine(&file, &path);
        let progress = Progress::start(format!("verifying {slot}/{}", opened.name), total);
        let examination = examine(file, &path, &self.keys, &progress)?;
        let sha256 = examination.sha256.clone();
        let fault = examination.judge(None).err();
        let fault = fault.map(|error| Fault { said: error.to_string(), is_damage: error.is_damage() });
        Ok(Reading { sha256, fault })
    }

    /// Writes down what was found, unless another backup has taken the name meanwhile.
    fn record(
        &self,
        slot: Slot,
        opened: &Opened,
        mut manifest: Manifest,
        finding: &Finding,
    ) -> Result<(), DirectoryError> {
        let error = match finding {
            Finding::Whole => None,
            Finding::Broken(error) => Some(error.clone()),
            Finding::Unknown(_) => return Ok(()),
        };
        let before = manifest.clone();
        manifest.note(Verification::by_checksum(now(), error));
        self.directory.replace_manifest(slot, &opened.name, &before, &manifest)
    }
}

fn now() -> i64 {
    Timestamp::now().as_second()
}

/// Whether two names are of the same file, or of directories with the same files.
fn is_same_backup(one: &Path, other: &Path) -> bool {
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
