//! The signals that ask a process to stop, received by waiting for them instead of by a handler.

use nix::sys::signal::{SigSet, Signal};

/// The stop signals, blocked in the calling thread and in every thread that it starts later.
///
/// A blocked signal stays pending until [`Signals::wait`] takes it, so no code ever runs inside a
/// signal handler. Children are not affected: `std::process::Command` gives them an empty mask.
#[derive(Debug, Clone, Copy)]
pub struct Signals(SigSet);

impl Signals {
    /// Blocks TERM, INT, HUP and QUIT. Call it first in `main`, before any thread is started.
    ///
    /// # Errors
    /// When the kernel refuses the mask, which it does not for these signals.
    pub fn block() -> nix::Result<Self> {
        let set: SigSet =
            [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP, Signal::SIGQUIT].into_iter().collect();
        set.thread_block()?;
        Ok(Self(set))
    }

    /// Waits for the next of the signals and takes it.
    pub fn wait(&self) -> Signal {
        loop {
            if let Ok(signal) = self.0.wait() {
                return signal;
            }
        }
    }
}
