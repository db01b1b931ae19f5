//! The sweep at a daemon's start. It may have to wait for a server, so it is a child process; the lock of the backup
//! directory keeps it apart from runs.

use std::io;
use std::process::Stdio;
use std::thread;

use nix::sys::signal::Signal;

use crate::service::jobs::Programs;
use crate::settings::Redactor;
use crate::settings::remove_api_settings;
use crate::system::logger;
use crate::system::process::{Reaper, Redacted, Signaller, for_each_line};

/// A sweep that was started.
pub struct Sweeper {
    signaller: Signaller,
}

impl Sweeper {
    /// Starts it.
    ///
    /// # Errors
    /// When the program or the thread that reads its output cannot be started.
    pub fn start(programs: &Programs, reaper: &Reaper, redactor: Redactor) -> io::Result<Self> {
        let mut command = programs.sweep();
        command.env(logger::PLAIN_VARIABLE, "plain");
        remove_api_settings(&mut command);
        let (output, stdout) = io::pipe()?;
        command.stdin(Stdio::null()).stderr(stdout.try_clone()?).stdout(stdout);
        thread::Builder::new().name("sweep output".into()).spawn(move || {
            for_each_line(Redacted::new(output, redactor), |line| log::info!("sweep: {line}"));
        })?;
        let child = reaper.spawn_group(&mut command)?;
        Ok(Self { signaller: child.signaller() })
    }

    /// Asks it to end. The next run does the rest.
    pub fn stop(&self) {
        self.signaller.signal(Signal::SIGTERM);
    }
}
