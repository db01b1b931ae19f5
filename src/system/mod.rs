//! Processes and what a process tells of itself: programs that are started, logs, progress, the run lock.

pub mod curl;
pub mod gpg;
pub mod lock;
pub mod logger;
pub mod process;
pub mod progress;
pub mod run_note;
pub mod running;
