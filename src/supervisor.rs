//! Keeps go-cron running: starts it, and starts it again when it ends without having been asked to.

use std::io;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, bounded, select};
use nix::sys::signal::Signal;
use serde::Serialize;

use crate::jobs::Programs;
use crate::jobs::remove_api_settings;
use crate::logger;
use crate::process::{Child, Exit, Reaper, Signaller, for_each_line};
use crate::settings::{Redactor, SchedulerSettings};

/// How the scheduler is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum SchedulerState {
    /// It runs.
    Running,
    /// It ended and will be started again.
    Restarting,
    /// We stopped it.
    Stopped,
}

/// What is known of the scheduler.
#[derive(Debug, Clone, Serialize)]
pub struct SchedulerStatus {
    /// How it is.
    pub state: SchedulerState,
    /// Its process.
    pub pid: Option<i32>,
    /// How often it was started again.
    pub restarts: u64,
}

/// How long to wait before the next start: 0.5 s, doubling to 30 s, and from the beginning again after a
/// minute of life.
#[derive(Debug)]
struct Backoff {
    next: Duration,
}

impl Backoff {
    const FIRST: Duration = Duration::from_millis(500);
    const LONGEST: Duration = Duration::from_secs(30);
    const SETTLED: Duration = Duration::from_secs(60);

    fn new() -> Self {
        Self { next: Self::FIRST }
    }

    fn after(&mut self, lived: Duration) -> Duration {
        if lived >= Self::SETTLED {
            self.next = Self::FIRST;
        }
        let pause = self.next;
        self.next = (pause * 2).min(Self::LONGEST);
        pause
    }
}

/// The thread that supervises go-cron.
pub struct Supervisor {
    status: Arc<Mutex<SchedulerStatus>>,
    stop: Sender<()>,
    thread: JoinHandle<()>,
}

impl Supervisor {
    /// Starts go-cron and the thread that watches it.
    ///
    /// # Errors
    /// When the thread cannot be started. A go-cron that cannot be started is tried again.
    pub fn start(
        settings: SchedulerSettings,
        programs: &Programs,
        reaper: Reaper,
        redactor: Redactor,
    ) -> io::Result<Self> {
        let beside = programs.command.with_file_name("go-cron");
        let program = settings.program.clone().unwrap_or(beside);
        let status = SchedulerStatus { state: SchedulerState::Restarting, pid: None, restarts: 0 };
        let status = Arc::new(Mutex::new(status));
        let (stop, stopped) = bounded(1);
        let watch = Watch {
            settings,
            program,
            programs: programs.clone(),
            reaper,
            redactor,
            status: Arc::clone(&status),
        };
        let thread = thread::Builder::new().name("supervisor".into()).spawn(move || watch.run(&stopped))?;
        Ok(Self { status, stop, thread })
    }

    /// What is known of the scheduler now.
    pub fn status(&self) -> SchedulerStatus {
        lock(&self.status).clone()
    }

    /// Asks go-cron to end its run and itself.
    pub fn stop(&self) {
        let _ = self.stop.try_send(());
    }

    /// Whether go-cron has ended after [`Self::stop`].
    pub fn is_finished(&self) -> bool {
        self.thread.is_finished()
    }
}

fn lock(status: &Mutex<SchedulerStatus>) -> MutexGuard<'_, SchedulerStatus> {
    status.lock().unwrap_or_else(PoisonError::into_inner)
}

struct Watch {
    settings: SchedulerSettings,
    program: PathBuf,
    programs: Programs,
    reaper: Reaper,
    redactor: Redactor,
    status: Arc<Mutex<SchedulerStatus>>,
}

impl Watch {
    fn run(&self, stopped: &Receiver<()>) {
        let mut backoff = Backoff::new();
        let mut on_start = self.settings.on_start;
        loop {
            let begun = Instant::now();
            let child = self.spawn(on_start);
            on_start = false;
            let ended = match &child {
                Ok(child) => self.wait(child, stopped),
                Err(error) => Ended::ByItself(format!("cannot start {}: {error}", self.program.display())),
            };
            let Ended::ByItself(how) = ended else { break };
            let pause = backoff.after(begun.elapsed());
            log::error!("go-cron: {how}; next start in {:.1} s", pause.as_secs_f64());
            self.note(SchedulerState::Restarting, None);
            if stopped.recv_timeout(pause).is_ok() {
                break;
            }
            lock(&self.status).restarts += 1;
        }
        self.note(SchedulerState::Stopped, None);
    }

    fn spawn(&self, on_start: bool) -> io::Result<Child> {
        let mut command = Command::new(&self.program);
        command.arg("-s").arg(self.settings.schedule.text());
        command.arg("-p").arg(self.settings.health_port.to_string());
        if on_start {
            command.arg("-i");
        }
        let backup = self.programs.backup();
        command.arg("--").arg(backup.get_program()).args(backup.get_args());
        command.env(logger::PLAIN_VARIABLE, "plain");
        remove_api_settings(&mut command);
        let (output, stdout) = io::pipe()?;
        command.stdin(Stdio::null()).stderr(stdout.try_clone()?).stdout(stdout);
        // A group of its own, so that a signal to ours does not reach a scheduled backup behind its back.
        let child = self.reaper.spawn(command.process_group(0))?;
        let redactor = self.redactor.clone();
        thread::Builder::new().name("go-cron output".into()).spawn(move || {
            for_each_line(output, |line| log::info!("go-cron: {}", redactor.clean(line)));
        })?;
        self.note(SchedulerState::Running, Some(child.pid().as_raw()));
        Ok(child)
    }

    fn wait(&self, child: &Child, stopped: &Receiver<()>) -> Ended {
        let by_itself = |exit: Result<Exit, _>| Ended::ByItself(exit.unwrap_or(Exit::Unknown).to_string());
        select! {
            recv(child.exited()) -> exit => by_itself(exit),
            recv(stopped) -> _ => {
                end(&child.signaller(), child.exited());
                Ended::OnRequest
            }
        }
    }

    fn note(&self, state: SchedulerState, pid: Option<i32>) {
        let mut status = lock(&self.status);
        status.state = state;
        status.pid = pid;
    }
}

enum Ended {
    ByItself(String),
    OnRequest,
}

fn end(signaller: &Signaller, exited: &Receiver<Exit>) {
    signaller.signal(Signal::SIGTERM);
    let _ = exited.recv();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pause_doubles_to_half_a_minute_and_begins_again_after_a_minute_of_life() {
        let mut backoff = Backoff::new();
        let short: Vec<f64> = (0..8).map(|_| backoff.after(Duration::ZERO).as_secs_f64()).collect();
        assert_eq!(short, [0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0]);
        assert_eq!(backoff.after(Duration::from_secs(60)), Backoff::FIRST);
        assert_eq!(backoff.after(Duration::from_secs(59)), Duration::from_secs(1));
    }
}
