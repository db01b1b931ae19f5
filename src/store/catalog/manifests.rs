//! Reads and writes the manifests in the backup directory.

use super::directory::{BackupDirectory, Inode, Opened};
use super::error::DirectoryError;
use super::manifest::{Appearance, Described, Manifest};
use super::name::BackupName;
use super::slot::Slot;

impl BackupDirectory {
    /// What was written down about a backup; `None` for one of an older image. Whether it is still of the file that
    /// has the name, [`Described`] tells.
    ///
    /// # Errors
    /// When there is a manifest that cannot be read.
    pub fn described(&self, slot: Slot, name: &BackupName) -> Result<Option<Described>, DirectoryError> {
        let failed = |error| DirectoryError::Io(format!("read the manifest of {slot}/{name}"), error);
        Described::read(&self.open_slot(slot)?, name).map_err(failed)
    }

    /// What is known of an opened backup; `None` also when it has been replaced since that was written down, or another
    /// has its name by now, as the manifest may be that one's.
    ///
    /// # Errors
    /// When there is a manifest that cannot be read.
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

    /// Writes down more of a backup of which `before` was known, with or without its properties and needs. Does nothing when
    /// something else is known by now: then another backup has the name.
    ///
    /// # Errors
    /// When it cannot be written; what was known is then there still.
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
        // As in a listing, where they are left out.
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

    /// Writes down what is known of a backup that has just got its name, with the time of the file that lies there.
    ///
    /// # Errors
    /// When it cannot be looked at or written.
    pub fn describe(&self, slot: Slot, name: &BackupName, manifest: &Manifest) -> Result<(), DirectoryError> {
        let failed = |error| DirectoryError::Io(format!("write the manifest of {slot}/{name}"), error);
        let appearance = Appearance::at(&self.open_slot(slot)?, name.as_str()).map_err(failed)?;
        let manifest = Manifest { modified: Some(appearance.modified), ..manifest.clone() };
        self.write_manifest(slot, name, &manifest)
    }

    /// Writes a first manifest for a backup that has none, unless its name belongs to another file by now.
    ///
    /// # Errors
    /// When it cannot be looked at or written.
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

    /// Writes down what is known of a backup, in place of what was.
    ///
    /// # Errors
    /// When it cannot be written; what was known is then there still.
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
