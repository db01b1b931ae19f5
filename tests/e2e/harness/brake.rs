//! A backup that is held up by its own hook, for as long as a test likes.

use std::fs;
use std::path::PathBuf;

use super::store::Store;
use super::wait::{SOON, wait_until};

/// A pre-backup hook that waits until somebody opens its pipe.
pub struct Brake {
    pipe: PathBuf,
    arrivals: PathBuf,
}

impl Brake {
    /// Puts the hook in place.
    pub fn new(store: &Store) -> Self {
        let (pipe, arrivals) = (store.root().join("brake"), store.root().join("arrivals"));
        nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).expect("make a pipe");
        let hook = format!(
            "#!/bin/sh\n[ \"$1\" = pre-backup ] || exit 0\necho >>'{}'\nexec cat '{}'\n",
            arrivals.display(),
            pipe.display()
        );
        store.hook("brake", &hook);
        Self { pipe, arrivals }
    }

    /// How many runs have come to it so far.
    pub fn arrivals(&self) -> usize {
        fs::read(&self.arrivals).unwrap_or_default().len()
    }

    /// Waits until the run of this number, from 1, has come to it.
    #[track_caller]
    pub fn holds(&self, number: usize) {
        wait_until(&format!("run {number} to come to the brake"), SOON, || self.arrivals() >= number);
    }

    /// Lets the run that waits go on.
    pub fn release(&self) {
        drop(fs::File::options().write(true).open(&self.pipe).expect("open the pipe"));
    }
}
