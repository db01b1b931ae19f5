//! The time limit of a run. At its end all programs are stopped as by a stop signal, and killed if they go on.
//! Recording and notifying that then has some time of its own.

use nix::sys::signal::Signal;

use super::runner::Runner;

impl Runner {
    /// Stops all programs and starts no more, as the time is over for the reason `why`.
    pub fn run_out(&self, why: String) {
        let mut state = self.stop.lock();
        state.is_over = true;
        state.overrun.get_or_insert(why);
        self.stop.end(&state);
    }

    /// Kills the programs that still run, also those that ignore a stop signal.
    pub fn kill_running(&self) {
        let state = self.stop.lock();
        for child in state.running.iter().chain(&state.unstoppable) {
            child.signal(Signal::SIGKILL);
        }
    }

    /// Why the time was over, if it was.
    pub fn overrun(&self) -> Option<String> {
        self.stop.lock().overrun.clone()
    }

    /// Whether the time is over, so that programs must end.
    pub fn is_over(&self) -> bool {
        self.stop.lock().is_over
    }

    /// Lets programs be started again, to record and notify that the time was over.
    pub fn go_on(&self) {
        self.stop.lock().is_over = false;
    }

    /// Whether a stop signal has come.
    pub fn has_signal(&self) -> bool {
        self.stop.lock().has_signal()
    }
}
