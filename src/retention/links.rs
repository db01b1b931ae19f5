//! The space that removing names frees: a file's bytes come back with the last of its names.

use std::collections::HashMap;
use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// Counts the names of files that are, or will be, removed.
#[derive(Debug, Default)]
pub struct Links {
    /// By device and inode.
    removed: HashMap<(u64, u64), u64>,
}

impl Links {
    /// Counts the removal of a name, with all that is in it if it is a directory. Answers the bytes of the
    /// files that have no name left then; the length of a file counts, as it does in a listing. What is not
    /// there frees nothing, nor does a symlink.
    ///
    /// # Errors
    /// When something that is there cannot be looked at.
    pub fn remove(&mut self, path: &Path) -> io::Result<u64> {
        let metadata = match fs::symlink_metadata(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
            metadata => metadata?,
        };
        if metadata.is_dir() {
            let mut freed = 0;
            for entry in fs::read_dir(path)? {
                freed += self.remove(&entry?.path())?;
            }
            return Ok(freed);
        }
        Ok(if metadata.is_file() { self.unlink(&metadata) } else { 0 })
    }

    fn unlink(&mut self, file: &Metadata) -> u64 {
        let removed = self.removed.entry((file.dev(), file.ino())).or_default();
        *removed += 1;
        if *removed == file.nlink() { file.len() } else { 0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
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
            .map(|name| links.remove(&path(name)).unwrap());
        assert_eq!(freed, [0, 0, 0, 7, 5, 3]);
    }

    #[test]
    fn a_name_elsewhere_keeps_a_file() {
        let root = tempfile::tempdir().unwrap();
        let path = |name: &str| root.path().join(name);
        fs::write(path("one"), "12345").unwrap();
        fs::hard_link(path("one"), path("elsewhere")).unwrap();
        assert_eq!(Links::default().remove(&path("one")).unwrap(), 0);
    }
}
