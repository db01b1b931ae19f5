//! The commands of `backupgram`, one file each.

pub mod schedule;
