//! The files of a directory dump as hard links in a directory of our own: pg_restore opens them by their names, and where
//! the dump lies somebody else may put links to other files in their place.

use std::io;

use nix::errno::Errno;

use crate::engine::restore::error::RestoreError;
use crate::engine::restore::source::Checked;
use crate::util::durable;
use crate::util::open_dir::OpenDir;

/// Such a directory; dropped, it is gone, and the dump is as it was.
#[derive(Debug)]
pub struct LinkedDirectory {
    place: OpenDir,
    name: String,
    directory: OpenDir,
}

impl LinkedDirectory {
    /// Links the files of a directory dump beneath `workplace`. `None` where that is on another file system, or it has no
    /// hard links, or not for us.
    ///
    /// # Errors
    /// When they are not the files that were checked, or somebody interferes.
    pub fn of(backup: &Checked, workplace: &OpenDir) -> Result<Option<Self>, RestoreError> {
        match Self::link(&backup.directory()?, workplace) {
            Ok(linked) => linked.check(backup).map(|()| Some(linked)),
            Err(error) if cannot_be_linked(&error) => {
                log::debug!("{} is read where it lies: its files cannot be linked: {error}", backup.label());
                Ok(None)
            }
            Err(error) => Err(RestoreError::Open(backup.label().to_owned(), error)),
        }
    }

    fn link(dump: &OpenDir, workplace: &OpenDir) -> io::Result<Self> {
        let name = format!("linked.{}", std::process::id());
        let directory = workplace.make_private(&name, 0o700)?;
        let linked = Self { place: workplace.clone(), name, directory };
        dump.names()?.iter().try_for_each(|name| dump.link(name, &linked.directory, name)).map(|()| linked)
    }

    /// Sees that it holds what was checked, and that nobody has written to it since.
    ///
    /// # Errors
    /// When it does not.
    pub fn check(&self, backup: &Checked) -> Result<(), RestoreError> {
        backup.check_as(&self.directory)
    }

    /// It, opened.
    pub fn directory(&self) -> &OpenDir {
        &self.directory
    }
}

/// Whether that is for the file systems, their owners or want of room, and not for what somebody does meanwhile.
fn cannot_be_linked(error: &io::Error) -> bool {
    let errno = error.raw_os_error().map(Errno::from_raw);
    durable::is_unwritable(error) || matches!(errno, Some(Errno::EXDEV | Errno::EOPNOTSUPP | Errno::ENOSYS))
}

impl Drop for LinkedDirectory {
    fn drop(&mut self) {
        let removed = self.directory.clear().and_then(|()| self.place.remove_all(&self.name));
        if let Err(error) = removed {
            log::warn!("{} stays until the next run: {error}", self.directory.path().display());
        }
    }
}
