//! Gives a finished dump its names.

use super::dump::Partial;
use crate::catalog::{BackupDirectory, BackupName, DirectoryError, Manifest, Slot, link_or_copy};
use crate::durable;
use crate::settings::Storage;
use jiff::Zoned;

/// A published backup.
#[derive(Debug, Clone)]
pub struct Published {
    /// Its names, `last` first.
    pub names: Vec<(Slot, BackupName)>,
}

/// Publishes a dump in every slot: the file itself in `last`, hard links in the others.
///
/// # Errors
/// When a name cannot be made. What has a name by then is whole; older backups are as they were.
pub fn publish(
    directory: &BackupDirectory,
    storage: &Storage,
    partial: &Partial,
    manifest: &Manifest,
    time: &Zoned,
) -> Result<Published, DirectoryError> {
    let mut published = Published { names: Vec::new() };
    for slot in Slot::ALL {
        let name = BackupName::compose(&manifest.database, &slot.stamp(time), storage.suffix.as_str());
        forget_manifest(directory, slot, &name)?;
        match published.names.first() {
            None => durable::rename(partial.path(), &directory.path(slot, &name))
                .map_err(|error| DirectoryError::Io(format!("publish {slot}/{name}"), error))?,
            Some((first_slot, first)) => {
                let first = directory.path(*first_slot, first);
                directory.link_as(slot, &name, |temporary| link_or_copy(&first, temporary))?;
            }
        }
        write_manifest(directory, slot, &name, manifest)?;
        published.names.push((slot, name));
    }
    Ok(published)
}

/// Points `-latest` at what was just published. A failure is worth a warning: the backup itself is safe.
pub fn point_latest(
    directory: &BackupDirectory,
    storage: &Storage,
    manifest: &Manifest,
    published: &Published,
) {
    for (slot, name) in &published.names {
        let pointed =
            directory.point_latest(*slot, &manifest.database, storage.suffix.as_str(), name, storage.latest);
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

fn write_manifest(
    directory: &BackupDirectory,
    slot: Slot,
    name: &BackupName,
    manifest: &Manifest,
) -> Result<(), DirectoryError> {
    let failed = |error| DirectoryError::Io(format!("describe {slot}/{name}"), error);
    let mut text = serde_json::to_vec(manifest).map_err(|error| failed(error.into()))?;
    text.push(b'\n');
    durable::replace_file(&directory.partial(), &directory.manifest_path(slot, name), &text, 0o644)
        .map_err(failed)
}
