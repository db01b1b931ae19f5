//! Names of databases and backups.

mod backup;
mod characters;
mod database;

pub(super) use backup::LATEST;
pub use backup::{BackupName, NameParts, Suffix};
pub(super) use characters::{is_plain, unusual};
pub use database::{DatabaseName, NameError};
