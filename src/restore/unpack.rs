//! A dump in directory format that comes in a tar archive, unpacked for pg_restore, which must go to and fro
//! in it.

use std::fs::{DirBuilder, File};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use tar::{Archive, EntryType};

use super::RestoreError;
use super::checked::Checked;
use crate::content::{Keys, inspect_directory};
use crate::durable;
use crate::progress::Progress;

/// An unpacked directory that only we can read; dropped, it is gone.
#[derive(Debug)]
pub struct UnpackedDirectory {
    path: PathBuf,
}

impl UnpackedDirectory {
    /// Unpacks a backup beneath `workplace`, and has pg_restore read all of it.
    ///
    /// # Errors
    /// When it cannot be unpacked or read, or a stop signal comes.
    pub fn of(backup: &Checked, keys: &Keys, workplace: &Path) -> Result<Self, RestoreError> {
        let path = workplace.join(format!("unpacked.{}", std::process::id()));
        let label = || backup.label().to_owned();
        let made = DirBuilder::new().mode(0o700).create(&path);
        let unpacked = Self { path };
        made.map_err(|error| RestoreError::Unpack(label(), error))?;
        let size = backup.findings.bytes;
        // First all of it is unpacked, and then read.
        let progress = Progress::start(format!("unpacking {}", label()), Some(2 * size));
        backup.load(keys, |dump| {
            unpack(Archive::new(progress.reader(dump)), &unpacked.path)
                .map_err(|error| RestoreError::Unpack(label(), error))
        })?;
        inspect_directory(&unpacked.path, size, &keys.runner, &progress)
            .map_err(|error| RestoreError::Content(label(), error))?;
        Ok(unpacked)
    }

    /// Where it lies.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for UnpackedDirectory {
    fn drop(&mut self) {
        if let Err(error) = durable::remove_all_if_there(&self.path) {
            log::warn!("{} stays until the next run: {error}", self.path.display());
        }
    }
}

/// Unpacks the files; a directory dump has none in further directories, so only the ends of their names count
/// and nothing can lead out of `directory`.
fn unpack<R: io::Read>(mut archive: Archive<R>, directory: &Path) -> io::Result<()> {
    for member in archive.entries()? {
        let mut member = member?;
        match member.header().entry_type() {
            EntryType::Regular => {}
            EntryType::Directory => continue,
            _ => {
                return Err(io::Error::new(io::ErrorKind::InvalidData, "it holds something else than files"));
            }
        }
        let path = member.path()?.into_owned();
        let name = path.file_name().ok_or(io::ErrorKind::InvalidData)?;
        let file = File::options().write(true).create_new(true).mode(0o600).open(directory.join(name));
        io::copy(&mut member, &mut file?)?;
    }
    // What comes after the end is of the archive all the same.
    io::copy(&mut archive.into_inner(), &mut io::sink()).map(drop)
}
