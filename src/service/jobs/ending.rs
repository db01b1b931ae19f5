//! Ends the process of a job that is cancelled.

use std::thread;
use std::time::Duration;

use nix::sys::signal::Signal;

use crate::system::process::Signaller;

/// The time that a cancelled job has after TERM before it is killed. The record of its failure then has as long again.
pub(super) const CANCEL_GRACE: Duration = Duration::from_secs(10);
/// The same when the daemon stops, which has eight seconds for all of it.
pub(super) const STOP_GRACE: Duration = Duration::from_secs(6);

/// Asks it to end, and kills it when it has not done so in time.
pub(super) fn terminate(signaller: Signaller, grace: Duration) {
    signaller.signal(Signal::SIGTERM);
    kill_after(grace, signaller);
}

/// Kills it after the grace period.
pub(super) fn kill_after(grace: Duration, signaller: Signaller) {
    let kill = move || {
        thread::sleep(grace);
        // Does nothing if the job has ended, even if its pid was reused.
        signaller.signal(Signal::SIGKILL);
    };
    if let Err(error) = thread::Builder::new().name("cancel".into()).spawn(kill) {
        log::error!("cannot start the thread that would kill the cancelled job: {error}");
    }
}
