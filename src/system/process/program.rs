//! Runs a program to its end: what it reads, what of its output is kept, and what a stop signal does to it.

use std::io::{self, Read, Write};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, bounded};
use nix::sys::signal::Signal;

use super::error::ProgramError;
use super::lines::{Tail, for_each_line};
use super::reaper::{Child, Exit, Signaller};
use super::runner::Runner;

/// How long after a stop signal a program with a time limit is killed.
const STOP_GRACE: Duration = Duration::from_secs(3);
/// How often a program with a time limit is looked at.
const STEP: Duration = Duration::from_millis(50);
/// Lines of standard error that are kept for a failure's message.
const ERROR_LINES: usize = 5;

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

/// A program that is about to be run to its end. Unless told otherwise it reads nothing, a stop signal ends it, and it is
/// not started after one.
#[must_use = "it is started by `run` or `output`"]
pub struct Program<'a> {
    runner: &'a Runner,
    command: &'a mut Command,
    input: &'a [u8],
    on_stop: OnStop,
    keeps: fn(&str) -> bool,
}

/// What a stop signal does to a program.
#[derive(Debug, Clone, Copy)]
enum OnStop {
    /// It gets TERM; after a stop signal it is not started.
    Terminate,
    /// Nothing.
    Ignore,
    /// It is killed after [`STOP_GRACE`], and without a signal after this limit.
    KillLater(Duration),
}

impl Runner {
    /// A program to be run to its end.
    pub fn program<'a>(&'a self, command: &'a mut Command) -> Program<'a> {
        Program { runner: self, command, input: b"", on_stop: OnStop::Terminate, keeps: |_| true }
    }

    /// Runs a program to its end with `input` as its standard input.
    ///
    /// # Errors
    /// When a stop signal has come, or the program cannot be started or fails.
    pub fn run(&self, command: &mut Command, input: &[u8]) -> Result<Output, ProgramError> {
        self.program(command).input(input).run()
    }
}

impl<'a> Program<'a> {
    /// The bytes of its standard input.
    pub fn input(self, input: &'a [u8]) -> Self {
        Self { input, ..self }
    }

    /// It is started even after a stop signal, and none ends it: for clean-up that must be done.
    pub fn ignore_stop(self) -> Self {
        Self { on_stop: OnStop::Ignore, ..self }
    }

    /// It is killed after `limit`. It is started even after a stop signal, and killed three seconds after one.
    pub fn time_limit(self, limit: Duration) -> Self {
        Self { on_stop: OnStop::KillLater(limit), ..self }
    }

    /// Only lines of its standard error that `keeps` accepts are kept.
    pub fn keep_lines(self, keeps: fn(&str) -> bool) -> Self {
        Self { keeps, ..self }
    }

    /// Runs it. Its end must be a success.
    ///
    /// # Errors
    /// When a stop signal has come or ended it, or it cannot be started or fails.
    pub fn run(self) -> Result<Output, ProgramError> {
        let (runner, on_stop) = (self.runner, self.on_stop);
        let program = self.command.get_program().to_owned();
        let output = self.output()?;
        if output.exit.success() {
            return Ok(output);
        }
        Err(match on_stop {
            OnStop::Ignore => ProgramError::failed(&program, output.exit, &output.stderr),
            OnStop::Terminate | OnStop::KillLater(_) => runner.failure(&program, output.exit, &output.stderr),
        })
    }

    /// Runs it, whatever its end.
    ///
    /// # Errors
    /// When it cannot be started, or is not because a stop signal has come.
    pub fn output(self) -> Result<Output, ProgramError> {
        let Self { runner, command, input, on_stop, keeps } = self;
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let output = match on_stop {
            OnStop::Terminate => communicate(runner.spawn(command)?, input, keeps),
            OnStop::Ignore => {
                let mut state = runner.stop.lock();
                let child =
                    runner.reaper.spawn(command).map_err(|error| ProgramError::start(command, error))?;
                state.unstoppable.retain(Signaller::is_running);
                state.unstoppable.push(child.signaller());
                drop(state);
                communicate(child, input, keeps)
            }
            OnStop::KillLater(limit) => {
                let child =
                    runner.reaper.spawn(command).map_err(|error| ProgramError::start(command, error))?;
                communicate_within(limit, runner, child, input, keeps)
            }
        };
        output.map_err(|error| ProgramError::start(command, error))
    }
}

/// Like [`communicate`], with a thread that kills the child after `limit`, or [`STOP_GRACE`] after a stop signal. Without
/// that thread the child is killed at once.
fn communicate_within(
    limit: Duration,
    runner: &Runner,
    child: Child,
    input: &[u8],
    keeps: fn(&str) -> bool,
) -> io::Result<Output> {
    let signaller = child.signaller();
    let (done, running) = bounded::<()>(0);
    std::thread::scope(|scope| {
        let watch = || kill_late(limit, runner, &signaller, &running);
        let watching = std::thread::Builder::new().spawn_scoped(scope, watch);
        if watching.is_err() {
            signaller.signal(Signal::SIGKILL);
        }
        let output = communicate(child, input, keeps);
        drop(done);
        watching.and(output)
    })
}

/// Kills a child that is late, until `running` is disconnected.
fn kill_late(limit: Duration, runner: &Runner, child: &Signaller, running: &Receiver<()>) {
    let (begun, mut stopped) = (Instant::now(), None::<Instant>);
    while running.recv_timeout(STEP) == Err(RecvTimeoutError::Timeout) {
        if runner.check().is_err() {
            stopped.get_or_insert_with(Instant::now);
        }
        let is_late = stopped.is_some_and(|stopped| stopped.elapsed() >= STOP_GRACE);
        if is_late || begun.elapsed() >= limit {
            child.signal(Signal::SIGKILL);
        }
    }
}

/// Feeds and drains a child's three pipes at once, so that none of them can fill up, and waits for it. Of its standard
/// error the lines that `keeps` accepts are kept. Where the threads for it cannot be started, the child is killed.
fn communicate(mut child: Child, input: &[u8], keeps: fn(&str) -> bool) -> io::Result<Output> {
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
                    if keeps(line) {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::system::process::runner::test_runner;

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    #[test]
    fn a_program_reads_its_input_and_its_last_lines_are_in_its_error() {
        let runner = test_runner();
        let output = runner.program(&mut shell("cat; echo said >&2")).input(b"text").run().unwrap();
        assert_eq!((output.stdout.as_slice(), output.stderr.joined().as_str()), (&b"text"[..], "said"));
        for ignores in [false, true] {
            let mut command = shell("echo one >&2; echo two >&2; exit 3");
            let program = runner.program(&mut command);
            let program = if ignores { program.ignore_stop() } else { program };
            assert_eq!(program.run().unwrap_err().to_string(), "sh: exit status 3: one | two");
        }
    }

    #[test]
    fn a_program_is_killed_at_its_time_limit_and_only_lines_that_are_wanted_are_kept() {
        let (runner, mut command) = (test_runner(), shell("echo a >&2; echo b >&2; exec sleep 60"));
        let program = runner.program(&mut command).time_limit(Duration::from_millis(300));
        let output = program.keep_lines(|line| line == "b").output().unwrap();
        assert_eq!(output.exit, Exit::Signal(Signal::SIGKILL));
        assert_eq!(output.stderr.joined(), "b");
    }
}
