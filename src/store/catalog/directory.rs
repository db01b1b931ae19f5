//! The backup directory: its layout, and every way in. A name from outside is opened only here, beneath
//! its slot, so that neither `..` nor a symlink nor a slot that is one can lead out of it.

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
    /// The file or directory; it goes on to be read whole when its name is replaced or removed.
    pub file: File,
    /// Its status.
    pub status: FileStat,
    /// Its name, which is the pointer's target when a pointer was asked for.
    pub name: BackupName,
    /// Keeps the files of a directory as long as it is there.
    pub hold: Option<Hold>,
}

impl Opened {
    /// Whether it is a dump in directory format.
    pub fn is_directory(&self) -> bool {
        kind(&self.status) == SFlag::S_IFDIR
    }
}

/// What a name in a slot is.
#[derive(Debug)]
pub(super) enum Inode {
    /// A file or directory.
    Backup(FileStat),
    /// A symlink to a sibling.
    Pointer(BackupName),
}

/// The directory of all backups.
#[derive(Debug, Clone)]
pub struct BackupDirectory {
    root: PathBuf,
    /// What takes the files that cannot be written here, once that has come up.
    pub(super) fallback: Arc<OnceLock<PathBuf>>,
    /// Its directories as the run that has the lock has opened them.
    pub(super) held: Arc<OnceLock<HeldDirs>>,
}

impl BackupDirectory {
    /// The directory at this path, which need not exist yet.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into(), fallback: Arc::default(), held: Arc::default() }
    }

    /// Its path.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Makes what is missing of the layout and sees that we may write to it.
    ///
    /// # Errors
    /// When a directory cannot be made or written to.
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
                // Such as EPERM of a directory that is marked immutable, which no owner may write to.
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

    /// Opens its directories for the rest of the run. Only the holder of the lock need call this.
    ///
    /// # Errors
    /// When one is no directory, or cannot be opened.
    pub(super) fn hold_dirs(&self) -> Result<(), DirectoryError> {
        if self.held.get().is_none() {
            let _ = self.held.set(HeldDirs::open(&self.root)?);
        }
        Ok(())
    }

    /// Opens a slot.
    ///
    /// # Errors
    /// When it is not there or no directory.
    pub(crate) fn open_slot(&self, slot: Slot) -> Result<OpenDir, DirectoryError> {
        let held = self.held.get().and_then(|held| held.slot(slot));
        held.map_or_else(|| held::open_slot(&self.root, slot), Ok)
    }

    /// Opens the directory of incomplete files.
    ///
    /// # Errors
    /// When it is not there or no directory.
    pub(crate) fn open_partial(&self) -> Result<OpenDir, DirectoryError> {
        let held = self.held.get().and_then(HeldDirs::partial);
        held.map_or_else(|| held::open_partial(&self.root), Ok)
    }

    /// Removes a file in `place`, or a directory with all that is in it; not there is as good as removed. A directory that
    /// somebody holds is moved to `.partial` instead.
    ///
    /// # Errors
    /// When it is there and cannot be removed.
    pub(super) fn discard(&self, place: &OpenDir, name: &OsStr) -> io::Result<()> {
        discard::discard(place, name, || {
            self.open_partial().map_err(|error| io::Error::other(error.to_string()))
        })
    }

    /// Whether we have the right to write to it, if it is there.
    pub fn is_writable(&self) -> bool {
        access(&self.root, AccessFlags::W_OK | AccessFlags::X_OK).is_ok()
    }

    /// The path of a slot, for messages and for programs of the user's.
    pub fn slot_path(&self, slot: Slot) -> PathBuf {
        self.root.join(slot.name())
    }

    /// The path of a name in a slot, for the same.
    pub fn path(&self, slot: Slot, name: &BackupName) -> PathBuf {
        self.slot_path(slot).join(name.as_str())
    }

    /// The path of the directory where files are until they are whole, for the same.
    pub fn partial(&self) -> PathBuf {
        self.root.join(".partial")
    }

    /// Removes what killed runs left in [`Self::partial`]. Only the holder of the directory's lock may
    /// call this: nobody else is writing there then.
    ///
    /// # Errors
    /// When something cannot be removed.
    pub fn sweep_partial(&self) -> Result<usize, DirectoryError> {
        let failed = |error| DirectoryError::Io("remove what an earlier run left in .partial".into(), error);
        // A deletion on request may be making a link there.
        let _lock = self.lock_names()?;
        self.put_back()?;
        let (partial, mut removed) = (self.open_partial()?, 0);
        for name in partial.names().map_err(failed)? {
            self.discard(&partial, &name).map_err(failed)?;
            // What somebody still sends is there yet.
            removed += usize::from(!partial.holds(&name));
        }
        Ok(removed + self.sweep_temporaries().map_err(failed)?)
    }

    /// Removes the temporary files beside the slots whose writers are gone.
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

    /// Opens a backup for reading. A pointer leads to its target.
    ///
    /// # Errors
    /// When it is not there, or is no backup.
    pub fn open(&self, slot: Slot, asked: &BackupName) -> Result<Opened, DirectoryError> {
        let directory = self.open_slot(slot)?;
        let name = match self.look(&directory, slot, asked)? {
            Inode::Backup(_) => asked.clone(),
            Inode::Pointer(target) => target,
        };
        // What the file system finds under another spelling may be another database's.
        if !is_spelled_so(&directory, slot, asked)? {
            return Err(DirectoryError::NotFound(slot, asked.clone()));
        }
        // A name without a slash, not followed when it is a symlink, cannot lead out of its directory.
        // O_NONBLOCK: opening a FIFO that somebody put there must not wait for its writer.
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

    /// Removes a name, what it names, and its manifest.
    ///
    /// # Errors
    /// When it is not there or cannot be removed.
    pub(super) fn unlink(&self, slot: Slot, name: &BackupName) -> Result<(), DirectoryError> {
        let failed = |error: io::Error| DirectoryError::Io(format!("remove {slot}/{name}"), error);
        let directory = self.open_slot(slot)?;
        self.forget_aside(slot, name).map_err(failed)?;
        match self.look(&directory, slot, name)? {
            Inode::Backup(status) if kind(&status) == SFlag::S_IFDIR => {
                // Out of the slot at once; a crash on the way leaves no half of a backup under its name.
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

    /// What a name in an opened slot is.
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
