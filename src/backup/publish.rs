//! Gives a finished dump its names.

use super::dump::Partial;
use crate::catalog::{BackupDirectory, BackupName, DirectoryError, Latest, Manifest, Slot, link_or_copy};
use crate::durable;
use jiff::Zoned;

/// A published backup.
#[derive(Debug, Clone)]
pub struct Published {
    /// Its names, `last` first.
    pub names: Vec<(Slot, BackupName)>,
}

/// Publishes a dump in every slot: the file or directory itself in `last`, hard links in the
/// others.
///
/// # Errors
/// When a name cannot be made. What has a name by then is whole; older backups are as they were.
pub fn publish(
    directory: &BackupDirectory,
    suffix: &str,
    partial: &Partial,
    manifest: &Manifest,
    time: &Zoned,
) -> Result<Published, DirectoryError> {
    let mut published = Published { names: Vec::new() };
    for slot in Slot::ALL {
        let name = BackupName::compose(&manifest.database, &slot.stamp(time), suffix);
        let _lock = directory.lock_names()?;
        forget_manifest(directory, slot, &name)?;
        match published.names.first() {
            None => directory.put(partial.path(), slot, &name)?,
            Some((first_slot, first)) => {
                let first = directory.path(*first_slot, first);
                directory.link_as(slot, &name, |temporary| link_or_copy(&first, temporary))?;
            }
        }
        directory.describe(slot, &name, manifest)?;
        published.names.push((slot, name));
    }
    Ok(published)
}

/// Points `-latest` at what was just published. A failure is worth a warning: the backup itself is safe.
pub fn point_latest(
    directory: &BackupDirectory,
    suffix: &str,
    latest: Latest,
    manifest: &Manifest,
    published: &Published,
) {
    for (slot, name) in &published.names {
        let pointed = directory.point_latest(*slot, &manifest.database, suffix, name, latest);
        if let Err(error) = pointed {
            log::warn!("{error}; BACKUP_LATEST_TYPE=none does without");
        }
    }
}

/// A name that is about to be replaced loses its manifest first: a crash between the two leaves a backup
/// that nothing is known about, never one that another's checksum contradicts.
fn forget_manifest(directory: &BackupDirectory, slot: Slot, name: &BackupName) -> Result<(), DirectoryError> {
    let path = directory.manifest_path(slot, name);
    let forgotten = durable::remove_if_there(&path).and_then(|was_there| match was_there {
        true => durable::sync_parent(&path),
        false => Ok(()),
    });
    forgotten.map_err(|error| DirectoryError::Io(format!("replace {slot}/{name}"), error))
}
