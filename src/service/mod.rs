//! What goes on in the daemon and the scheduler: jobs, schedules, and their keeper.

pub mod jobs;
pub mod live_settings;
pub mod scheduler;
pub mod supervisor;
pub mod sweeper;
