//! The records of runs: how the last one went, and the history of all.

pub mod history;
pub mod proofs;
mod report;
pub mod status;

pub use proofs::{LastProof, Ledger};
pub use report::{DatabaseReport, DeliveryReport, Outcome, Report, errors, is_of};
