//! A directory held open by file descriptor. Names are looked up relative to it and symbolic links are never followed.
//! So nobody who can write to the volume can redirect our work by swapping in a link or another directory.

mod remove;

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use nix::dir::Dir;
use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, open, openat, renameat};
use nix::sys::stat::{FileStat, Mode, SFlag, fchmod, fstat, fstatat, mkdirat};
use nix::unistd::{UnlinkatFlags, linkat, unlinkat};

use crate::util::durable;

const DIRECTORY: OFlag = OFlag::O_RDONLY.union(OFlag::O_DIRECTORY).union(OFlag::O_CLOEXEC);
/// Probe file that shows whether a directory is ours.
const OWN: &str = ".own";

/// An opened directory. Clones share the file descriptor.
#[derive(Debug, Clone)]
pub struct OpenDir {
    fd: Arc<OwnedFd>,
    /// Path at the time of opening, for messages.
    path: PathBuf,
}

impl OpenDir {
    /// Opens the directory at a path. Links in the path are followed.
    ///
    /// # Errors
    /// When it does not exist or is not a directory.
    pub fn open(path: &Path) -> io::Result<Self> {
        let fd = open(path, DIRECTORY, Mode::empty())?;
        Ok(Self { fd: Arc::new(fd), path: path.to_path_buf() })
    }

    /// Opens a subdirectory.
    ///
    /// # Errors
    /// When it does not exist or is not a directory; a link to one is refused.
    pub fn dir(&self, name: impl AsRef<OsStr>) -> io::Result<Self> {
        let name = name.as_ref();
        let fd = openat(&self.fd, name, DIRECTORY | OFlag::O_NOFOLLOW, Mode::empty())?;
        Ok(Self { fd: Arc::new(fd), path: self.path.join(name) })
    }

    /// The directory behind an opened file.
    ///
    /// # Errors
    /// When it is not a directory.
    pub fn of_file(file: impl AsFd, path: &Path) -> io::Result<Self> {
        let fd = openat(file, ".", DIRECTORY, Mode::empty())?;
        Ok(Self { fd: Arc::new(fd), path: path.to_path_buf() })
    }

    /// Path at the time of opening. For messages only: something else may be at that path by now.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A path to it for the current directory of a child process, valid until the child's exec.
    pub fn path_of_child(&self) -> PathBuf {
        format!("/proc/self/fd/{}", self.fd.as_raw_fd()).into()
    }

    /// The directory as an opened file.
    ///
    /// # Errors
    /// When there are too many open files.
    pub fn to_file(&self) -> io::Result<File> {
        Ok(File::from(self.fd.try_clone()?))
    }

    /// Creates a subdirectory.
    ///
    /// # Errors
    /// When it cannot be created.
    pub fn make_dir(&self, name: impl AsRef<OsStr>, mode: u32) -> io::Result<()> {
        Ok(mkdirat(&self.fd, name.as_ref(), Mode::from_bits_truncate(mode))?)
    }

    /// Creates a subdirectory that no one else writes to, and opens it.
    ///
    /// # Errors
    /// When it cannot be created, or another was put in its place before it was opened.
    pub fn make_private(&self, name: impl AsRef<OsStr>, mode: u32) -> io::Result<Self> {
        let name = name.as_ref();
        self.make_dir(name, mode)?;
        let made = self.dir(name)?;
        // Compare with the owner of a new file: over NFS or SMB the file system may give our files to another user.
        let own = made.create_file(OWN, 0o600)?;
        let (own, directory) = (fstat(&own)?, fstat(&made)?);
        let is_alone = made.names()? == [OWN];
        made.remove_file(OWN)?;
        if own.st_uid != directory.st_uid || !is_alone {
            return Err(io::Error::other(format!("{} was replaced by another program", made.path.display())));
        }
        // If refused, the permissions are those the file system gives.
        let _ = fchmod(&made, Mode::from_bits_truncate(mode));
        Ok(made)
    }

    /// Creates a file for reading and writing. An existing file is not touched.
    ///
    /// # Errors
    /// When it exists or cannot be created.
    pub fn create_file(&self, name: impl AsRef<OsStr>, mode: u32) -> io::Result<File> {
        let flags = OFlag::O_RDWR | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        Ok(File::from(openat(&self.fd, name.as_ref(), flags, Mode::from_bits_truncate(mode))?))
    }

    /// Opens a file for reading. Never blocks on a FIFO.
    ///
    /// # Errors
    /// When it does not exist, or is not a regular file.
    pub fn open_file(&self, name: impl AsRef<OsStr>) -> io::Result<File> {
        let flags = OFlag::O_RDONLY | OFlag::O_CLOEXEC | durable::CAREFULLY;
        let opened = openat(&self.fd, name.as_ref(), flags, Mode::empty());
        durable::regular(opened.map(File::from).map_err(io::Error::from))
    }

    /// File status of a name; links are not followed.
    ///
    /// # Errors
    /// When it does not exist.
    pub fn status(&self, name: impl AsRef<OsStr>) -> io::Result<FileStat> {
        Ok(fstatat(&self.fd, name.as_ref(), AtFlags::AT_SYMLINK_NOFOLLOW)?)
    }

    /// Whether a name exists.
    pub fn holds(&self, name: impl AsRef<OsStr>) -> bool {
        self.status(name).is_ok()
    }

    /// Whether a name is a directory.
    pub fn holds_dir(&self, name: impl AsRef<OsStr>) -> bool {
        self.status(name).is_ok_and(|status| kind(&status) == SFlag::S_IFDIR)
    }

    /// The names in it, unordered.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn names(&self) -> io::Result<Vec<OsString>> {
        let mut names = Vec::new();
        // Reopened, because the read position is shared by all users of one file descriptor.
        for entry in Dir::from_fd(openat(&self.fd, ".", DIRECTORY, Mode::empty())?)?.iter() {
            let name = entry?.file_name().to_bytes().to_vec();
            if name != b"." && name != b".." {
                names.push(OsString::from_vec(name));
            }
        }
        Ok(names)
    }

    /// Renames a name into another directory, replacing what is there, and flushes that directory.
    ///
    /// # Errors
    /// When either step fails.
    pub fn rename(&self, from: impl AsRef<OsStr>, into: &Self, to: impl AsRef<OsStr>) -> io::Result<()> {
        renameat(&self.fd, from.as_ref(), &into.fd, to.as_ref())?;
        into.sync()
    }

    /// Hard-links a file into another directory. A symbolic link is itself linked, not its target.
    ///
    /// # Errors
    /// When the link cannot be made.
    pub fn link(&self, from: impl AsRef<OsStr>, into: &Self, to: impl AsRef<OsStr>) -> io::Result<()> {
        Ok(linkat(&self.fd, from.as_ref(), &into.fd, to.as_ref(), AtFlags::empty())?)
    }

    /// Removes a name other than a directory, if it exists. Returns whether it did.
    ///
    /// # Errors
    /// When it exists and cannot be removed.
    pub fn remove_file(&self, name: impl AsRef<OsStr>) -> io::Result<bool> {
        match unlinkat(&self.fd, name.as_ref(), UnlinkatFlags::NoRemoveDir) {
            Ok(()) => Ok(true),
            Err(Errno::ENOENT) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// Removes an empty directory.
    ///
    /// # Errors
    /// When it does not exist, is not empty, or cannot be removed.
    pub fn remove_dir(&self, name: impl AsRef<OsStr>) -> io::Result<()> {
        Ok(unlinkat(&self.fd, name.as_ref(), UnlinkatFlags::RemoveDir)?)
    }

    /// Replaces a file with `contents` atomically. It is written in `staging`, which must be on the same file system.
    ///
    /// # Errors
    /// When a step fails; the old file is unchanged.
    pub fn replace_file(&self, staging: &Self, name: &str, contents: &[u8], mode: u32) -> io::Result<()> {
        let temporary = format!("{name}.{}.tmp", std::process::id());
        staging.remove_file(&temporary)?;
        let mut file = staging.create_file(&temporary, mode)?;
        let written = file.write_all(contents).and_then(|()| file.sync_all());
        let replaced = written.and_then(|()| staging.rename(&temporary, self, name));
        if replaced.is_err() {
            // On a full disk even an empty file takes space. If removal fails, the next sweep removes it.
            let _ = staging.remove_file(&temporary);
        }
        replaced
    }

    /// Flushes the directory, so that its names survive a power cut. See [`durable::sync_directory`].
    ///
    /// # Errors
    /// When it cannot be flushed.
    pub fn sync(&self) -> io::Result<()> {
        durable::sync_directory(&self.to_file()?)
    }
}

impl AsFd for OpenDir {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// The file type in a status.
pub fn kind(status: &FileStat) -> SFlag {
    SFlag::from_bits_truncate(status.st_mode) & SFlag::S_IFMT
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{PermissionsExt, symlink};

    use nix::unistd::mkfifo;

    use super::*;

    #[test]
    fn no_link_is_followed_and_nobody_waited_for() {
        let root = tempfile::tempdir().unwrap();
        let path = |name: &str| root.path().join(name);
        fs::create_dir_all(path("outside/below")).unwrap();
        fs::write(path("outside/below/file"), "precious").unwrap();
        fs::create_dir(path("place")).unwrap();
        symlink(path("outside"), path("place/directory")).unwrap();
        symlink(path("outside/below/file"), path("place/file")).unwrap();
        mkfifo(&path("place/fifo"), Mode::S_IRWXU).unwrap();
        let place = OpenDir::open(&path("place")).unwrap();
        assert!(place.dir("directory").is_err() && place.dir("fifo").is_err());
        assert!(place.open_file("file").is_err() && place.open_file("fifo").is_err());
        assert!(place.create_file("file", 0o600).is_err() && place.make_private("directory", 0o700).is_err());
        assert!(!place.holds_dir("directory") && place.holds("directory"));
        // The link itself is replaced, not its target.
        place.replace_file(&place, "file", b"ours", 0o600).unwrap();
        assert_eq!(fs::read(path("place/file")).unwrap(), b"ours");
        assert_eq!(fs::read(path("outside/below/file")).unwrap(), b"precious");
    }

    #[test]
    fn it_stays_the_same_directory_whatever_takes_its_name() {
        let root = tempfile::tempdir().unwrap();
        let path = |name: &str| root.path().join(name);
        for name in ["outside", "place"] {
            fs::create_dir(path(name)).unwrap();
        }
        let place = OpenDir::open(&path("place")).unwrap();
        let made = place.make_private("made", 0o711).unwrap();
        assert_eq!(fs::metadata(path("place/made")).unwrap().permissions().mode() & 0o7777, 0o711);
        assert_eq!(made.names().unwrap(), [""; 0]);
        fs::rename(path("place"), path("moved")).unwrap();
        symlink(path("outside"), path("place")).unwrap();
        place.create_file("file", 0o600).unwrap();
        made.create_file("file", 0o600).unwrap();
        made.rename("file", &place, "other").unwrap();
        place.link("other", &made, "third").unwrap();
        assert_eq!(fs::read_dir(path("outside")).unwrap().count(), 0);
        assert_eq!(fs::read_dir(path("moved")).unwrap().count(), 3);
        place.clear().unwrap();
        assert_eq!(fs::read_dir(path("moved")).unwrap().count(), 0);
    }
}
