//! Formats: SQL, compression and schedules.

pub mod compress;
pub mod schedule;
pub mod sql;
