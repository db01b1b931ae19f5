//! Helpers for every layer: crash-safe files, opened directories, locks, terminals, units.

pub mod clock;
pub mod curl;
pub mod durable;
pub mod flock;
pub mod leftovers;
pub mod mutex;
pub mod open_dir;
pub mod question;
pub mod spare;
pub mod terminal;
pub mod units;
pub mod unwind;
