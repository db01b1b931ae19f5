//! Removes directory trees. Links are not followed, and no depth of tree exhausts the open files.

use std::ffi::OsStr;
use std::io;

use nix::errno::Errno;
use nix::fcntl::renameat;
use nix::unistd::{UnlinkatFlags, unlinkat};

use super::OpenDir;

/// Depth of directories held open at once. Deeper ones are first moved up.
const DEEPEST: u32 = 32;

impl OpenDir {
    /// Removes a file or a directory tree, if it exists.
    ///
    /// # Errors
    /// When it exists and cannot be removed.
    pub fn remove_all(&self, name: impl AsRef<OsStr>) -> io::Result<()> {
        let name = name.as_ref();
        match self.dir(name) {
            Ok(directory) => {
                directory.clear()?;
                match unlinkat(self, name, UnlinkatFlags::RemoveDir) {
                    Ok(()) | Err(Errno::ENOENT) => Ok(()),
                    Err(error) => Err(error.into()),
                }
            }
            Err(error) => match error.raw_os_error().map(Errno::from_raw) {
                Some(Errno::ENOTDIR | Errno::ELOOP) => self.remove_file(name).map(drop),
                Some(Errno::ENOENT) => Ok(()),
                _ => Err(error),
            },
        }
    }

    /// Removes everything in the directory.
    ///
    /// # Errors
    /// When something cannot be removed.
    pub fn clear(&self) -> io::Result<()> {
        let mut moved = 0;
        while !self.names()?.is_empty() {
            let before = moved;
            self.clear_below(self, 0, &mut moved)?;
            if moved == before {
                break;
            }
        }
        Ok(())
    }

    /// Empties a directory `depth` below `top`. Directories that are too deep are moved to `top`.
    fn clear_below(&self, top: &Self, depth: u32, moved: &mut u64) -> io::Result<()> {
        for name in self.names()? {
            match unlinkat(self, name.as_os_str(), UnlinkatFlags::NoRemoveDir) {
                Ok(()) | Err(Errno::ENOENT) => continue,
                // For a directory Linux returns EISDIR, POSIX specifies EPERM.
                Err(Errno::EISDIR | Errno::EPERM) if self.holds_dir(&name) => {}
                Err(error) => return Err(error.into()),
            }
            if depth == DEEPEST {
                self.move_up(&name, top, moved)?;
                continue;
            }
            match self.dir(&name) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                directory => directory?.clear_below(top, depth + 1, moved)?,
            }
            match unlinkat(self, name.as_os_str(), UnlinkatFlags::RemoveDir) {
                Ok(()) | Err(Errno::ENOENT) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// Moves a directory to an unused name in `top`.
    fn move_up(&self, name: &OsStr, top: &Self, moved: &mut u64) -> io::Result<()> {
        loop {
            *moved += 1;
            match renameat(self, name, top, format!("deep.{moved}").as_str()) {
                Err(Errno::ENOTEMPTY | Errno::EEXIST | Errno::ENOTDIR) => {}
                renamed => return Ok(renamed?),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn what_links_lead_to_stays_and_everything_else_goes() {
        let root = tempfile::tempdir().unwrap();
        let outside = root.path().join("outside");
        fs::create_dir_all(root.path().join("work/doomed/in/it")).unwrap();
        fs::create_dir(&outside).unwrap();
        fs::write(outside.join("precious"), "x").unwrap();
        for link in ["work/link", "work/doomed/link", "work/doomed/in/it/link"] {
            symlink(&outside, root.path().join(link)).unwrap();
        }
        let work = OpenDir::open(&root.path().join("work")).unwrap();
        for name in ["link", "doomed", "missing"] {
            work.remove_all(name).unwrap();
        }
        assert_eq!(work.names().unwrap(), [""; 0]);
        assert!(outside.join("precious").exists());
    }

    #[test]
    fn no_depth_is_too_deep() {
        let root = tempfile::tempdir().unwrap();
        let top = OpenDir::open(root.path()).unwrap();
        // The names used for moving deep directories up may be taken.
        for name in ["deep.1", "deep.2"] {
            fs::create_dir_all(root.path().join(name).join("x")).unwrap();
        }
        top.make_dir("a", 0o755).unwrap();
        let mut deepest = top.dir("a").unwrap();
        for _ in 0..2000 {
            deepest.make_dir("a", 0o755).unwrap();
            deepest = deepest.dir("a").unwrap();
        }
        deepest.create_file("file", 0o644).unwrap();
        drop(deepest);
        top.remove_all("a").unwrap();
        top.clear().unwrap();
        assert_eq!(top.names().unwrap(), [""; 0]);
    }
}
