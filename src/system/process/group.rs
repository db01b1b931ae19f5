//! Runs the user's programs, each in a process group of its own, so that whatever it has started can be ended with it.

use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use nix::sys::signal::Signal;

use super::error::ProgramError;
use super::passing::pass_output;
use super::reaper::{Child, Exit, Signaller};
use super::runner::Runner;

/// How long to wait for the end of a program's output, which processes that it left may hold open.
const LAST_WORDS: Duration = Duration::from_secs(1);
/// How long after TERM what has not ended is killed.
pub const GRACE: Duration = Duration::from_secs(10);

/// Executes the program that its arguments name. Before that it leaves a process in the group that kills the group when
/// our end of the pipe on standard input closes, for whatever reason: signals to the group of a job do not reach this
/// group. It is not the program's child, so that a program may wait for all of its children. The umask is the default
/// of run-parts.
const LEASH: &str = "exec 3<&0 </dev/null; umask 022; \
    ( (trap '' HUP INT QUIT TERM; read -r x <&3; kill -s KILL 0) >/dev/null 2>&1 &); exec 3<&-; exec \"$@\"";

/// How a program of the user came to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// By itself, or by a signal.
    Itself(Exit),
    /// It took too long and was ended.
    TimedOut,
}

impl Runner {
    /// Runs a program in a process group of its own. Its output is passed on without secrets: into the log if that is
    /// JSON, or else to our own. It is started even after a stop signal; one that comes while it runs ends it. After
    /// `limit` its group gets TERM, and KILL some time later. What it leaves running in its group is killed when we
    /// end.
    ///
    /// # Errors
    /// When the program cannot be started.
    pub fn run_group(
        &self,
        program: &Path,
        arguments: &[&str],
        prepare: impl FnOnce(&mut Command),
        limit: Option<Duration>,
    ) -> Result<Ended, ProgramError> {
        let mut command = Command::new("sh");
        command.args(["-c", LEASH, "sh"]).arg(program).args(arguments);
        prepare(&mut command);
        command.process_group(0).stdin(Stdio::piped());
        let passed = pass_output(&mut command).map_err(|error| ProgramError::start(&command, error))?;
        let mut state = self.stop.lock();
        let mut child =
            self.reaper.spawn(&mut command).map_err(|error| ProgramError::start(&command, error))?;
        let group = child.signaller().of_group();
        state.register(group.clone());
        drop(state);
        let leash = child.stdin.take();
        let ended = wait(&child, &group, limit);
        match ended {
            // Closing the pipe kills the rest of the group.
            Ended::TimedOut => drop(leash),
            // The pipe is kept open until this process ends.
            Ended::Itself(_) => std::mem::forget(leash),
        }
        // Our copies of the pipes' writing ends.
        command.stdout(Stdio::null()).stderr(Stdio::null());
        let _ = passed.recv_timeout(LAST_WORDS);
        Ok(ended)
    }
}

fn wait(child: &Child, group: &Signaller, limit: Option<Duration>) -> Ended {
    let Some(limit) = limit else { return Ended::Itself(child.wait()) };
    match child.exited().recv_timeout(limit) {
        Ok(exit) => Ended::Itself(exit),
        Err(_) => {
            group.signal(Signal::SIGTERM);
            if child.exited().recv_timeout(GRACE).is_err() {
                group.signal(Signal::SIGKILL);
                child.wait();
            }
            Ended::TimedOut
        }
    }
}
