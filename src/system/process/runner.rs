//! Starts programs, and passes a stop signal on to those that run.

use std::ffi::OsStr;
use std::io;
use std::process::Command;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use nix::sys::signal::Signal;

use super::activity::Activity;
use super::error::{Interrupted, ProgramError};
use super::lines::Tail;
use super::reaper::{Child, Exit, Reaper, Signaller};
use super::signals::{STOP, Signals};
use crate::util::mutex;

/// How long to wait for a stop signal that has already ended a program to reach us.
const GROUP_SIGNAL: Duration = Duration::from_millis(500);

/// Starts programs, unless a stop signal came; then it passes the signal on to those that run.
#[derive(Debug, Clone)]
pub struct Runner {
    pub(super) reaper: Reaper,
    pub(super) stop: Arc<Stop>,
    activity: Activity,
}

#[derive(Debug, Default)]
pub(super) struct Stop {
    state: Mutex<State>,
    came: Condvar,
}

#[derive(Debug, Default)]
pub(super) struct State {
    signal: Option<Signal>,
    /// Whether there is no time left.
    pub(super) is_over: bool,
    /// Why there was none left when it first ran out.
    pub(super) overrun: Option<String>,
    pub(super) running: Vec<Signaller>,
    /// Those that ignore a stop signal, and are killed only when the run has no time left.
    pub(super) unstoppable: Vec<Signaller>,
}

impl Runner {
    /// A runner that `signals` stop.
    ///
    /// # Errors
    /// When a thread cannot be started.
    pub fn start(mut signals: Signals) -> io::Result<Self> {
        let runner = Self { reaper: Reaper::start()?, stop: Arc::default(), activity: Activity::default() };
        let stop = Arc::clone(&runner.stop);
        std::thread::Builder::new().name("signals".into()).spawn(move || {
            loop {
                stop.request(signals.wait());
            }
        })?;
        Ok(runner)
    }

    /// A runner for work that is done after a stop signal: its programs are stopped after `time`.
    ///
    /// # Errors
    /// When a thread cannot be started.
    pub fn respite(&self, time: Duration) -> io::Result<Self> {
        let (reaper, activity) = (self.reaper.clone(), self.activity.clone());
        let runner = Self { reaper, stop: Arc::default(), activity };
        let stop = Arc::clone(&runner.stop);
        std::thread::Builder::new().name("respite".into()).spawn(move || {
            std::thread::sleep(time);
            stop.request(Signal::SIGTERM);
        })?;
        Ok(runner)
    }

    /// Whether the work may go on.
    ///
    /// # Errors
    /// When a stop signal has come, or the run has no time left.
    pub fn check(&self) -> Result<(), Interrupted> {
        self.stop.lock().stopped_by().map_or(Ok(()), |signal| Err(Interrupted(signal)))
    }

    /// The steps that the run is at, for its note.
    pub fn activity(&self) -> &Activity {
        &self.activity
    }

    /// Sleeps, unless a stop signal comes.
    ///
    /// # Errors
    /// When one has come.
    pub fn sleep(&self, time: Duration) -> Result<(), Interrupted> {
        let state = self.stop.lock();
        let waited = self.stop.came.wait_timeout_while(state, time, |state| state.stopped_by().is_none());
        let (state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        state.stopped_by().map_or(Ok(()), |signal| Err(Interrupted(signal)))
    }

    /// Starts a program that a stop signal will end.
    ///
    /// # Errors
    /// When a stop signal has come, or the program cannot be started.
    pub fn spawn(&self, command: &mut Command) -> Result<Child, ProgramError> {
        // Held over the start, so that no signal falls between it and the registration.
        let mut state = self.stop.lock();
        if let Some(signal) = state.stopped_by() {
            return Err(Interrupted(signal).into());
        }
        let child = self.reaper.spawn(command).map_err(|error| ProgramError::start(command, error))?;
        state.register(child.signaller());
        Ok(child)
    }

    /// Takes a running program from those that a stop signal ends.
    ///
    /// # Errors
    /// When a stop signal has come already.
    pub fn exempt_from_stop(&self, child: &Child) -> Result<(), Interrupted> {
        let mut state = self.stop.lock();
        state.running.retain(|running| !running.is_of(child));
        state.stopped_by().map_or(Ok(()), |signal| Err(Interrupted(signal)))
    }

    /// The error of a program that failed: the stop signal's, when that ended it.
    pub fn failure(&self, program: &OsStr, exit: Exit, stderr: &Tail) -> ProgramError {
        // A signal to the process group may reach the program before us.
        let by_signal = matches!(exit, Exit::Signal(signal) if STOP.contains(&signal));
        match if by_signal { self.sleep(GROUP_SIGNAL) } else { self.check() } {
            Err(interrupted) => interrupted.into(),
            Ok(()) => ProgramError::failed(program, exit, stderr),
        }
    }
}

impl State {
    pub(super) fn register(&mut self, child: Signaller) {
        self.running.retain(Signaller::is_running);
        self.running.push(child);
    }

    fn stopped_by(&self) -> Option<Signal> {
        self.signal.or(self.is_over.then_some(Signal::SIGTERM))
    }

    pub(super) fn has_signal(&self) -> bool {
        self.signal.is_some()
    }
}

impl Stop {
    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        mutex::lock(&self.state)
    }

    fn request(&self, signal: Signal) {
        let mut state = self.lock();
        state.signal.get_or_insert(signal);
        self.end(&state);
    }

    /// Sends TERM to the running programs, and wakes sleeping threads.
    pub(super) fn end(&self, state: &State) {
        for child in &state.running {
            child.signal(Signal::SIGTERM);
        }
        self.came.notify_all();
    }
}

/// One runner for all tests of this process, as a process can have only one reaper.
#[cfg(test)]
pub(crate) fn test_runner() -> Runner {
    static RUNNER: std::sync::OnceLock<Runner> = std::sync::OnceLock::new();
    RUNNER.get_or_init(|| Runner::start(Signals::catch().unwrap()).unwrap()).clone()
}
