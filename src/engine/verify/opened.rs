//! Opens a backup and its manifest for verification.

use thiserror::Error;

use super::finding::Finding;
use crate::engine::content::FullRead;
use crate::engine::content::Wrapping;
use crate::store::catalog::{
    Appearance, BackupDirectory, BackupName, DatabaseName, DirectoryError, Format, Manifest, Opened, Slot,
};

/// Why a backup cannot be opened for verification.
#[derive(Debug, Error)]
pub enum OpenError {
    /// It is not there, or cannot be opened.
    #[error(transparent)]
    Directory(#[from] DirectoryError),
    /// Its name and its manifest are of two databases. A restore refuses that, too.
    #[error("its name says database {0}, its manifest says {1}: correct the name, or remove the manifest")]
    OtherDatabase(DatabaseName, DatabaseName),
}

/// An opened backup and its manifest.
pub struct Found {
    /// The backup.
    pub opened: Opened,
    /// Its manifest, if there is one.
    pub manifest: Option<Manifest>,
    /// Its length and time.
    pub appearance: Appearance,
    /// Whether it looks as if it had been replaced since its manifest was written; its checksum decides.
    pub is_replaced: bool,
}

impl Found {
    /// Opens both under the lock on names, so that neither is replaced in between.
    pub fn open(directory: &BackupDirectory, slot: Slot, name: &BackupName) -> Result<Self, OpenError> {
        let _lock = directory.lock_names_to_read()?;
        let opened = directory.open(slot, name)?;
        let described = directory.described(slot, &opened.name)?;
        let failed = |error| DirectoryError::Io(format!("use {slot}/{}", opened.name), error);
        let appearance = Appearance::of_opened(&opened.file).map_err(failed)?;
        let Some(described) = described else {
            return Ok(Self { opened, manifest: None, appearance, is_replaced: false });
        };
        let is_replaced = !described.is_of(appearance);
        match described.contradiction(&opened.name, Some(slot)) {
            Some(named) => Err(OpenError::OtherDatabase(named, described.manifest.database)),
            None => Ok(Self { opened, manifest: Some(described.manifest), appearance, is_replaced }),
        }
    }

    /// A manifest for a backup that has none, such as another tool's, from what reading it told. `None` if its name names no
    /// database.
    pub fn first_manifest(&self, slot: Slot, reading: &Reading) -> Option<Manifest> {
        let Appearance { size, modified } = self.appearance;
        Some(Manifest {
            sha256: reading.sha256.clone(),
            size,
            dumped: None,
            modified: Some(modified),
            database: self.opened.name.parts(slot)?.database,
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
}

/// What reading a file has told: its checksum, how it is stored, and whether its content is whole.
#[derive(Debug, Clone)]
pub struct Reading {
    /// Its SHA-256.
    pub sha256: String,
    /// Its format, if that could be told.
    pub format: Option<Format>,
    /// Whether gpg has encrypted it.
    pub is_encrypted: bool,
    /// Whether its content is whole.
    pub finding: Finding,
}

impl From<FullRead> for Reading {
    fn from(read: FullRead) -> Self {
        let (sha256, format) = (read.sha256.clone(), read.format());
        let is_encrypted = read.wrappings.contains(&Wrapping::Gpg);
        let failed = |error: crate::engine::content::ContentError| Finding::failed(&error, error.is_damage());
        let finding = read.judge(None).err().map_or(Finding::Whole, failed);
        Self { sha256, format, is_encrypted, finding }
    }
}
