//! Where a run that only reads backups writes its own files: the backup directory, or the [`fallback`] if that is
//! read-only or full.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use nix::sys::statvfs::{FsFlags, Statvfs, fstatvfs, statvfs};

use super::directory::BackupDirectory;
use super::error::DirectoryError;
use crate::store::fallback;
use crate::store::records::status;
use crate::util::durable;
use crate::util::open_dir::OpenDir;
use crate::util::units;

/// Name of the run lock file, in a backup directory and in its fallback.
pub const LOCK_NAME: &str = ".lock";

/// Prefix of a restore's note; a unique part and `.json` follow.
pub const NOTE_PREFIX: &str = ".restore-";

impl BackupDirectory {
    /// Prepares the directory for a run that only reads backups. If it is not writable, the run writes to the fallback
    /// instead, and logs that.
    ///
    /// # Errors
    /// When a slot is not a directory, or neither place can be written to.
    pub fn prepare_to_read(&self) -> Result<(), DirectoryError> {
        let probed = |()| durable::probe(self.root()).map_err(|error| self.unwritable(error));
        match self.prepare().and_then(probed) {
            Err(error) if error.is_unwritable() => {
                // The system's own error is more specific.
                let cause = durable::probe(self.root()).err();
                let cause = cause.map_or_else(|| error.to_string(), |cause| cause.to_string());
                self.fall_back(&cause).map(drop)
            }
            prepared => prepared,
        }
    }

    fn unwritable(&self, error: io::Error) -> DirectoryError {
        DirectoryError::Io(format!("write to {}", self.root().display()), error)
    }

    /// The fallback, created and logged at its first use.
    fn fall_back(&self, cause: &str) -> Result<&Path, DirectoryError> {
        if let Some(path) = self.fallback.get() {
            return Ok(path);
        }
        let root = self.root().display();
        let failed = |error| DirectoryError::NoFallback {
            path: self.root().to_path_buf(),
            cause: cause.to_owned(),
            error,
        };
        let path = fallback::create(self.root()).map_err(failed)?;
        log::info!(
            "{root} cannot be written to ({cause}): the lock, the journal and temporary files are in {}",
            path.display()
        );
        Ok(self.fallback.get_or_init(|| path))
    }

    /// Writes a small file of a run, flushed before this returns its path.
    ///
    /// # Errors
    /// When neither place can be written to.
    pub fn write_note(&self, name: &str, contents: &[u8]) -> io::Result<PathBuf> {
        let write = |place: &Path| {
            let path = place.join(name);
            durable::replace_file(place, &path, contents, 0o600).map(|()| path)
        };
        let cause = match self.fallback.get() {
            Some(place) => return write(place),
            None => match write(self.root()) {
                Err(error) if durable::is_unwritable(&error) => error,
                written => return written,
            },
        };
        let place = self.fall_back(&cause.to_string());
        write(place.map_err(|error| io::Error::other(error.to_string()))?)
    }

    /// A directory for temporary files of `needed` bytes in total: [`Self::partial`], unless it is read-only, or has
    /// too little space and the fallback has more.
    ///
    /// # Errors
    /// When neither place can be written to.
    pub fn place_for(&self, needed: u64) -> Result<OpenDir, DirectoryError> {
        let open = |place: &Path| {
            let failed = |error| DirectoryError::Io(format!("open {}", place.display()), error);
            OpenDir::open(place).map_err(failed)
        };
        if let Some(place) = self.fallback.get() {
            return open(place);
        }
        let partial = self.open_partial()?;
        let free = fstatvfs(&partial).map_or(0, |status| free(&status));
        if free >= needed || free_space(&std::env::temp_dir()) <= free {
            return Ok(partial);
        }
        let cause = format!("{} are free, {} are needed", units::bytes(free), units::bytes(needed));
        let failed = |error| DirectoryError::NoFallback {
            path: self.root().to_path_buf(),
            cause: cause.clone(),
            error,
        };
        let place = fallback::create(self.root()).map_err(failed)?;
        log::info!("{}: {cause}: temporary files are in {}", self.root().display(), place.display());
        open(&place)
    }

    /// Whether this run has not had to use the fallback so far.
    pub fn takes_files(&self) -> bool {
        self.fallback.get().is_none()
    }

    /// Whether some run has had to use the fallback.
    pub fn has_fallback(&self) -> bool {
        fallback::open(self.root()).is_ok_and(|path| path.is_some())
    }

    /// Whether the directory is mounted read-only.
    pub fn is_read_only(&self) -> bool {
        statvfs(self.root()).is_ok_and(|status| status.flags().contains(FsFlags::ST_RDONLY))
    }

    /// The notes of restores that are running or were killed: those in the directory, and those in its fallback.
    pub fn notes(&self) -> (Vec<PathBuf>, Vec<PathBuf>) {
        let fallback = fallback::open(self.root()).ok().flatten();
        (notes_in(self.root()), fallback.map(|place| notes_in(&place)).unwrap_or_default())
    }

    /// Removes temporary files of killed runs, in [`Self::partial`] if writable, and in the fallback. Only the holder
    /// of the run lock may call this.
    ///
    /// # Errors
    /// When something cannot be removed, unless for missing write permission.
    pub fn sweep_leftovers(&self) -> Result<usize, DirectoryError> {
        let failed = |error| DirectoryError::Io("remove what an earlier run left".into(), error);
        let mut removed = 0;
        if let Ok(Some(place)) = fallback::open(self.root()) {
            removed += sweep_fallback(&place).map_err(failed)?;
        }
        match self.hold_dirs().and_then(|()| self.sweep_partial()) {
            Ok(count) => Ok(removed + count),
            Err(error) if error.is_unwritable() || !self.takes_files() => Ok(removed),
            Err(error) => Err(error),
        }
    }
}

fn is_note(name: &str) -> bool {
    name.starts_with(NOTE_PREFIX) && name.ends_with(".json")
}

fn notes_in(place: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(place) else { return Vec::new() };
    let is_of_restore = |path: &PathBuf| is_note(&path.file_name().unwrap_or_default().to_string_lossy());
    entries.flatten().map(|entry| entry.path()).filter(is_of_restore).collect()
}

fn sweep_fallback(place: &Path) -> io::Result<usize> {
    let (place, mut removed) = (OpenDir::open(place)?, 0);
    for name in place.names()? {
        if name != LOCK_NAME && name != status::FILE_NAME && !is_note(&name.to_string_lossy()) {
            place.remove_all(&name)?;
            removed += 1;
        }
    }
    Ok(removed)
}

/// Free space in bytes below a path; 0 if no file can be created.
pub(crate) fn free_space(path: &Path) -> u64 {
    statvfs(path).map_or(0, |status| free(&status))
}

fn free(status: &Statvfs) -> u64 {
    // Some file systems allocate inodes on demand and report none.
    let has_inodes = status.files() == 0 || status.files_available() > 0;
    if has_inodes { status.blocks_available() * status.fragment_size() } else { 0 }
}
