//! Programs that a command runs, and the signal that stops them all.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::io::{self, Read, Write};
use std::process::{Command, Stdio};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crossbeam_channel::{RecvTimeoutError, bounded};
use nix::sys::signal::Signal;

use super::activity::Activity;
use super::lines::{Tail, for_each_line};
use super::reaper::{Child, Exit, Reaper, Signaller};
use super::signals::{STOP, Signals};

/// A signal asked us to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Interrupted(pub Signal);

impl fmt::Display for Interrupted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "stopped by {}", self.0)
    }
}

/// Why a program did not do its work.
#[derive(Debug)]
pub enum ProgramError {
    /// It could not be started.
    Start(OsString, io::Error),
    /// It ended with a failure; the text is the end of what it said.
    Failed(OsString, Exit, String),
    /// A signal asked us to stop.
    Interrupted(Interrupted),
}

impl fmt::Display for ProgramError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Start(program, error) => write!(f, "cannot start {}: {error}", program.display()),
            Self::Failed(program, exit, said) if said.is_empty() => {
                write!(f, "{}: {exit}", program.display())
            }
            Self::Failed(program, exit, said) => write!(f, "{}: {exit}: {said}", program.display()),
            Self::Interrupted(interrupted) => interrupted.fmt(f),
        }
    }
}

impl std::error::Error for ProgramError {}

/// What a program printed.
#[derive(Debug)]
pub struct Output {
    /// How it ended.
    pub exit: Exit,
    /// Its standard output.
    pub stdout: Vec<u8>,
    /// The last lines of its standard error.
    pub stderr: Tail,
}

/// How long a program that runs on after a stop signal may do so.
const STOP_GRACE: Duration = Duration::from_secs(3);

/// How long a stop signal that has ended a program may take to reach us as well.
const GROUP_SIGNAL: Duration = Duration::from_millis(500);

/// Lines of standard error that a failure's message carries.
const ERROR_LINES: usize = 5;

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
    /// Those that a stop signal does not end, but the end of the time.
    pub(super) regardless: Vec<Signaller>,
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

    /// A runner for what is worth doing after a stop signal, which ends that only after so long.
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

    /// Fails once a stop signal has come.
    ///
    /// # Errors
    /// Then.
    pub fn check(&self) -> Result<(), Interrupted> {
        self.stop.lock().stopped_by().map_or(Ok(()), |signal| Err(Interrupted(signal)))
    }

    /// Where it is told what is being done.
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
            return Err(ProgramError::Interrupted(Interrupted(signal)));
        }
        let child = self.reaper.spawn(command).map_err(|error| start_error(command, error))?;
        state.register(child.signaller());
        Ok(child)
    }

    /// Lets a program that runs go on when a stop signal comes.
    ///
    /// # Errors
    /// When one has come.
    pub fn spare(&self, child: &Child) -> Result<(), Interrupted> {
        let mut state = self.stop.lock();
        state.running.retain(|running| !running.is_of(child));
        state.stopped_by().map_or(Ok(()), |signal| Err(Interrupted(signal)))
    }

    /// Runs a program to its end with `input` as its standard input.
    ///
    /// # Errors
    /// When a stop signal has come, or the program cannot be started or fails.
    pub fn run(&self, command: &mut Command, input: &[u8]) -> Result<Output, ProgramError> {
        let child = self.spawn(piped(command))?;
        self.finish(command, child, input)
    }

    /// Like [`Self::run`], for what must be done even after a stop signal, which does not end it.
    ///
    /// # Errors
    /// When the program cannot be started or fails.
    pub fn run_regardless(&self, command: &mut Command, input: &[u8]) -> Result<Output, ProgramError> {
        let mut state = self.stop.lock();
        let child = self.reaper.spawn(piped(command)).map_err(|error| start_error(command, error))?;
        state.regardless.retain(Signaller::is_running);
        state.regardless.push(child.signaller());
        drop(state);
        let output = communicate(child, input, |_| true).map_err(|error| start_error(command, error))?;
        match output.exit.success() {
            true => Ok(output),
            false => Err(failed(command.get_program(), output.exit, &output.stderr)),
        }
    }

    /// Like [`Self::run_regardless`], for what is not worth waiting for: killed after `limit`, or soon after a
    /// stop signal. Of what it says only the lines that `counts` takes are kept. How it ended is in the answer.
    ///
    /// # Errors
    /// When the program cannot be started.
    pub fn run_briefly(
        &self,
        command: &mut Command,
        input: &[u8],
        limit: Duration,
        counts: fn(&str) -> bool,
    ) -> Result<Output, ProgramError> {
        let child = self.reaper.spawn(piped(command)).map_err(|error| start_error(command, error))?;
        let (signaller, begun) = (child.signaller(), Instant::now());
        let (done, running) = bounded::<()>(0);
        let output = std::thread::scope(|scope| {
            let watch = || {
                let mut stopped: Option<Instant> = None;
                while running.recv_timeout(Duration::from_millis(50)) == Err(RecvTimeoutError::Timeout) {
                    if self.check().is_err() {
                        stopped.get_or_insert_with(Instant::now);
                    }
                    let late = stopped.is_some_and(|stopped| stopped.elapsed() >= STOP_GRACE);
                    if late || begun.elapsed() >= limit {
                        signaller.signal(Signal::SIGKILL);
                    }
                }
            };
            let watching = std::thread::Builder::new().spawn_scoped(scope, watch);
            if watching.is_err() {
                signaller.signal(Signal::SIGKILL);
            }
            let output = communicate(child, input, counts);
            drop(done);
            watching.and(output)
        });
        output.map_err(|error| start_error(command, error))
    }

    fn finish(&self, command: &Command, child: Child, input: &[u8]) -> Result<Output, ProgramError> {
        let output = communicate(child, input, |_| true).map_err(|error| start_error(command, error))?;
        match output.exit.success() {
            true => Ok(output),
            false => Err(self.failure(command.get_program(), output.exit, &output.stderr)),
        }
    }

    /// The error of a program that failed: the stop signal's, when that ended it.
    pub fn failure(&self, program: &OsStr, exit: Exit, stderr: &Tail) -> ProgramError {
        // A signal to all of a group may reach the others first.
        let by_signal = matches!(exit, Exit::Signal(signal) if STOP.contains(&signal));
        match if by_signal { self.sleep(GROUP_SIGNAL) } else { self.check() } {
            Err(interrupted) => ProgramError::Interrupted(interrupted),
            Ok(()) => failed(program, exit, stderr),
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

fn failed(program: &OsStr, exit: Exit, stderr: &Tail) -> ProgramError {
    ProgramError::Failed(program.to_owned(), exit, stderr.joined())
}

impl Stop {
    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn request(&self, signal: Signal) {
        let mut state = self.lock();
        state.signal.get_or_insert(signal);
        self.end(&state);
    }

    /// Asks what runs to end, and wakes who sleeps.
    pub(super) fn end(&self, state: &State) {
        for child in &state.running {
            child.signal(Signal::SIGTERM);
        }
        self.came.notify_all();
    }
}

fn piped(command: &mut Command) -> &mut Command {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped())
}

pub(super) fn start_error(command: &Command, error: io::Error) -> ProgramError {
    ProgramError::Start(command.get_program().to_owned(), error)
}

/// Feeds and drains a child's three pipes at once, so that none of them can fill up, and waits for it. Of its standard
/// error the lines that `counts` takes are kept. Where there is no room for the threads that this takes, it is killed.
fn communicate(mut child: Child, input: &[u8], counts: fn(&str) -> bool) -> io::Result<Output> {
    let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let mut printed = Vec::new();
    let mut said = Tail::new(ERROR_LINES);
    let started = std::thread::scope(|scope| {
        let feed = move || {
            // A program that does not read its input to the end says so by its exit status.
            let _ = stdin.map(|mut stdin| stdin.write_all(input));
        };
        let listen = || {
            if let Some(stderr) = stderr {
                for_each_line(stderr, |line| {
                    if counts(line) {
                        said.push(line);
                    }
                });
            }
        };
        let start = std::thread::Builder::new;
        let feeding = start().spawn_scoped(scope, feed);
        let started = feeding.and_then(|_| start().spawn_scoped(scope, listen)).map(drop);
        if started.is_err() {
            child.signaller().signal(Signal::SIGKILL);
        }
        let _ = stdout.map(|mut stdout| stdout.read_to_end(&mut printed));
        started
    });
    let exit = child.wait();
    started.map(|()| Output { exit, stdout: printed, stderr: said })
}

/// One runner for all tests of this process, as it can have one reaper only.
#[cfg(test)]
pub(crate) fn test_runner() -> Runner {
    static RUNNER: std::sync::OnceLock<Runner> = std::sync::OnceLock::new();
    RUNNER.get_or_init(|| Runner::start(Signals::catch().unwrap()).unwrap()).clone()
}
