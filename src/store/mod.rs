//! All that lies in the backup directory: the backups, what is kept of them, and the records of runs.

pub mod catalog;
pub mod fallback;
pub mod record_file;
pub mod records;
pub mod retention;
