//! Child processes: how they are started and waited for, what they print, and the signals that stop us.

mod activity;
mod error;
mod group;
mod limit;
mod lines;
mod passing;
mod program;
mod reaper;
mod redacted;
mod runner;
mod signals;
mod usage;

pub use activity::{Activity, Doing, Probe};
pub use error::{Interrupted, ProgramError};
pub use group::{Ended, GRACE};
pub use lines::{Listener, Tail, for_each_line, for_each_line_within};
pub use program::{Output, Program};
pub use reaper::{Child, Exit, Reaper, Signaller};
pub use redacted::Redacted;
pub use runner::Runner;
#[cfg(test)]
pub(crate) use runner::test_runner;
pub use signals::Signals;
pub use usage::bytes_read;

/// Keeps other processes of the same user, such as the server of a restore proof, from reading the secrets in this
/// process's environment and memory (prctl(2), `PR_SET_DUMPABLE`).
pub fn keep_private() {
    // An error changes nothing and is ignored.
    let _ = nix::sys::prctl::set_dumpable(false);
}
