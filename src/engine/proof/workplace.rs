//! Where the server of a proof lies: on the backup volume, or, where that is read-only, has too little room or keeps no
//! owners and modes, in a temporary directory of its own.

use std::env;
use std::io;
use std::os::unix::fs::fchown;

use nix::sys::stat::fstat;
use nix::unistd::Uid;

use super::server::{ServerError, TEMPORARY_PREFIX};
use crate::store::catalog::{BackupDirectory, free_space};
use crate::util::leftovers::Held;
use crate::util::open_dir::OpenDir;
use crate::util::units;

/// What a server takes without a database, in bytes.
const SERVER_SIZE: u64 = 64 << 20;

/// A directory for a proof; a temporary one goes with the value.
#[derive(Debug)]
pub struct Workplace {
    directory: OpenDir,
    _temporary: Option<Held>,
}

impl Workplace {
    /// The place for a server with a database of `size` bytes.
    ///
    /// # Errors
    /// When the volume will not do, and there is no temporary directory.
    pub fn choose(directory: &BackupDirectory, size: u64) -> Result<Self, ServerError> {
        let temporary = env::temp_dir();
        let needed = size.saturating_add(SERVER_SIZE);
        let free = free_space(&directory.partial());
        let has_room = free >= needed || free >= free_space(&temporary);
        if directory.takes_files() && has_room {
            let directory = directory.open_partial().map_err(ServerError::Directory)?;
            if keeps_permissions(&directory) {
                return Ok(Self { directory, _temporary: None });
            }
        }
        // As root the server is another user's, who must come to his own directory in it.
        let mode = if Uid::effective().is_root() { 0o711 } else { 0o700 };
        let made = Held::make(&temporary, TEMPORARY_PREFIX, mode);
        let failed = |error| ServerError::Place(temporary.clone(), error);
        let made = made.map_err(failed)?;
        let opened = OpenDir::of_file(made.as_file(), made.path()).map_err(failed)?;
        let cause = match directory.takes_files() {
            true if has_room => ": the volume does not support file owners and modes".into(),
            true => format!(": {} are free, {} are needed", units::bytes(free), units::bytes(needed)),
            // That has been said.
            false => String::new(),
        };
        log::info!("the server of the proof is in {}{cause}", made.path().display());
        Ok(Self { directory: opened, _temporary: Some(made) })
    }

    /// It, opened.
    pub fn directory(&self) -> &OpenDir {
        &self.directory
    }
}

/// Whether a directory there can be for its owner alone, as a server demands, and, as root, be somebody else's: FAT and
/// exFAT have neither.
fn keeps_permissions(place: &OpenDir) -> bool {
    let name = format!(".permissions.{}.tmp", std::process::id());
    let tried = try_permissions(place, &name);
    // What stays goes with the next sweep.
    let _ = place.remove_dir(&name);
    tried.unwrap_or(false)
}

fn try_permissions(place: &OpenDir, name: &str) -> io::Result<bool> {
    place.make_dir(name, 0o700)?;
    // By a descriptor: others may write to the volume, and put a link in its place.
    let made = place.dir(name)?;
    let is_shut = fstat(&made)?.st_mode & 0o077 == 0;
    if Uid::effective().is_root() {
        // Any other user will do.
        fchown(&made, Some(1), None)?;
    }
    Ok(is_shut)
}
