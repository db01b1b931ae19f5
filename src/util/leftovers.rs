//! Temporary directories whose owning process may be killed. The owner holds a lock on the directory, so that a later
//! process can tell leftovers from directories in use. A process id would not do: another container may share the same
//! temporary files.

use std::fs::{File, Metadata, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use tempfile::TempDir;

use crate::util::flock;
use crate::util::open_dir::OpenDir;

/// A locked directory, removed on drop.
#[derive(Debug)]
pub struct Held {
    directory: TempDir,
    lock: File,
}

impl Held {
    /// Creates one in `place` with permissions `mode` and a name that starts with `prefix`.
    ///
    /// # Errors
    /// When it cannot be created or locked.
    pub fn make(place: &Path, prefix: &str, mode: u32) -> io::Result<Self> {
        let mut made = tempfile::Builder::new();
        made.prefix(prefix).permissions(Permissions::from_mode(mode));
        loop {
            let directory = made.tempdir_in(place)?;
            // A concurrent sweep may remove it before it is locked.
            let lock = match File::open(directory.path()) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                opened => opened?,
            };
            if flock::lock_new(directory.path(), &lock)? {
                return Ok(Self { directory, lock });
            }
        }
    }

    /// Path of the directory.
    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    /// The directory as an opened file, as it was created.
    pub fn as_file(&self) -> &File {
        &self.lock
    }
}

/// Removes unlocked directories in `place` that start with `prefix` and satisfy `is_ours`. Failures are ignored.
pub fn sweep(place: &Path, prefix: &str, is_ours: impl Fn(&Metadata) -> bool) {
    let Ok(place) = OpenDir::open(place) else { return };
    for name in place.names().unwrap_or_default() {
        if !name.to_str().is_some_and(|name| name.starts_with(prefix)) {
            continue;
        }
        // Symbolic links are not followed: their target may belong to anyone.
        let Ok(opened) = place.dir(&name).and_then(|found| found.to_file()) else { continue };
        // The lock is held until the directory is removed.
        if opened.metadata().is_ok_and(|found| is_ours(&found)) && opened.try_lock().is_ok() {
            let _ = place.remove_all(&name);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn whoever_sweeps_meanwhile_one_is_made_and_stays() {
        let place = tempfile::tempdir().unwrap();
        let is_over = std::sync::atomic::AtomicBool::new(false);
        let over = || is_over.load(std::sync::atomic::Ordering::Relaxed);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !over() {
                    sweep(place.path(), "ours-", |_| true);
                }
            });
            for _ in 0..2000 {
                let held = Held::make(place.path(), "ours-", 0o700).unwrap();
                assert!(held.path().exists());
            }
            is_over.store(true, std::sync::atomic::Ordering::Relaxed);
        });
    }

    #[test]
    fn what_nobody_holds_is_swept_and_nothing_else() {
        let place = tempfile::tempdir().unwrap();
        let path = |name: &str| place.path().join(name);
        let held = Held::make(place.path(), "ours-", 0o711).unwrap();
        assert_eq!(held.path().metadata().unwrap().permissions().mode() & 0o777, 0o711);
        for name in ["ours-left", "ours-5000000-x", "other-left"] {
            fs::create_dir(path(name)).unwrap();
            fs::write(path(name).join("file"), "").unwrap();
        }
        symlink(path("other-left"), path("ours-link")).unwrap();
        fs::write(path("ours-file"), "").unwrap();
        sweep(place.path(), "ours-", |_| false);
        assert!(path("ours-left").exists(), "of another user");
        sweep(place.path(), "ours-", |_| true);
        let left = || -> BTreeSet<_> {
            fs::read_dir(place.path()).unwrap().map(|it| it.unwrap().file_name()).collect()
        };
        let name = held.path().file_name().unwrap().to_owned();
        let others = ["other-left", "ours-link", "ours-file"].map(Into::into);
        assert_eq!(left(), BTreeSet::from_iter(others.clone().into_iter().chain([name])));
        assert!(path("other-left").join("file").exists());
        drop(held);
        assert_eq!(left(), BTreeSet::from(others));
    }
}
