//! Hard links to the files of a directory dump in a private directory. pg_restore opens files by name, and others may
//! be able to replace files in the original directory.

use std::io;

use nix::errno::Errno;

use crate::engine::restore::error::RestoreError;
use crate::engine::restore::source::Checked;
use crate::util::durable;
use crate::util::open_dir::OpenDir;

/// The directory with the links. It is removed when dropped; the dump stays.
#[derive(Debug)]
pub struct LinkedDirectory {
    place: OpenDir,
    name: String,
    directory: OpenDir,
}

impl LinkedDirectory {
    /// Links the files of a directory dump beneath `workplace`. `None` if that is another file system, or hard links
    /// are not supported or not permitted.
    ///
    /// # Errors
    /// When the linked files are not those that were checked, or another error occurs.
    pub fn of(backup: &Checked, workplace: &OpenDir) -> Result<Option<Self>, RestoreError> {
        match Self::link(&backup.directory()?, workplace) {
            Ok(linked) => linked.check(backup).map(|()| Some(linked)),
            Err(error) if cannot_be_linked(&error) => {
                log::debug!("{} is read in place, as its files cannot be linked: {error}", backup.label());
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

    /// Checks that the files are those that were checked, without later writes.
    ///
    /// # Errors
    /// When they are not.
    pub fn check(&self, backup: &Checked) -> Result<(), RestoreError> {
        backup.check_as(&self.directory)
    }

    /// The directory.
    pub fn directory(&self) -> &OpenDir {
        &self.directory
    }
}

/// Whether the cause is the file system, its permissions or its space, as opposed to interference by others.
fn cannot_be_linked(error: &io::Error) -> bool {
    let errno = error.raw_os_error().map(Errno::from_raw);
    durable::is_unwritable(error) || matches!(errno, Some(Errno::EXDEV | Errno::EOPNOTSUPP | Errno::ENOSYS))
}

impl Drop for LinkedDirectory {
    fn drop(&mut self) {
        let removed = self.directory.clear().and_then(|()| self.place.remove_all(&self.name));
        if let Err(error) = removed {
            log::warn!("cannot remove {} now; the next run does: {error}", self.directory.path().display());
        }
    }
}
