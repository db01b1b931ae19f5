//! Reads and writes manifests in the backup directory.

use super::directory::{BackupDirectory, Inode, Opened};
use super::error::DirectoryError;
use super::manifest::{Appearance, Described, Manifest};
use super::name::BackupName;
use super::slot::Slot;

impl BackupDirectory {
    /// Reads the manifest of a backup; `None` if there is none, as for backups of older images. [`Described`] tells
    /// whether it still matches the file.
    ///
    /// # Errors
    /// When the manifest cannot be read.
    pub fn described(&self, slot: Slot, name: &BackupName) -> Result<Option<Described>, DirectoryError> {
        let failed = |error| DirectoryError::Io(format!("read the manifest of {slot}/{name}"), error);
        Described::read(&self.open_slot(slot)?, name).map_err(failed)
    }

    /// The manifest of an opened backup. `None` also if it does not match, because the file was replaced since, or if
    /// another file has the name by now, whose manifest it may be.
    ///
    /// # Errors
    /// When the manifest cannot be read.
    pub fn manifest_of(&self, slot: Slot, opened: &Opened) -> Result<Option<Manifest>, DirectoryError> {
        let Some(described) = self.described(slot, &opened.name)? else { return Ok(None) };
        let now = self.look(&self.open_slot(slot)?, slot, &opened.name);
        let is_it = matches!(now, Ok(Inode::Backup(now)) if now.st_ino == opened.status.st_ino);
        let appearance = Appearance::of_opened(&opened.file);
        let appearance =
            appearance.map_err(|error| DirectoryError::Io(format!("use {slot}/{}", opened.name), error))?;
        let is_of_it =
            described.is_of(appearance) && described.contradiction(&opened.name, Some(slot)).is_none();
        Ok(Some(described.manifest).filter(|_| is_it && is_of_it))
    }

    /// Replaces a manifest that was `before`, read with or without its properties and needs. Does nothing if it has
    /// changed since, because then another backup has the name.
    ///
    /// # Errors
    /// When it cannot be written; the old manifest is unchanged.
    pub fn replace_manifest(
        &self,
        slot: Slot,
        name: &BackupName,
        before: &Manifest,
        manifest: &Manifest,
    ) -> Result<(), DirectoryError> {
        let _lock = self.lock_names()?;
        let Some(Described { manifest: mut present, .. }) = self.described(slot, name)? else {
            return Ok(());
        };
        let mut manifest = manifest.clone();
        // A manifest from a listing lacks them; keep the stored ones.
        if before.properties.is_none() {
            manifest.properties = present.properties.take();
        }
        if before.needs.is_none() {
            manifest.needs = present.needs.take();
        }
        match present == *before {
            true => self.write_manifest(slot, name, &manifest),
            false => Ok(()),
        }
    }

    /// Writes the manifest of a backup just published, with the modification time of the file in this slot.
    ///
    /// # Errors
    /// When the file's status cannot be read, or the manifest cannot be written.
    pub fn describe(&self, slot: Slot, name: &BackupName, manifest: &Manifest) -> Result<(), DirectoryError> {
        let failed = |error| DirectoryError::Io(format!("write the manifest of {slot}/{name}"), error);
        let appearance = Appearance::at(&self.open_slot(slot)?, name.as_str()).map_err(failed)?;
        let manifest = Manifest { modified: Some(appearance.modified), ..manifest.clone() };
        self.write_manifest(slot, name, &manifest)
    }

    /// Writes a manifest for a backup that has none, unless another file has its name by now.
    ///
    /// # Errors
    /// When the file cannot be checked, or the manifest cannot be written.
    pub fn write_first_manifest(
        &self,
        slot: Slot,
        opened: &Opened,
        manifest: &Manifest,
    ) -> Result<(), DirectoryError> {
        let _lock = self.lock_names()?;
        let now = self.look(&self.open_slot(slot)?, slot, &opened.name)?;
        let is_it = matches!(now, Inode::Backup(now) if now.st_ino == opened.status.st_ino);
        match is_it && self.described(slot, &opened.name)?.is_none() {
            true => self.write_manifest(slot, &opened.name, manifest),
            false => Ok(()),
        }
    }

    /// Writes the manifest of a backup, replacing the old one.
    ///
    /// # Errors
    /// When it cannot be written; the old manifest is unchanged.
    pub fn write_manifest(
        &self,
        slot: Slot,
        name: &BackupName,
        manifest: &Manifest,
    ) -> Result<(), DirectoryError> {
        let failed = |error| DirectoryError::Io(format!("write the manifest of {slot}/{name}"), error);
        let mut text = serde_json::to_vec(manifest).map_err(|error| failed(error.into()))?;
        text.push(b'\n');
        let (place, staging) = (self.open_slot(slot)?, self.open_partial()?);
        place.replace_file(&staging, &name.manifest(), &text, 0o644).map_err(failed)
    }
}
