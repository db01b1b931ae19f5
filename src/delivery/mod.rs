//! Notifications of a run, and copies of backups.

mod hostname;
pub mod notify;
pub mod telegram;
