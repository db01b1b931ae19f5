//! Records of runs: the last result, the history and the restore proofs.

pub mod history;
pub mod proofs;
mod report;
pub mod status;

pub use proofs::{LastProof, Ledger};
pub use report::{DatabaseReport, DeliveryReport, Outcome, Report, errors, is_of};
