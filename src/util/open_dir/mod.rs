//! A directory that is held open. A name is looked up relative to it and never followed when it is a link, so that
//! whoever can write to the volume cannot have us work elsewhere by putting a link, or another directory, in its place.

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
/// The file that a directory is told by to be ours.
const OWN: &str = ".own";

/// An opened directory; clones are of the same.
#[derive(Debug, Clone)]
pub struct OpenDir {
    fd: Arc<OwnedFd>,
    /// Where it lay when it was opened, for messages.
    path: PathBuf,
}

impl OpenDir {
    /// Opens the directory at a path, which links may be on the way to.
    ///
    /// # Errors
    /// When it is not there or is none.
    pub fn open(path: &Path) -> io::Result<Self> {
        let fd = open(path, DIRECTORY, Mode::empty())?;
        Ok(Self { fd: Arc::new(fd), path: path.to_path_buf() })
    }

    /// Opens a directory in it.
    ///
    /// # Errors
    /// When it is not there or is none, as a link to one.
    pub fn dir(&self, name: impl AsRef<OsStr>) -> io::Result<Self> {
        let name = name.as_ref();
        let fd = openat(&self.fd, name, DIRECTORY | OFlag::O_NOFOLLOW, Mode::empty())?;
        Ok(Self { fd: Arc::new(fd), path: self.path.join(name) })
    }

    /// The same directory from an opened file.
    ///
    /// # Errors
    /// When it is none.
    pub fn of_file(file: impl AsFd, path: &Path) -> io::Result<Self> {
        let fd = openat(file, ".", DIRECTORY, Mode::empty())?;
        Ok(Self { fd: Arc::new(fd), path: path.to_path_buf() })
    }

    /// Where it lay when it was opened. For messages: somebody may have put something else there since.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A path by which a program that we start gets to it, as long as it has not begun: for its current directory.
    pub fn path_of_child(&self) -> PathBuf {
        format!("/proc/self/fd/{}", self.fd.as_raw_fd()).into()
    }

    /// It as an opened file.
    ///
    /// # Errors
    /// When there are too many open files.
    pub fn to_file(&self) -> io::Result<File> {
        Ok(File::from(self.fd.try_clone()?))
    }

    /// Makes a directory in it.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn make_dir(&self, name: impl AsRef<OsStr>, mode: u32) -> io::Result<()> {
        Ok(mkdirat(&self.fd, name.as_ref(), Mode::from_bits_truncate(mode))?)
    }

    /// Makes a directory in it that nobody else writes to, and opens it.
    ///
    /// # Errors
    /// When it cannot be made, or somebody has put another in its place at once.
    pub fn make_private(&self, name: impl AsRef<OsStr>, mode: u32) -> io::Result<Self> {
        let name = name.as_ref();
        self.make_dir(name, mode)?;
        let made = self.dir(name)?;
        // Who owns a file of ours the file system decides: over NFS or SMB it may be somebody else.
        let own = made.create_file(OWN, 0o600)?;
        let (own, directory) = (fstat(&own)?, fstat(&made)?);
        let is_alone = made.names()? == [OWN];
        made.remove_file(OWN)?;
        if own.st_uid != directory.st_uid || !is_alone {
            return Err(io::Error::other(format!("{} was replaced by another program", made.path.display())));
        }
        // Where that is refused, its permissions are what the file system gives.
        let _ = fchmod(&made, Mode::from_bits_truncate(mode));
        Ok(made)
    }

    /// Makes a file in it, for reading and writing. What is there already is left alone.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn create_file(&self, name: impl AsRef<OsStr>, mode: u32) -> io::Result<File> {
        let flags = OFlag::O_RDWR | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        Ok(File::from(openat(&self.fd, name.as_ref(), flags, Mode::from_bits_truncate(mode))?))
    }

    /// Opens a file in it for reading. It waits for nobody.
    ///
    /// # Errors
    /// When it is not there, or is no regular file.
    pub fn open_file(&self, name: impl AsRef<OsStr>) -> io::Result<File> {
        let flags = OFlag::O_RDONLY | OFlag::O_CLOEXEC | durable::CAREFULLY;
        let opened = openat(&self.fd, name.as_ref(), flags, Mode::empty());
        durable::regular(opened.map(File::from).map_err(io::Error::from))
    }

    /// What a name in it is.
    ///
    /// # Errors
    /// When it is not there.
    pub fn status(&self, name: impl AsRef<OsStr>) -> io::Result<FileStat> {
        Ok(fstatat(&self.fd, name.as_ref(), AtFlags::AT_SYMLINK_NOFOLLOW)?)
    }

    /// Whether there is something of that name.
    pub fn holds(&self, name: impl AsRef<OsStr>) -> bool {
        self.status(name).is_ok()
    }

    /// Whether a name is that of a directory.
    pub fn holds_dir(&self, name: impl AsRef<OsStr>) -> bool {
        self.status(name).is_ok_and(|status| kind(&status) == SFlag::S_IFDIR)
    }

    /// The names in it, in no order.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn names(&self) -> io::Result<Vec<OsString>> {
        let mut names = Vec::new();
        // Opened anew, as the place in a directory is shared by all who have one opened file.
        for entry in Dir::from_fd(openat(&self.fd, ".", DIRECTORY, Mode::empty())?)?.iter() {
            let name = entry?.file_name().to_bytes().to_vec();
            if name != b"." && name != b".." {
                names.push(OsString::from_vec(name));
            }
        }
        Ok(names)
    }

    /// Moves a name into another directory, in place of what is there, and flushes that.
    ///
    /// # Errors
    /// When either fails.
    pub fn rename(&self, from: impl AsRef<OsStr>, into: &Self, to: impl AsRef<OsStr>) -> io::Result<()> {
        renameat(&self.fd, from.as_ref(), &into.fd, to.as_ref())?;
        into.sync()
    }

    /// Gives a file a further name in another directory. Of a link it is the link that gets one.
    ///
    /// # Errors
    /// When it cannot be done.
    pub fn link(&self, from: impl AsRef<OsStr>, into: &Self, to: impl AsRef<OsStr>) -> io::Result<()> {
        Ok(linkat(&self.fd, from.as_ref(), &into.fd, to.as_ref(), AtFlags::empty())?)
    }

    /// Removes a name that is not that of a directory; not there is as good as removed. Answers whether it was there.
    ///
    /// # Errors
    /// When it is there and cannot be removed.
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
    /// When it is none.
    pub fn remove_dir(&self, name: impl AsRef<OsStr>) -> io::Result<()> {
        Ok(unlinkat(&self.fd, name.as_ref(), UnlinkatFlags::RemoveDir)?)
    }

    /// Puts a file with these contents in the place of a name, whole or not at all. It is written in `staging`, on the
    /// same file system.
    ///
    /// # Errors
    /// When a step fails; what was there is there still.
    pub fn replace_file(&self, staging: &Self, name: &str, contents: &[u8], mode: u32) -> io::Result<()> {
        let temporary = format!("{name}.{}.tmp", std::process::id());
        staging.remove_file(&temporary)?;
        let mut file = staging.create_file(&temporary, mode)?;
        let written = file.write_all(contents).and_then(|()| file.sync_all());
        let replaced = written.and_then(|()| staging.rename(&temporary, self, name));
        if replaced.is_err() {
            // On a full disk even an empty file takes room. Refused, it goes with the next sweep.
            let _ = staging.remove_file(&temporary);
        }
        replaced
    }

    /// Flushes it, so that names made or removed in it survive a power cut. See [`durable::sync_directory`].
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

/// What a status is of.
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
        // In the place of the link, and not of what it leads to.
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
