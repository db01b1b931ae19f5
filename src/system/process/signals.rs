//! The signals that ask a process to stop, received by waiting for them.

use std::io;
use std::os::raw::c_int;

use nix::sys::signal::{SigSet, Signal};
use signal_hook::iterator;

/// The stop signals, caught from now on.
///
/// They are caught and not blocked: `std::process::Command` hands the signal mask down, and a
/// pg_dump or psql with TERM blocked cannot be stopped. A handler does not survive `exec`.
#[derive(Debug)]
pub struct Signals(iterator::Signals);

/// Which they are.
pub(super) const STOP: [Signal; 4] = [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP, Signal::SIGQUIT];

impl Signals {
    /// Catches TERM, INT, HUP and QUIT, even where whoever started us has blocked them. Call it first in
    /// `main`, before any thread is started.
    ///
    /// # Errors
    /// When the handlers cannot be installed.
    pub fn catch() -> io::Result<Self> {
        let signals = iterator::Signals::new(STOP.map(|signal| signal as c_int))?;
        STOP.into_iter().collect::<SigSet>().thread_unblock()?;
        Ok(Self(signals))
    }

    /// Waits for the next of the signals and takes it.
    pub fn wait(&mut self) -> Signal {
        loop {
            let next = self.0.forever().next().and_then(|number| Signal::try_from(number).ok());
            if let Some(signal) = next {
                return signal;
            }
        }
    }
}
