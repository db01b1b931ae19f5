//! The contents of the backup directory: backups, retention and the records of runs.

pub mod catalog;
pub mod fallback;
pub mod record_file;
pub mod records;
pub mod retention;
