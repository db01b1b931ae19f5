//! What a command does: back up, restore, check, prove, and say what is wrong.

pub mod backup;
pub mod checkup;
pub mod content;
pub mod problems;
pub mod proof;
pub mod recorder;
pub mod restore;
pub mod verify;
