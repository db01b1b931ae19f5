//! Bytes in, bytes out: SQL, compression, schedules.

pub mod compress;
pub mod schedule;
pub mod sql;
