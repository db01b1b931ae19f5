//! Where the server of a proof lies: on the backup volume, or, where that is read-only or has too little room, in a
//! temporary directory of its own.

use std::env;
use std::path::{Path, PathBuf};

use nix::unistd::Uid;

use super::server::{ServerError, TEMPORARY_PREFIX};
use crate::catalog::{BackupDirectory, free_space};
use crate::leftovers::Held;
use crate::units;

/// What a server takes without a database, in bytes.
const SERVER_SIZE: u64 = 64 << 20;

/// A directory for a proof; a temporary one goes with the value.
#[derive(Debug)]
pub enum Workplace {
    /// Of the backup directory.
    Partial(PathBuf),
    /// Of our own.
    Temporary(Held),
}

impl Workplace {
    /// The place for a server with a database of `size` bytes.
    ///
    /// # Errors
    /// When the volume will not do, and there is no temporary directory.
    pub fn choose(directory: &BackupDirectory, size: u64) -> Result<Self, ServerError> {
        let (partial, temporary) = (directory.partial(), env::temp_dir());
        let needed = size.saturating_add(SERVER_SIZE);
        let free = free_space(&partial);
        if directory.takes_files() && (free >= needed || free >= free_space(&temporary)) {
            return Ok(Self::Partial(partial));
        }
        // As root the server is another user's, who must come to his own directory in it.
        let mode = if Uid::effective().is_root() { 0o711 } else { 0o700 };
        let made = Held::make(&temporary, TEMPORARY_PREFIX, mode);
        let made = made.map_err(|error| ServerError::Place(temporary, error))?;
        let cause = match directory.takes_files() {
            true => format!(": {} are free, {} are needed", units::bytes(free), units::bytes(needed)),
            // That has been said.
            false => String::new(),
        };
        log::info!("the server for the proof is in {}{cause}", made.path().display());
        Ok(Self::Temporary(made))
    }

    /// Its path.
    pub fn path(&self) -> &Path {
        match self {
            Self::Partial(path) => path,
            Self::Temporary(made) => made.path(),
        }
    }
}
