//! What runs in the daemon and in go-cron: jobs, the scheduler, and the supervisor.

pub mod jobs;
pub mod live_settings;
pub mod scheduler;
pub mod supervisor;
pub mod sweeper;
