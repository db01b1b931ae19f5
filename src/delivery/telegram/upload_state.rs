//! `.telegram.json` in the backup directory: the uploads that are not complete, so that the next run continues them.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::parts::SentPart;
use crate::store::catalog::BackupDirectory;
use crate::store::record_file;
use crate::util::durable;
use crate::util::flock::Flock;

const FILE_NAME: &str = ".telegram.json";
const LOCK_NAME: &str = ".telegram.lock";

/// The upload of one backup to all chats.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Delivery {
    /// `SLOT/NAME`.
    pub file: String,
    /// The SHA-256 of what is sent, in hexadecimal.
    pub sha256: String,
    /// When it began, in Unix seconds.
    pub began: i64,
    /// The parts that each chat has.
    pub chats: BTreeMap<String, Vec<Option<SentPart>>>,
    /// The chats that have all of it.
    pub done: Vec<String>,
}

impl Delivery {
    /// A part as some chat has it.
    pub fn known(&self, part: usize) -> Option<&SentPart> {
        self.chats.values().find_map(|parts| parts.get(part)?.as_ref())
    }
}

/// The deliveries that are not complete. One process at a time has them, by a lock on `.telegram.lock`.
#[derive(Debug)]
pub struct UploadState {
    root: PathBuf,
    _lock: Flock,
    /// Oldest first.
    pub deliveries: Vec<Delivery>,
}

impl UploadState {
    /// Reads them, if no other process has them.
    ///
    /// # Errors
    /// When they cannot be read.
    pub fn open(directory: &BackupDirectory) -> io::Result<Option<Self>> {
        let root = directory.root().to_path_buf();
        let path = root.join(LOCK_NAME);
        let file = durable::open_or_create(&path).map_err(|error| record_file::of(&path, error))?;
        let Ok(lock) = Flock::try_lock(file) else { return Ok(None) };
        // A file that cannot be parsed costs another upload, not an error.
        let text = record_file::read(&root.join(FILE_NAME))?.unwrap_or_default();
        let deliveries = serde_json::from_slice(&text).unwrap_or_default();
        Ok(Some(Self { root, _lock: lock, deliveries }))
    }

    /// Saves them.
    ///
    /// # Errors
    /// When they cannot be written.
    pub fn save(&self) -> io::Result<()> {
        let path = self.root.join(FILE_NAME);
        if self.deliveries.is_empty() {
            return durable::remove_if_there(&path).map(drop);
        }
        durable::replace_file(&self.root, &path, &serde_json::to_vec(&self.deliveries)?, 0o600)
    }
}
