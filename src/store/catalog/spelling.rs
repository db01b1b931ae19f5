//! How names are spelled in a directory. exFAT, FAT, NTFS, SMB, APFS and some directories of ext4 do not tell `App` from `app`,
//! and some not the composed from the decomposed form of a letter. Some names they do not accept at all.

use super::error::DirectoryError;
use super::name::BackupName;
use super::slot::Slot;
use crate::util::open_dir::OpenDir;

/// Whether a name that has been found in an opened slot lies there spelled so, and not otherwise.
pub(super) fn is_spelled_so(
    directory: &OpenDir,
    slot: Slot,
    name: &BackupName,
) -> Result<bool, DirectoryError> {
    // Letters in the other case tell whether that matters here, and spare the reading of a large slot.
    if name.as_str().is_ascii() && !directory.holds(in_other_case(name.as_str())) {
        return Ok(true);
    }
    Ok(spelled(directory, slot)?.contains(name))
}

/// The names in an opened slot as they are spelled there.
pub(super) fn spelled(directory: &OpenDir, slot: Slot) -> Result<Vec<BackupName>, DirectoryError> {
    let names =
        directory.names().map_err(|error| DirectoryError::Io(format!("list the slot {slot}"), error))?;
    Ok(names.iter().filter_map(|name| BackupName::parse(name.to_str()?).ok()).collect())
}

fn in_other_case(name: &str) -> String {
    let swapped = name.chars().map(|c| match c.is_ascii_lowercase() {
        true => c.to_ascii_uppercase(),
        false => c.to_ascii_lowercase(),
    });
    swapped.collect()
}
