//! Names: of databases, of backups, and how the one is written into the other.

mod backup;
mod characters;
mod database;

pub(super) use backup::LATEST;
pub use backup::{BackupName, NameParts, Suffix};
pub(super) use characters::{is_plain, unusual};
pub use database::{DatabaseName, NameError};
