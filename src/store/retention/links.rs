//! Computes the space freed by removals: a file's bytes are freed with its last hard link.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::io;

use nix::sys::stat::{FileStat, SFlag};

use crate::util::open_dir::{OpenDir, kind};

/// Counts removed hard links per file.
#[derive(Debug, Default)]
pub struct Links {
    /// Number of removed links by device and inode.
    removed: HashMap<(u64, u64), u64>,
}

impl Links {
    /// Counts the removal of a file, or of all files in a directory. Returns the size of the files that have no link
    /// left; the apparent size counts, as in listings. Missing names and symbolic links free nothing.
    ///
    /// # Errors
    /// When an existing file's status cannot be read.
    pub(crate) fn remove(&mut self, place: &OpenDir, name: impl AsRef<OsStr>) -> io::Result<u64> {
        let name = name.as_ref();
        let status = match place.status(name) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
            status => status?,
        };
        match kind(&status) {
            SFlag::S_IFDIR => {
                let (directory, mut freed) = (place.dir(name)?, 0);
                for name in directory.names()? {
                    freed += self.remove(&directory, name)?;
                }
                Ok(freed)
            }
            SFlag::S_IFREG => Ok(self.unlink(&status)),
            _ => Ok(0),
        }
    }

    fn unlink(&mut self, file: &FileStat) -> u64 {
        let removed = self.removed.entry((file.st_dev, file.st_ino)).or_default();
        *removed += 1;
        if *removed == file.st_nlink { file.st_size.cast_unsigned() } else { 0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;

    #[test]
    fn a_file_is_free_when_its_last_name_is_gone_also_within_directories() {
        let root = tempfile::tempdir().unwrap();
        let path = |name: &str| root.path().join(name);
        fs::write(path("one"), "12345").unwrap();
        fs::hard_link(path("one"), path("two")).unwrap();
        symlink("one", path("pointer")).unwrap();
        for directory in ["dump", "copy"] {
            fs::create_dir(path(directory)).unwrap();
        }
        fs::write(path("dump/toc.dat"), "123").unwrap();
        fs::hard_link(path("dump/toc.dat"), path("copy/toc.dat")).unwrap();
        fs::write(path("dump/own.dat"), "1234567").unwrap();
        let mut links = Links::default();
        let freed = ["pointer", "one", "nothing", "dump", "two", "copy"]
            .map(|name| links.remove(&OpenDir::open(root.path()).unwrap(), name).unwrap());
        assert_eq!(freed, [0, 0, 0, 7, 5, 3]);
    }

    #[test]
    fn a_name_elsewhere_keeps_a_file() {
        let root = tempfile::tempdir().unwrap();
        let path = |name: &str| root.path().join(name);
        fs::write(path("one"), "12345").unwrap();
        fs::hard_link(path("one"), path("elsewhere")).unwrap();
        let place = OpenDir::open(root.path()).unwrap();
        assert_eq!(Links::default().remove(&place, "one").unwrap(), 0);
    }
}
