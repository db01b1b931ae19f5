//! Chooses the place for the temporary server: the backup volume, or a temporary directory when the volume is
//! read-only, too full, or keeps no owners and modes.

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

/// Size of a server without databases, in bytes.
const SERVER_SIZE: u64 = 64 << 20;

/// A directory for a proof. A temporary one is removed when dropped.
#[derive(Debug)]
pub struct Workplace {
    directory: OpenDir,
    _temporary: Option<Held>,
}

impl Workplace {
    /// Chooses the place for a server with a database of `size` bytes.
    ///
    /// # Errors
    /// When neither the volume nor a temporary directory can be used.
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
        // When started by root, the server runs as another user, who must be able to enter it.
        let mode = if Uid::effective().is_root() { 0o711 } else { 0o700 };
        let made = Held::make(&temporary, TEMPORARY_PREFIX, mode);
        let failed = |error| ServerError::Place(temporary.clone(), error);
        let made = made.map_err(failed)?;
        let opened = OpenDir::of_file(made.as_file(), made.path()).map_err(failed)?;
        let cause = match directory.takes_files() {
            true if has_room => ": the volume does not support file owners and modes".into(),
            true => format!(": {} are free, {} are needed", units::bytes(free), units::bytes(needed)),
            // The reason has been logged.
            false => String::new(),
        };
        log::info!("the server of the proof is in {}{cause}", made.path().display());
        Ok(Self { directory: opened, _temporary: Some(made) })
    }

    /// The directory.
    pub fn directory(&self) -> &OpenDir {
        &self.directory
    }
}

/// Whether directories there can have mode 0700, as a server demands, and, as root, another owner. FAT and exFAT
/// support neither.
fn keeps_permissions(place: &OpenDir) -> bool {
    let name = format!(".permissions.{}.tmp", std::process::id());
    let tried = try_permissions(place, &name);
    // If this fails, the next run removes it.
    let _ = place.remove_dir(&name);
    tried.unwrap_or(false)
}

fn try_permissions(place: &OpenDir, name: &str) -> io::Result<bool> {
    place.make_dir(name, 0o700)?;
    // By descriptor: others may write to the volume and put a link in its place.
    let made = place.dir(name)?;
    let is_shut = fstat(&made)?.st_mode & 0o077 == 0;
    if Uid::effective().is_root() {
        // Any other user will do.
        fchown(&made, Some(1), None)?;
    }
    Ok(is_shut)
}
