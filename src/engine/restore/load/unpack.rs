//! Unpacks a directory dump from a tar archive, as pg_restore must seek in it.

use std::io;

use tar::{Archive, EntryType};

use crate::engine::content::{DecryptionContext, inspect_directory};
use crate::engine::restore::error::RestoreError;
use crate::engine::restore::source::Checked;
use crate::system::progress::Progress;
use crate::util::open_dir::OpenDir;

/// An unpacked directory with mode 0700. It is removed when dropped.
#[derive(Debug)]
pub struct UnpackedDirectory {
    place: OpenDir,
    name: String,
    directory: OpenDir,
}

impl UnpackedDirectory {
    /// Unpacks a backup beneath `workplace`, and has pg_restore read all of it.
    ///
    /// # Errors
    /// When it cannot be unpacked or read, or a stop signal comes.
    pub fn of(
        backup: &Checked,
        decryption: &DecryptionContext,
        workplace: &OpenDir,
    ) -> Result<Self, RestoreError> {
        let name = format!("unpacked.{}", std::process::id());
        let label = || backup.label().to_owned();
        let made = workplace.make_private(&name, 0o700);
        let directory = made.map_err(|error| RestoreError::Unpack(label(), error))?;
        let unpacked = Self { place: workplace.clone(), name, directory };
        let size = backup.check_result.bytes;
        // All bytes are written once and read once.
        let progress = Progress::start(format!("unpacking {}", label()), Some(2 * size));
        backup.load(decryption, |dump| {
            unpack(Archive::new(progress.reader(dump)), &unpacked.directory)
                .map_err(|error| RestoreError::Unpack(label(), error))
        })?;
        inspect_directory(&unpacked.directory, size, &decryption.runner, &progress)
            .map_err(|error| RestoreError::Content(label(), error))?;
        Ok(unpacked)
    }

    /// The directory.
    pub fn directory(&self) -> &OpenDir {
        &self.directory
    }
}

impl Drop for UnpackedDirectory {
    fn drop(&mut self) {
        // By descriptor, so that the files are removed even if the directory was moved.
        let removed = self.directory.clear().and_then(|()| self.place.remove_all(&self.name));
        if let Err(error) = removed {
            log::warn!("cannot remove {} now; the next run does: {error}", self.directory.path().display());
        }
    }
}

/// Unpacks the files. Only the last component of their paths is used: a directory dump has no subdirectories, and
/// nothing can be written outside `directory`.
fn unpack<R: io::Read>(mut archive: Archive<R>, directory: &OpenDir) -> io::Result<()> {
    for member in archive.entries()? {
        let mut member = member?;
        match member.header().entry_type() {
            EntryType::Regular => {}
            EntryType::Directory => continue,
            _ => {
                return Err(io::Error::new(
                    io::ErrorKind::InvalidData,
                    "it contains something other than files",
                ));
            }
        }
        let path = member.path()?.into_owned();
        let name = path.file_name().ok_or(io::ErrorKind::InvalidData)?;
        io::copy(&mut member, &mut directory.create_file(name, 0o600)?)?;
    }
    // Reads the rest of the archive, which its checksum includes.
    io::copy(&mut archive.into_inner(), &mut io::sink()).map(drop)
}
