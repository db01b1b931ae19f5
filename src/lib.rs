//! Backs up a PostgreSQL server on a schedule and on request over HTTP, and restores all or nothing.

pub mod backup;
pub mod catalog;
pub mod cli;
pub mod compress;
pub mod daemon;
mod durable;
pub mod history;
pub mod http;
pub mod jobs;
pub mod live_settings;
pub mod lock;
pub mod logger;
pub mod notify;
pub mod overrides;
pub mod postgres;
pub mod process;
pub mod progress;
pub mod restore;
pub mod retention;
pub mod schedule;
pub mod scheduler;
pub mod settings;
pub mod sql;
pub mod status;
pub mod supervisor;
pub mod terminal;
mod units;
