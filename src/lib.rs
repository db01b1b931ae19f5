//! Backs up a PostgreSQL server on a schedule and on request over HTTP, and restores all or nothing.

pub mod cli;
pub mod logger;
pub mod process;
pub mod schedule;
pub mod scheduler;
