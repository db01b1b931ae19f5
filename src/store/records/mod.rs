//! The records of runs: how the last one went, and the history of all.

pub mod history;
pub mod status;
