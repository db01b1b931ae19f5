//! How a job's process is ended that is wanted no more.

use std::thread;
use std::time::Duration;

use nix::sys::signal::Signal;

use crate::system::process::Signaller;

/// How long a cancelled job may take to end before it is killed, and then as long again for the record of that.
pub(super) const CANCEL_GRACE: Duration = Duration::from_secs(10);
/// The same when the daemon stops, which has eight seconds for all of it.
pub(super) const STOP_GRACE: Duration = Duration::from_secs(6);

/// Asks it to end, and kills it when it has not done so in time.
pub(super) fn terminate(signaller: Signaller, grace: Duration) {
    signaller.signal(Signal::SIGTERM);
    kill_after(grace, signaller);
}

/// Kills it then.
pub(super) fn kill_after(grace: Duration, signaller: Signaller) {
    let kill = move || {
        thread::sleep(grace);
        // Goes nowhere when the job has ended, even if its pid is somebody else's by now.
        signaller.signal(Signal::SIGKILL);
    };
    if let Err(error) = thread::Builder::new().name("cancel".into()).spawn(kill) {
        log::error!("cannot start the thread that would kill the cancelled job: {error}");
    }
}
