//! Verifies published backups, and writes what came of it into their manifests: each is read from end to end, without
//! a database, or restored into a server of its own.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::fs::File;

use jiff::Timestamp;

use crate::engine::content::{
    ContentError, DecryptionContext, Snapshot, Wrapping, bytes_to_read, read_fully,
};
use crate::engine::proof;
use crate::settings::Redactor;
use crate::store::catalog::{
    Appearance, BackupDirectory, BackupName, DatabaseName, DirectoryError, Format, Manifest, Opened, Slot,
    Verification,
};
use crate::store::records::{LastProof, proofs};
use crate::system::process::Interrupted;
use crate::system::progress::Progress;
use crate::util::durable;

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
    fn unopened(slot: Slot, name: &BackupName, error: &OpenError) -> Self {
        let error = Some(format!("cannot be verified: {error}"));
        Self { slot, name: name.clone(), error, is_broken: false }
    }
}

/// Why a backup is not looked into.
#[derive(Debug)]
enum OpenError {
    /// It is not there, or cannot be opened.
    Directory(DirectoryError),
    /// Its name and its manifest are of two databases. A restore refuses that, too.
    OtherDatabase(DatabaseName, DatabaseName),
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Directory(error) => error.fmt(f),
            Self::OtherDatabase(named, described) => write!(
                f,
                "its name says database {named}, its manifest says {described}: correct the name, or remove the \
                 manifest"
            ),
        }
    }
}

impl From<DirectoryError> for OpenError {
    fn from(error: DirectoryError) -> Self {
        Self::Directory(error)
    }
}

/// What went wrong, to be kept: programs have said it, and may have named a secret.
fn said(error: &impl ToString) -> String {
    Redactor::of_process().clean(&error.to_string())
}

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

/// What was read of a file: its checksum, and what is wrong with it by itself or was in the way.
#[derive(Debug, Clone)]
struct Reading {
    sha256: String,
    format: Option<Format>,
    is_encrypted: bool,
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

/// An opened backup, and what lies beside it.
struct Found {
    opened: Opened,
    manifest: Option<Manifest>,
    appearance: Appearance,
    /// Whether it looks as if it had been replaced since its manifest was written; its checksum will tell.
    is_replaced: bool,
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
        let mut found = match self.open(slot, name) {
            Ok(found) => found,
            Err(error) => return Ok(Verdict::unopened(slot, name, &error)),
        };
        let name = found.opened.name.clone();
        let identity = identity(&found.opened);
        if identity.is_some_and(|identity| self.proven.contains(&identity)) {
            return Ok(Verdict { slot, name, error: None, is_broken: false });
        }
        if found.is_replaced || found.manifest.is_none() {
            self.settle_before_proof(slot, &mut found)?;
        }
        let proof = proof::prove(self.directory, slot, &name, &self.keys, self.jobs);
        if let Some(interrupted) = proof.as_ref().err().and_then(|error| error.interrupted()) {
            return Err(interrupted);
        }
        let error = proof.as_ref().err().map(said);
        let is_broken = proof.as_ref().is_err_and(|error| error.is_damage());
        if error.is_none() || is_broken {
            self.proven.extend(identity.filter(|_| error.is_none()));
            let verification = Verification::by_restore(now(), proof.map_err(|error| said(&error)));
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
        Ok(Verdict { slot, name, error, is_broken })
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
            found.manifest = first_manifest(slot, found, &reading);
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
        let found = match self.open(slot, name) {
            Ok(found) => found,
            Err(error) => return Ok(Verdict::unopened(slot, name, &error)),
        };
        let finding = match self.reading(slot, &found.opened) {
            Ok(reading) => self.judge(slot, &found, &reading),
            Err(error) => error.interrupted().map_or(Ok(Finding::Unknown(error.to_string())), Err)?,
        };
        let (error, is_broken) = match finding {
            Finding::Whole => (None, false),
            Finding::Broken(error) => (Some(error), true),
            Finding::Unknown(error) => (Some(error), false),
        };
        Ok(Verdict { slot, name: found.opened.name, error, is_broken })
    }

    /// The file and its manifest, while nobody can replace the one without the other.
    fn open(&self, slot: Slot, name: &BackupName) -> Result<Found, OpenError> {
        let _lock = self.directory.lock_names_to_read()?;
        let opened = self.directory.open(slot, name)?;
        let described = self.directory.described(slot, &opened.name)?;
        let failed = |error| DirectoryError::Io(format!("use {slot}/{}", opened.name), error);
        let appearance = Appearance::of_opened(&opened.file).map_err(failed)?;
        let Some(described) = described else {
            return Ok(Found { opened, manifest: None, appearance, is_replaced: false });
        };
        let is_replaced = !described.is_of(appearance);
        match described.contradiction(&opened.name, Some(slot)) {
            Some(named) => Err(OpenError::OtherDatabase(named, described.manifest.database)),
            None => Ok(Found { opened, manifest: Some(described.manifest), appearance, is_replaced }),
        }
    }

    /// What was read of a file, under this name or another of it.
    fn reading(&mut self, slot: Slot, opened: &Opened) -> Result<Reading, ContentError> {
        let identity = identity(opened);
        if let Some(known) = identity.and_then(|identity| self.known.get(&identity)) {
            return Ok(known.clone());
        }
        let reading = self.read(slot, opened)?;
        if reading.fault.as_ref().is_none_or(|fault| fault.is_damage) {
            self.known.extend(identity.map(|identity| (identity, reading.clone())));
        }
        Ok(reading)
    }

    fn read(&self, slot: Slot, opened: &Opened) -> Result<Reading, ContentError> {
        let file = opened.file.try_clone().map_err(ContentError::Read)?;
        let total = bytes_to_read(&file);
        let progress = Progress::start(format!("verifying {slot}/{}", opened.name), total);
        let read = read_fully(file, &self.keys, &progress)?;
        let (sha256, format) = (read.sha256.clone(), read.format());
        let is_encrypted = read.wrappings.contains(&Wrapping::Gpg);
        let fault = read.judge(None).err();
        let fault = fault.map(|error| Fault { said: said(&error), is_damage: error.is_damage() });
        Ok(Reading { sha256, format, is_encrypted, fault })
    }

    /// Judges by what was read, and writes down what was found in a manifest of this very file, or in a first one.
    fn judge(&mut self, slot: Slot, found: &Found, reading: &Reading) -> Finding {
        let manifest = found.manifest.as_ref();
        let is_its = manifest.is_some_and(|manifest| manifest.sha256 == reading.sha256);
        let name = &found.opened.name;
        let finding = match &reading.fault {
            // Whatever was in the way of more, this tells damage.
            _ if manifest.is_some() && !is_its && !found.is_replaced => {
                Finding::Broken(ContentError::Checksum.to_string())
            }
            Some(Fault { said, is_damage: true }) => Finding::Broken(said.clone()),
            Some(Fault { said, is_damage: false }) => Finding::Unknown(said.clone()),
            None => Finding::Whole,
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
                let mut first = first_manifest(slot, found, reading);
                if let (Some(manifest), Some(verification)) = (&mut first, verification(&finding)) {
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
        let Some(verification) = verification(finding) else { return Ok(()) };
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

/// What is written down of a finding.
fn verification(finding: &Finding) -> Option<Verification> {
    let error = match finding {
        Finding::Whole => None,
        Finding::Broken(error) => Some(error.clone()),
        Finding::Unknown(_) => return None,
    };
    Some(Verification::by_checksum(now(), error))
}

/// The manifest of a backup that had none, such as another tool's: what reading it told. There is none where the name
/// names no database.
fn first_manifest(slot: Slot, found: &Found, reading: &Reading) -> Option<Manifest> {
    let Appearance { size, modified } = found.appearance;
    Some(Manifest {
        sha256: reading.sha256.clone(),
        size,
        dumped: None,
        modified: Some(modified),
        database: found.opened.name.parts(slot)?.database,
        format: reading.format,
        encrypted: reading.is_encrypted,
        dump: None,
        origin: None,
        properties: None,
        needs: None,
        verified: None,
        proven: None,
    })
}

fn now() -> i64 {
    Timestamp::now().as_second()
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
