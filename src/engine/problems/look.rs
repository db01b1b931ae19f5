//! The result of a look for problems.

use crate::store::records::Ledger;
use crate::store::records::Report;

/// What a look at the records of a backup directory has found.
#[derive(Debug, Clone, Default)]
pub struct Look {
    /// How the last run of this server went, by the worse of its records; none before the first.
    pub last: Option<Report>,
    /// The last restore proof of each database.
    pub proofs: Ledger,
    /// Whether a backup run takes longer than it should.
    pub is_overdue: bool,
    /// Bytes on the directory's disk that are free, and all of them; nothing when it cannot be asked.
    pub space: Option<(u64, u64)>,
    /// What is wrong, a line each.
    pub problems: Vec<String>,
    /// Whether the directory has answered. If not, all else is from the last look that it answered.
    pub is_current: bool,
}
