//! The home of a gpg of ours: its own, so that nobody's configuration counts and nothing of ours stays in anybody's.

use std::env;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use nix::unistd::Uid;

use crate::util::leftovers::{self, Held};

/// What the names of these directories begin with.
const PREFIX: &str = "backupgram-gpg-";

/// A directory that only we may enter; dropped, it is gone.
#[derive(Debug)]
pub struct Home(Held);

impl Home {
    /// Makes one, and clears away those that killed programs left. There is no secret in them.
    ///
    /// # Errors
    /// When it cannot be made, told with the place.
    pub fn make() -> io::Result<Self> {
        let place = env::temp_dir();
        leftovers::sweep(&place, PREFIX, |found| found.uid() == Uid::effective().as_raw());
        Held::make(&place, PREFIX, 0o700).map(Self).map_err(|error| {
            let what = format!("make a directory in {}: {error}", place.display());
            io::Error::new(error.kind(), what)
        })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        self.0.path()
    }
}
