//! Gives a finished dump its names.

use std::io;

use super::dump::Partial;
use crate::store::catalog::{
    BackupDirectory, BackupName, DirectoryError, Format, Latest, Manifest, Slot, link_or_copy,
};
use crate::util::open_dir::{OpenDir, kind};
use jiff::Zoned;
use nix::sys::stat::SFlag;

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
/// When a name cannot be made, or is another database's for the file system. What has a name by then is whole; older
/// backups are as they were.
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
        // Made before the lock is taken: a copy takes long, and others need the lock only for moments.
        let link = match published.names.first() {
            None => None,
            Some((first_slot, first)) => {
                let (place, first) = (directory.open_slot(*first_slot)?, first.as_str());
                let link =
                    |partial: &OpenDir, temporary: &str| link_or_copy(&place, first, partial, temporary);
                Some(directory.make_link(slot, &name, link)?)
            }
        };
        let _lock = directory.lock_names()?;
        if published.names.is_empty() {
            directory.refuse_namesake(&manifest.database)?;
        }
        forget_manifest(directory, slot, &name)?;
        match &link {
            None => {
                directory.put(&partial.place, &partial.name, slot, &name)?;
                check_published(directory, slot, &name, partial, manifest.format)?;
            }
            Some(link) => directory.put_link(link, slot, &name)?,
        }
        directory.describe(slot, &name, manifest)?;
        published.names.push((slot, name));
    }
    Ok(published)
}

/// Points `-latest` at the new backup. A failure is only a warning: the backup itself is safe.
pub fn point_latest(
    directory: &BackupDirectory,
    suffix: &str,
    latest: Latest,
    manifest: &Manifest,
    published: &Published,
) {
    let point = |(slot, name): &(Slot, BackupName)| {
        directory.point_latest(*slot, &manifest.database, suffix, name, latest).err()
    };
    let errors: Vec<DirectoryError> = published.names.iter().filter_map(point).collect();
    // A file system without links has no pointers in any slot.
    if let Some(error) = errors.first() {
        log::warn!("{error}; BACKUP_LATEST_TYPE=none makes no such links");
    }
}

/// Checks that the published file is the one that was written: somebody else may have replaced it in `.partial`.
fn check_published(
    directory: &BackupDirectory,
    slot: Slot,
    name: &BackupName,
    partial: &Partial,
    format: Option<Format>,
) -> Result<(), DirectoryError> {
    let failed = |error| DirectoryError::Io(format!("publish {slot}/{name}"), error);
    let found = directory.open_slot(slot)?.status(name.as_str()).map_err(failed)?;
    let is_it = match format {
        Some(Format::Directory) => kind(&found) == SFlag::S_IFDIR,
        _ => kind(&found) == SFlag::S_IFREG && found.st_size.cast_unsigned() == partial.written.size,
    };
    if is_it {
        Ok(())
    } else {
        Err(failed(io::Error::other("another program has put a different file in its place")))
    }
}

/// Removes the manifest of a name before the name is replaced. A crash between the two leaves a backup without a
/// manifest, never one with the checksum of another.
fn forget_manifest(directory: &BackupDirectory, slot: Slot, name: &BackupName) -> Result<(), DirectoryError> {
    let place = directory.open_slot(slot)?;
    let forgotten = place
        .remove_file(name.manifest())
        .and_then(|was_there| if was_there { place.sync() } else { Ok(()) });
    forgotten.map_err(|error| DirectoryError::Io(format!("replace {slot}/{name}"), error))
}
