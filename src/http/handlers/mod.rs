//! One module for each kind of thing that the API shows or changes.

pub mod backups;
pub mod config;
pub mod history;
pub mod jobs;
pub mod metrics;
pub mod openapi;
pub mod status;
