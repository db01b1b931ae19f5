//! How names are spelled in a directory. exFAT, FAT, NTFS, SMB, APFS and case-folding ext4 directories do not
//! distinguish `App` from `app`, and some do not distinguish composed from decomposed letters. Some names they reject.

use super::error::DirectoryError;
use super::name::BackupName;
use super::slot::Slot;
use crate::util::open_dir::OpenDir;

/// Whether a name found in an opened slot is stored with exactly this spelling.
pub(super) fn is_spelled_so(
    directory: &OpenDir,
    slot: Slot,
    name: &BackupName,
) -> Result<bool, DirectoryError> {
    // Looking up the name in swapped case shows whether case matters, without listing a large slot.
    if name.as_str().is_ascii() && !directory.holds(in_other_case(name.as_str())) {
        return Ok(true);
    }
    Ok(spelled(directory, slot)?.contains(name))
}

/// The names in an opened slot, as stored.
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
