//! Starts go-cron, ours or another, and asks it to end.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, TcpStream};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use super::variable::SUPERVISOR_VARIABLE;
use crate::formats::schedule::Schedule;
use crate::gate::listen;
use crate::service::jobs::Programs;
use crate::settings::remove_api_settings;
use crate::settings::{Redactor, SchedulerSettings};
use crate::store::records::history::Trigger;
use crate::system::logger;
use crate::system::process::{Child, Reaper, Redacted, for_each_line};

pub(super) struct Starter {
    health_port: u16,
    program: PathBuf,
    directory: PathBuf,
    programs: Programs,
    reaper: Reaper,
    redactor: Redactor,
}

impl Starter {
    pub(super) fn new(
        settings: SchedulerSettings,
        programs: &Programs,
        reaper: Reaper,
        redactor: Redactor,
    ) -> Self {
        let beside = programs.command.with_file_name("go-cron");
        Self {
            health_port: settings.health_port,
            program: settings.program.unwrap_or(beside),
            directory: settings.directory,
            programs: programs.clone(),
            reaper,
            redactor,
        }
    }

    /// Starts go-cron.
    ///
    /// # Errors
    /// Why it cannot be started.
    pub(super) fn start(
        &self,
        schedule: &Schedule,
        with_port: bool,
        on_start: bool,
    ) -> Result<Child, String> {
        let started = self.spawn(schedule, with_port, on_start);
        started.map_err(|error| format!("cannot start {}: {error}", self.program.display()))
    }

    fn spawn(&self, schedule: &Schedule, with_port: bool, on_start: bool) -> io::Result<Child> {
        let port = if with_port { self.health_port } else { 0 };
        let mut command = Command::new(&self.program);
        command.arg("-s").arg(schedule.text()).arg("-p").arg(port.to_string());
        if on_start {
            command.arg("-i");
        }
        let backup = self.programs.backup();
        command.arg("--").arg(backup.get_program()).args(backup.get_args());
        command.env(logger::PLAIN_VARIABLE, "plain").env(Trigger::VARIABLE, Trigger::Schedule.word());
        // Passed even if it is the default, as go-cron's port reports problems only with it.
        command.env("BACKUP_DIR", &self.directory);
        command.env(SUPERVISOR_VARIABLE, std::process::id().to_string());
        remove_api_settings(&mut command);
        let (output, stdout) = io::pipe()?;
        command.stdin(Stdio::null()).stderr(stdout.try_clone()?).stdout(stdout);
        let redactor = self.redactor.clone();
        // Started before the child, so that no child runs without a reader.
        thread::Builder::new().name("go-cron output".into()).spawn(move || {
            for_each_line(Redacted::new(output, redactor), |line| log::info!("go-cron: {line}"));
        })?;
        // In a process group of its own, so that a signal to ours does not reach a scheduled backup directly.
        self.reaper.spawn(command.process_group(0))
    }

    /// Whether the health port is open, or none is configured.
    pub(super) fn port_answers(&self) -> bool {
        self.health_port == 0 || TcpStream::connect((Ipv4Addr::LOCALHOST, self.health_port)).is_ok()
    }

    /// Waits until the health port can be listened on. Answers whether it can.
    pub(super) fn wait_for_port(&self, patience: Duration) -> bool {
        let deadline = Instant::now() + patience;
        loop {
            if self.health_port == 0 || listen((Ipv6Addr::UNSPECIFIED, self.health_port).into()).is_ok() {
                return true;
            }
            if Instant::now() >= deadline {
                return false;
            }
            thread::sleep(Duration::from_millis(20));
        }
    }
}

/// Asks a go-cron to end after its run. Ours does so on TERM when it has a supervisor, and closes its port at once;
/// prodrigestivill/go-cron always does so, but keeps the port until its run has ended.
pub(super) fn ask_to_retire(child: &Child) {
    child.signaller().signal(Signal::SIGTERM);
}

/// Asks a go-cron to end together with its run. Ours passes INT on; the run of another one is in its process group.
pub(super) fn ask_to_stop(child: &Child) {
    child.signaller().signal_own_group(Signal::SIGINT);
}
