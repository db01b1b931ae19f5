//! The backup directory: its layout, and all access to it. Names from outside are opened only here, relative to their
//! slot, so that neither `..` nor a symbolic link, nor a slot replaced by one, can lead out of it.

use std::ffi::OsStr;
use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, openat, readlinkat};
use nix::sys::stat::{FileStat, Mode, SFlag, fstat, fstatat};
use nix::unistd::{AccessFlags, UnlinkatFlags, access, unlinkat};

use super::discard::{self, Hold};
use super::error::DirectoryError;
use super::held::{self, HeldDirs};
use super::name::BackupName;
use super::slot::Slot;
use super::spelling::is_spelled_so;
use crate::util::durable;
use crate::util::open_dir::{OpenDir, kind};

/// An opened backup.
#[derive(Debug)]
pub struct Opened {
    /// The opened file or directory. It can be read to its end even after its name is replaced or removed.
    pub file: File,
    /// Its status.
    pub status: FileStat,
    /// The name of the backup; the target's if a pointer was requested.
    pub name: BackupName,
    /// Keeps the files of a directory dump until dropped.
    pub hold: Option<Hold>,
}

impl Opened {
    /// Whether it is a dump in directory format.
    pub fn is_directory(&self) -> bool {
        kind(&self.status) == SFlag::S_IFDIR
    }
}

/// What a name in a slot refers to.
#[derive(Debug)]
pub(super) enum Inode {
    /// A file or directory.
    Backup(FileStat),
    /// A symbolic link to a name in the same slot.
    Pointer(BackupName),
}

/// The backup directory.
#[derive(Debug, Clone)]
pub struct BackupDirectory {
    root: PathBuf,
    /// The fallback directory, set once something could not be written here.
    pub(super) fallback: Arc<OnceLock<PathBuf>>,
    /// Subdirectories opened by the run that holds the run lock.
    pub(super) held: Arc<OnceLock<HeldDirs>>,
}

impl BackupDirectory {
    /// The directory at this path, which need not exist yet.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into(), fallback: Arc::default(), held: Arc::default() }
    }

    /// Path of the directory.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Creates missing directories of the layout and checks that they are writable.
    ///
    /// # Errors
    /// When a directory cannot be created or written to.
    pub fn prepare(&self) -> Result<(), DirectoryError> {
        let slots = Slot::ALL.into_iter().map(|slot| self.slot_path(slot));
        for path in std::iter::once(self.root.clone()).chain(slots).chain([self.partial()]) {
            match DirBuilder::new().recursive(path == self.root).mode(0o755).create(&path) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(self.not_made(&path, error)),
                Ok(()) => {}
            }
            if !fs::symlink_metadata(&path).is_ok_and(|found| found.is_dir() || path == self.root) {
                return Err(DirectoryError::NotASlot(path));
            }
            match access(&path, AccessFlags::W_OK | AccessFlags::X_OK) {
                Ok(()) => {}
                Err(Errno::EACCES) => return Err(DirectoryError::NotWritable(path)),
                Err(Errno::EROFS) => return Err(DirectoryError::ReadOnly(path)),
                // Such as EPERM for a directory marked immutable, which even its owner cannot write to.
                Err(error) => {
                    return Err(DirectoryError::Io(format!("write to {}", path.display()), error.into()));
                }
            }
        }
        Ok(())
    }

    fn not_made(&self, path: &Path, error: io::Error) -> DirectoryError {
        match error.raw_os_error().map(Errno::from_raw) {
            Some(Errno::EACCES) => DirectoryError::NotWritable(self.root.clone()),
            Some(Errno::EROFS) => DirectoryError::ReadOnly(self.root.clone()),
            Some(Errno::ENOSPC | Errno::EDQUOT) => DirectoryError::Full { path: self.root.clone(), error },
            _ => DirectoryError::Io(format!("make {}", path.display()), error),
        }
    }

    /// Opens the subdirectories for the rest of the run. Only needed by the holder of the run lock.
    ///
    /// # Errors
    /// When one is not a directory, or cannot be opened.
    pub(super) fn hold_dirs(&self) -> Result<(), DirectoryError> {
        if self.held.get().is_none() {
            let _ = self.held.set(HeldDirs::open(&self.root)?);
        }
        Ok(())
    }

    /// Opens a slot.
    ///
    /// # Errors
    /// When it does not exist or is not a directory.
    pub(crate) fn open_slot(&self, slot: Slot) -> Result<OpenDir, DirectoryError> {
        let held = self.held.get().and_then(|held| held.slot(slot));
        held.map_or_else(|| held::open_slot(&self.root, slot), Ok)
    }

    /// Opens `.partial`, the directory of incomplete files.
    ///
    /// # Errors
    /// When it does not exist or is not a directory.
    pub(crate) fn open_partial(&self) -> Result<OpenDir, DirectoryError> {
        let held = self.held.get().and_then(HeldDirs::partial);
        held.map_or_else(|| held::open_partial(&self.root), Ok)
    }

    /// Removes a file or directory tree in `place`, if it exists. A directory that is being read is moved to
    /// `.partial` instead.
    ///
    /// # Errors
    /// When it exists and cannot be removed.
    pub(super) fn discard(&self, place: &OpenDir, name: &OsStr) -> io::Result<()> {
        discard::discard(place, name, || {
            self.open_partial().map_err(|error| io::Error::other(error.to_string()))
        })
    }

    /// Whether the directory exists and is writable for us.
    pub fn is_writable(&self) -> bool {
        access(&self.root, AccessFlags::W_OK | AccessFlags::X_OK).is_ok()
    }

    /// Path of a slot, for messages and for user programs.
    pub fn slot_path(&self, slot: Slot) -> PathBuf {
        self.root.join(slot.name())
    }

    /// Path of a name in a slot, for messages and for user programs.
    pub fn path(&self, slot: Slot, name: &BackupName) -> PathBuf {
        self.slot_path(slot).join(name.as_str())
    }

    /// Path of the directory of incomplete files, for messages and for user programs.
    pub fn partial(&self) -> PathBuf {
        self.root.join(".partial")
    }

    /// Removes what killed runs left in [`Self::partial`]. Only the holder of the run lock may call this, because then
    /// no one else writes there.
    ///
    /// # Errors
    /// When something cannot be removed.
    pub fn sweep_partial(&self) -> Result<usize, DirectoryError> {
        let failed = |error| DirectoryError::Io("remove what an earlier run left in .partial".into(), error);
        // A deletion requested over HTTP may be creating a link there.
        let _lock = self.lock_names()?;
        self.put_back()?;
        let (partial, mut removed) = (self.open_partial()?, 0);
        for name in partial.names().map_err(failed)? {
            self.discard(&partial, &name).map_err(failed)?;
            // A directory that is still being sent remains for now.
            removed += usize::from(!partial.holds(&name));
        }
        Ok(removed + self.sweep_temporaries().map_err(failed)?)
    }

    /// Removes temporary files beside the slots whose writing process is gone.
    fn sweep_temporaries(&self) -> io::Result<usize> {
        let mut removed = 0;
        for entry in fs::read_dir(&self.root)? {
            let path = entry?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            let writer = name.strip_suffix(".tmp").and_then(|name| name.rsplit_once('.')).map(|(_, pid)| pid);
            let is_ours = name.starts_with('.') && writer.is_some_and(|pid| pid.parse::<u32>().is_ok());
            let lives = writer.is_some_and(|pid| Path::new("/proc").join(pid).exists());
            if is_ours && !lives && durable::remove_if_there(&path)? {
                removed += 1;
            }
        }
        Ok(removed)
    }

    /// Opens a backup for reading, following a pointer.
    ///
    /// # Errors
    /// When it does not exist, or is not a backup.
    pub fn open(&self, slot: Slot, asked: &BackupName) -> Result<Opened, DirectoryError> {
        let directory = self.open_slot(slot)?;
        let name = match self.look(&directory, slot, asked)? {
            Inode::Backup(_) => asked.clone(),
            Inode::Pointer(target) => target,
        };
        // A name matched with another spelling may belong to another database.
        if !is_spelled_so(&directory, slot, asked)? {
            return Err(DirectoryError::NotFound(slot, asked.clone()));
        }
        // A name without a slash cannot lead out of its directory if links are not followed. O_NONBLOCK: opening a
        // FIFO must not wait for its writer.
        let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC | OFlag::O_NONBLOCK;
        let file = openat(&directory, name.as_str(), flags, Mode::empty());
        let file = file.map_err(|error| self.refusal(slot, &name, error))?;
        let status = fstat(&file).map_err(|error| self.refusal(slot, &name, error))?;
        let hold = match kind(&status) {
            SFlag::S_IFREG => None,
            SFlag::S_IFDIR => {
                Hold::of(&file, self.open_partial().ok()).map_err(|error| self.refusal(slot, &name, error))?
            }
            _ => return Err(DirectoryError::NotABackup(slot, name)),
        };
        Ok(Opened { file: file.into(), status, name, hold })
    }

    /// Removes a name, its file or directory, and its manifest.
    ///
    /// # Errors
    /// When it does not exist or cannot be removed.
    pub(super) fn unlink(&self, slot: Slot, name: &BackupName) -> Result<(), DirectoryError> {
        let failed = |error: io::Error| DirectoryError::Io(format!("remove {slot}/{name}"), error);
        let directory = self.open_slot(slot)?;
        self.forget_aside(slot, name).map_err(failed)?;
        match self.look(&directory, slot, name)? {
            Inode::Backup(status) if kind(&status) == SFlag::S_IFDIR => {
                // Moved out of the slot first, so that a crash leaves no partial backup under its name.
                let partial = self.open_partial()?;
                directory.rename(name.as_str(), &partial, name.as_str()).map_err(failed)?;
                self.discard(&partial, name.as_str().as_ref()).map_err(failed)?;
            }
            _ => unlinkat(&directory, name.as_str(), UnlinkatFlags::NoRemoveDir)
                .map_err(|error| self.refusal(slot, name, error))?,
        }
        match unlinkat(&directory, name.manifest().as_str(), UnlinkatFlags::NoRemoveDir) {
            Ok(()) | Err(Errno::ENOENT) => {}
            Err(error) => return Err(failed(error.into())),
        }
        directory.sync().map_err(failed)
    }

    /// Determines what a name in an opened slot refers to.
    pub(super) fn look(
        &self,
        directory: &OpenDir,
        slot: Slot,
        name: &BackupName,
    ) -> Result<Inode, DirectoryError> {
        let status = fstatat(directory, name.as_str(), AtFlags::AT_SYMLINK_NOFOLLOW)
            .map_err(|error| self.refusal(slot, name, error))?;
        match kind(&status) {
            SFlag::S_IFREG | SFlag::S_IFDIR => Ok(Inode::Backup(status)),
            SFlag::S_IFLNK => {
                let target =
                    readlinkat(directory, name.as_str()).map_err(|error| self.refusal(slot, name, error))?;
                let sibling = target.to_str().and_then(|target| BackupName::parse(target).ok());
                sibling.map(Inode::Pointer).ok_or_else(|| DirectoryError::NotABackup(slot, name.clone()))
            }
            _ => Err(DirectoryError::NotABackup(slot, name.clone())),
        }
    }

    fn refusal(&self, slot: Slot, name: &BackupName, error: Errno) -> DirectoryError {
        match error {
            Errno::ENOENT => DirectoryError::NotFound(slot, name.clone()),
            Errno::ELOOP => DirectoryError::NotABackup(slot, name.clone()),
            error => DirectoryError::Io(format!("use {slot}/{name}"), error.into()),
        }
    }
}
