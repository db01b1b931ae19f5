//! The home of a gpg of ours: its own, so that nobody's configuration counts and nothing of ours stays in anybody's.

use std::env;
use std::fs::Permissions;
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use nix::unistd::Uid;
use tempfile::TempDir;

use crate::leftovers;

/// What the names of these directories begin with, before the process id of whoever made them.
const PREFIX: &str = "backupgram-gpg-";

/// A directory that only we may enter; dropped, it is gone.
#[derive(Debug)]
pub struct Home(TempDir);

impl Home {
    /// Makes one, and clears away those that killed programs left.
    ///
    /// # Errors
    /// When it cannot be made, told with the place.
    pub fn make() -> io::Result<Self> {
        let place = env::temp_dir();
        sweep(&place);
        let mut home = tempfile::Builder::new();
        let prefix = format!("{PREFIX}{}-", std::process::id());
        home.prefix(&prefix).permissions(Permissions::from_mode(0o700));
        home.tempdir_in(&place).map(Self).map_err(|error| {
            let what = format!("make a directory in {}: {error}", place.display());
            io::Error::new(error.kind(), what)
        })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        self.0.path()
    }
}

/// Removes the homes in `place` that are our user's and whose makers are gone. What cannot be removed stays: there is
/// no secret in it.
fn sweep(place: &Path) {
    leftovers::sweep(place, PREFIX, |found| found.uid() == Uid::effective().as_raw());
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn homes_of_the_dead_are_swept_and_nothing_else() {
        let place = tempfile::tempdir().unwrap();
        let path = |name: &str| place.path().join(name);
        // No process has such a number: the largest is 4194304.
        let (dead, living) = (format!("{PREFIX}5000000-x"), format!("{PREFIX}{}-x", std::process::id()));
        let kept = [&living, "backupgram-gpg-x5000000-x", "backupgram-gpg-5000000", "other-gpg-5000000-x"];
        for name in kept.iter().copied().chain([dead.as_str()]) {
            fs::create_dir(path(name)).unwrap();
            fs::write(path(name).join("pubring.kbx"), "").unwrap();
        }
        let link = format!("{PREFIX}5000000-link");
        symlink(path("other-gpg-5000000-x"), path(&link)).unwrap();
        sweep(place.path());
        let left: BTreeSet<_> =
            fs::read_dir(place.path()).unwrap().map(|it| it.unwrap().file_name()).collect();
        let expected = kept.iter().copied().chain([link.as_str()]).map(Into::into).collect();
        assert_eq!(left, expected);
        assert!(path("other-gpg-5000000-x").join("pubring.kbx").exists());
    }
}
