//! Programs that a command runs, and the signal that stops them all.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::io::{self, Read, Write};
use std::process::{Command, Stdio};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};
use nix::sys::signal::Signal;

use super::lines::{Tail, for_each_line};
use super::reaper::{Child, Exit, Reaper, Signaller};
use super::signals::Signals;
use crate::logger;

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

/// How long after its end the rest of a program's output is awaited, which what it has left behind may hold open.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// Lines of standard error that a failure's message carries.
const ERROR_LINES: usize = 5;

/// Starts programs, unless a stop signal came; then it passes the signal on to those that run.
#[derive(Debug, Clone)]
pub struct Runner {
    reaper: Reaper,
    stop: Arc<Stop>,
}

#[derive(Debug, Default)]
struct Stop {
    state: Mutex<State>,
    came: Condvar,
}

#[derive(Debug, Default)]
struct State {
    signal: Option<Signal>,
    running: Vec<Signaller>,
}

impl Runner {
    /// A runner that `signals` stop.
    ///
    /// # Errors
    /// When a thread cannot be started.
    pub fn start(mut signals: Signals) -> io::Result<Self> {
        let runner = Self { reaper: Reaper::start()?, stop: Arc::default() };
        let stop = Arc::clone(&runner.stop);
        std::thread::Builder::new().name("signals".into()).spawn(move || {
            loop {
                stop.request(signals.wait());
            }
        })?;
        Ok(runner)
    }

    /// Fails once a stop signal has come.
    ///
    /// # Errors
    /// Then.
    pub fn check(&self) -> Result<(), Interrupted> {
        self.stop.lock().signal.map_or(Ok(()), |signal| Err(Interrupted(signal)))
    }

    /// Sleeps, unless a stop signal comes.
    ///
    /// # Errors
    /// When one has come.
    pub fn sleep(&self, time: Duration) -> Result<(), Interrupted> {
        let state = self.stop.lock();
        let waited = self.stop.came.wait_timeout_while(state, time, |state| state.signal.is_none());
        let (state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        state.signal.map_or(Ok(()), |signal| Err(Interrupted(signal)))
    }

    /// Starts a program that a stop signal will end.
    ///
    /// # Errors
    /// When a stop signal has come, or the program cannot be started.
    pub fn spawn(&self, command: &mut Command) -> Result<Child, ProgramError> {
        // Held over the start, so that no signal falls between it and the registration.
        let mut state = self.stop.lock();
        if let Some(signal) = state.signal {
            return Err(ProgramError::Interrupted(Interrupted(signal)));
        }
        let child = self.reaper.spawn(command).map_err(|error| start_error(command, error))?;
        state.register(&child);
        Ok(child)
    }

    /// Lets a program that runs go on when a stop signal comes.
    ///
    /// # Errors
    /// When one has come.
    pub fn spare(&self, child: &Child) -> Result<(), Interrupted> {
        let mut state = self.stop.lock();
        state.running.retain(|running| !running.is_of(child));
        state.signal.map_or(Ok(()), |signal| Err(Interrupted(signal)))
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
        let child = self.reaper.spawn(piped(command)).map_err(|error| start_error(command, error))?;
        let output = communicate(child, input, |_| true);
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
        Ok(std::thread::scope(|scope| {
            scope.spawn(|| {
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
            });
            let output = communicate(child, input, counts);
            drop(done);
            output
        }))
    }

    /// Runs a program whose output goes where ours goes, or into the log if that is to hold all of it, even after a
    /// stop signal; one that comes while it runs ends it.
    ///
    /// # Errors
    /// When the program cannot be started or fails.
    pub fn run_visibly(&self, command: &mut Command) -> Result<(), ProgramError> {
        let logged = match logger::is_json() {
            true => Some(log_output(command).map_err(|error| start_error(command, error))?),
            false => None,
        };
        let mut state = self.stop.lock();
        let child =
            self.reaper.spawn(command.stdin(Stdio::null())).map_err(|error| start_error(command, error))?;
        state.register(&child);
        drop(state);
        let exit = child.wait();
        if let Some(logged) = logged {
            // Our copies of the pipe's writing end.
            command.stdout(Stdio::null()).stderr(Stdio::null());
            let _ = logged.recv_timeout(LAST_WORDS);
        }
        match exit {
            exit if exit.success() => Ok(()),
            exit => Err(self.failure(command.get_program(), exit, &Tail::new(0))),
        }
    }

    fn finish(&self, command: &Command, child: Child, input: &[u8]) -> Result<Output, ProgramError> {
        let output = communicate(child, input, |_| true);
        match output.exit.success() {
            true => Ok(output),
            false => Err(self.failure(command.get_program(), output.exit, &output.stderr)),
        }
    }

    /// The error of a program that failed: the stop signal's, when that ended it.
    pub fn failure(&self, program: &OsStr, exit: Exit, stderr: &Tail) -> ProgramError {
        match self.check() {
            Err(interrupted) => ProgramError::Interrupted(interrupted),
            Ok(()) => failed(program, exit, stderr),
        }
    }
}

impl State {
    fn register(&mut self, child: &Child) {
        self.running.retain(Signaller::is_running);
        self.running.push(child.signaller());
    }
}

fn failed(program: &OsStr, exit: Exit, stderr: &Tail) -> ProgramError {
    ProgramError::Failed(program.to_owned(), exit, stderr.joined())
}

impl Stop {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn request(&self, signal: Signal) {
        let mut state = self.lock();
        state.signal.get_or_insert(signal);
        for child in &state.running {
            child.signal(Signal::SIGTERM);
        }
        self.came.notify_all();
    }
}

fn piped(command: &mut Command) -> &mut Command {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped())
}

fn start_error(command: &Command, error: io::Error) -> ProgramError {
    ProgramError::Start(command.get_program().to_owned(), error)
}

/// Has everything that a program prints logged. The channel ends with its output.
fn log_output(command: &mut Command) -> io::Result<Receiver<()>> {
    let (output, stdout) = io::pipe()?;
    command.stderr(stdout.try_clone()?).stdout(stdout);
    let (ended, end) = bounded(0);
    std::thread::Builder::new().name("output".into()).spawn(move || {
        for_each_line(output, |line| log::info!("{line}"));
        drop::<Sender<()>>(ended);
    })?;
    Ok(end)
}

/// Feeds and drains a child's three pipes at once, so that none of them can fill up, and waits for it. Of its standard
/// error the lines that `counts` takes are kept.
fn communicate(mut child: Child, input: &[u8], counts: fn(&str) -> bool) -> Output {
    let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let mut printed = Vec::new();
    let mut said = Tail::new(ERROR_LINES);
    std::thread::scope(|scope| {
        scope.spawn(move || {
            // A program that does not read its input to the end says so by its exit status.
            let _ = stdin.map(|mut stdin| stdin.write_all(input));
        });
        scope.spawn(|| {
            if let Some(stderr) = stderr {
                for_each_line(stderr, |line| {
                    if counts(line) {
                        said.push(line);
                    }
                });
            }
        });
        let _ = stdout.map(|mut stdout| stdout.read_to_end(&mut printed));
    });
    Output { exit: child.wait(), stdout: printed, stderr: said }
}

/// One runner for all tests of this process, as it can have one reaper only.
#[cfg(test)]
pub(crate) fn test_runner() -> Runner {
    static RUNNER: std::sync::OnceLock<Runner> = std::sync::OnceLock::new();
    RUNNER.get_or_init(|| Runner::start(Signals::catch().unwrap()).unwrap()).clone()
}
