//! The backup directory: its layout, and every way in. A name from outside is opened only here, beneath
//! its slot, so that neither `..` nor a symlink nor a slot that is one can lead out of it.

use std::fmt;
use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, openat, readlinkat};
use nix::sys::stat::{FileStat, Mode, SFlag, fstat, fstatat};
use nix::unistd::{AccessFlags, UnlinkatFlags, access, getuid, unlinkat};

use super::contents::Contents;
use super::discard::Hold;
use super::held::HeldDirs;
use super::name::{BackupName, DatabaseName};
use super::slot::Slot;
use super::spelling::{is_spelled_so, unusual};
use crate::durable;
use crate::fallback::FallbackError;
use crate::open_dir::{OpenDir, kind};

/// Why the backup directory could not be used.
#[derive(Debug)]
pub enum DirectoryError {
    /// There is no such backup.
    NotFound(Slot, BackupName),
    /// The name is there, but is neither a file nor a directory, or leads out of its slot.
    NotABackup(Slot, BackupName),
    /// We may not write to the directory.
    NotWritable(PathBuf),
    /// It is on a file system that is mounted read-only.
    ReadOnly(PathBuf),
    /// There is no room on its file system.
    Full(PathBuf, io::Error),
    /// The file system takes the names of one database's backups for those of another's.
    Namesake {
        /// The database whose names are not free.
        database: DatabaseName,
        /// The database that has them.
        other: DatabaseName,
        /// Where one of them is.
        slot: Slot,
        /// That one.
        name: BackupName,
    },
    /// The file system does not take the name of a backup.
    NameRefused {
        /// The database.
        database: DatabaseName,
        /// The name.
        name: BackupName,
        /// The directory.
        root: PathBuf,
        /// What the file system says.
        error: io::Error,
    },
    /// The file system keeps the name of a backup as another.
    NameChanged(DatabaseName, BackupName, PathBuf),
    /// Somebody else holds the names, for longer than we may wait.
    NamesHeld,
    /// A slot is something else than a directory.
    NotASlot(PathBuf),
    /// Neither the directory, for this cause, nor what would stand in for it can be written to.
    NoFallback(PathBuf, String, FallbackError),
    /// Any other failure, with what was being done.
    Io(String, io::Error),
}

impl fmt::Display for DirectoryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotFound(slot, name) => write!(f, "there is no backup {slot}/{name}"),
            Self::NotABackup(slot, name) => write!(f, "{slot}/{name} is not a backup"),
            Self::NotWritable(path) => {
                let (path, uid) = (path.display(), getuid());
                write!(f, "user id {uid} may not write to {path}; run `chown -R {uid} {path}` on the volume")
            }
            Self::ReadOnly(path) => write!(f, "{} is mounted read-only", path.display()),
            Self::Full(path, error) => write!(f, "the file system of {} is full: {error}", path.display()),
            Self::Namesake { database, other, slot, name } => write!(
                f,
                "the file system treats the names of databases {database} and {other} as the same, so their \
                 backups such as {slot}/{name} would be mixed up: give one of the two its own backup \
                 directory"
            ),
            Self::NameRefused { database, name, root, error } => write!(
                f,
                "the file system of {} rejects the file name {name} for database {database} ({error}; \
                 unusual characters: {}): back it up to another file system, or leave it out",
                root.display(),
                unusual(name.as_str())
            ),
            Self::NameChanged(database, name, root) => write!(
                f,
                "the file system of {} changes the file name {name} for database {database} (unusual \
                 characters: {}): back it up to another file system, or leave it out",
                root.display(),
                unusual(name.as_str())
            ),
            Self::NamesHeld => f.write_str(
                "backups are being renamed by another program, which holds .pointers.lock: try again",
            ),
            Self::NotASlot(path) => write!(f, "{} is not a directory", path.display()),
            Self::NoFallback(path, cause, error) => {
                write!(
                    f,
                    "{} cannot be written to ({cause}), nor can its substitute: {error}",
                    path.display()
                )
            }
            Self::Io(what, error) => write!(f, "cannot {what}: {error}"),
        }
    }
}

impl std::error::Error for DirectoryError {}

impl DirectoryError {
    /// Whether it is for want of a right to write or of space.
    pub fn is_unwritable(&self) -> bool {
        match self {
            Self::NotWritable(_) | Self::ReadOnly(_) | Self::Full(..) => true,
            Self::Io(_, error) => durable::is_unwritable(error),
            _ => false,
        }
    }
}

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
    pub(super) contents: Arc<Contents>,
    /// What takes the files that cannot be written here, once that has come up.
    pub(super) fallback: Arc<OnceLock<PathBuf>>,
    /// Its directories as the run that has the lock has opened them.
    pub(super) held: Arc<OnceLock<HeldDirs>>,
}

impl BackupDirectory {
    /// The directory at this path, which need not exist yet.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into(), contents: Arc::default(), fallback: Arc::default(), held: Arc::default() }
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
            Some(Errno::ENOSPC | Errno::EDQUOT) => DirectoryError::Full(self.root.clone(), error),
            _ => DirectoryError::Io(format!("make {}", path.display()), error),
        }
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
            SFlag::S_IFDIR => self.hold(&file).map_err(|error| self.refusal(slot, &name, error))?,
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
        self.contents.forget(slot);
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
