//! `.proofs.json` in the backup directory: the last restore proof of each database. It outlives the backup that was
//! proven.

use std::collections::BTreeMap;
use std::io;

use serde::{Deserialize, Serialize};

use crate::store::catalog::{BackupDirectory, DatabaseName, Verification};
use crate::store::record_file;
use crate::util::clock;
use crate::util::durable;

const FILE_NAME: &str = ".proofs.json";

/// The last proof of a database.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LastProof {
    /// `SLOT/NAME` of the backup that was restored.
    pub file: String,
    /// The time and the result.
    #[serde(flatten)]
    pub verification: Verification,
}

/// The last proof of each database.
pub type Ledger = BTreeMap<DatabaseName, LastProof>;

/// Reads the last proofs. Empty before the first one.
///
/// # Errors
/// When it is there and cannot be read.
pub fn read(directory: &BackupDirectory) -> io::Result<Ledger> {
    Ok(record_file::read_json(&directory.root().join(FILE_NAME))?.unwrap_or_default())
}

/// The last proofs without those dated in the future: their real time is unknown, so they prove nothing.
pub fn believed(mut ledger: Ledger, now: i64) -> Ledger {
    ledger.retain(|_, proof| !clock::is_future(proof.verification.at, now));
    ledger
}

/// Records the last proof of a database. The caller must hold the run lock.
///
/// # Errors
/// When the file cannot be read or written. The old one stays.
pub fn note(directory: &BackupDirectory, database: DatabaseName, proof: LastProof) -> io::Result<()> {
    let mut ledger = read(directory)?;
    ledger.insert(database, proof);
    let mut text = serde_json::to_vec_pretty(&ledger)?;
    text.push(b'\n');
    durable::replace_file(directory.root(), &directory.root().join(FILE_NAME), &text, 0o644)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::store::catalog::{Counts, Proof};

    #[test]
    fn the_last_proof_of_each_database_is_kept() {
        let root = tempfile::tempdir().unwrap();
        let directory = BackupDirectory::new(root.path());
        assert!(read(&directory).unwrap().is_empty());
        let proof = |at| {
            let counts = Counts { tables: 1, rows: 2, indexes: 3, large_objects: 4 };
            let verification = Verification::by_restore(at, Ok(Proof { duration_seconds: 1.5, counts }));
            LastProof { file: "last/a".into(), verification }
        };
        let name = |name| DatabaseName::parse(name).unwrap();
        note(&directory, name("a"), proof(1)).unwrap();
        note(&directory, name("b"), proof(2)).unwrap();
        assert_eq!(believed(read(&directory).unwrap(), -3599), Ledger::from([(name("a"), proof(1))]));
        note(&directory, name("a"), proof(3)).unwrap();
        assert_eq!(read(&directory).unwrap(), Ledger::from([(name("a"), proof(3)), (name("b"), proof(2))]));
        let text = fs::read_to_string(root.path().join(FILE_NAME)).unwrap();
        assert!(text.contains("\"by\": \"restore\"") && text.contains("\"large_objects\": 4"), "{text}");
    }
}
