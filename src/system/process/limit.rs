//! The time that a run has. When there is none left, what runs is ended as by a stop signal, and killed if it does not listen;
//! what is still to be told of the run has some time of its own.

use nix::sys::signal::Signal;

use super::runner::Runner;

impl Runner {
    /// Ends everything that runs, and starts nothing more: there is no time left, for the reason `why`.
    pub fn run_out(&self, why: String) {
        let mut state = self.stop.lock();
        state.is_over = true;
        state.overrun.get_or_insert(why);
        self.stop.end(&state);
    }

    /// Kills what was asked to end and has not, and what a stop signal does not end.
    pub fn kill_running(&self) {
        let state = self.stop.lock();
        for child in state.running.iter().chain(&state.unstoppable) {
            child.signal(Signal::SIGKILL);
        }
    }

    /// Why there was no time left, if there was not.
    pub fn overrun(&self) -> Option<String> {
        self.stop.lock().overrun.clone()
    }

    /// Whether it is over for want of time, so that what runs must end.
    pub fn is_over(&self) -> bool {
        self.stop.lock().is_over
    }

    /// Gives a run that had no time left the time to say so.
    pub fn go_on(&self) {
        self.stop.lock().is_over = false;
    }

    /// Whether a stop signal has come.
    pub fn has_signal(&self) -> bool {
        self.stop.lock().has_signal()
    }
}
