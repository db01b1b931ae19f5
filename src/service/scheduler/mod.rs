//! go-cron: runs a command by a schedule, one run at a time, and tells about it on the health port.
//!
//! TERM, INT and QUIT end it together with the run. HUP retires it: the port closes at once, and a run in progress is
//! waited for, so that a scheduler with another schedule can take over meanwhile.

mod arguments;
mod backups;
pub mod health_port;
mod record;
mod run;
mod timer;

use std::io;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use crossbeam_channel::{Receiver, after, bounded, never, select};
use jiff::Timestamp;
use nix::errno::Errno;
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use thiserror::Error;

use crate::engine::checkup;
use crate::gate::Gate;
pub use arguments::{Arguments, Service, USAGE};
use backups::Backups;
use record::Record;
use run::{Going, Runs};
use timer::{Tick, Timer};

use crate::formats::schedule::{Schedule, ScheduleError, rfc3339};
use crate::service::supervisor::SUPERVISOR_VARIABLE;
use crate::system::process::{Reaper, Signals};

/// How long a run may take to end after TERM. With the time for the record of one that has been killed it is under the
/// eight seconds of a daemon that stops us, and the ten of `docker stop`.
const GRACE: Duration = Duration::from_secs(6);

/// How long to wait for the record of a run that was killed.
const AFTER_KILL: Duration = Duration::from_millis(1800);

/// Why go-cron does not start.
#[derive(Debug, Error)]
pub enum SchedulerError {
    /// The schedule is none.
    #[error("invalid schedule: {0}")]
    Schedule(#[source] ScheduleError),
    /// The health port cannot be opened.
    #[error("cannot open health port {0}: {1}")]
    Port(u16, #[source] io::Error),
    /// A thread could not be started.
    #[error("cannot start a thread: {0}")]
    Thread(#[source] io::Error),
}

/// Runs the command by its schedule until a signal ends that. `signals` must have been caught before any
/// thread was started.
///
/// # Errors
/// When the schedule is bad or the port cannot be opened, before anything runs.
pub fn run(service: Service, signals: Signals) -> Result<(), SchedulerError> {
    if let Some(remark) = checkup::remark_on_time_zone() {
        log::warn!("{remark}");
    }
    let schedule = Schedule::parse(&service.schedule).map_err(SchedulerError::Schedule)?;
    let supervisor = supervisor();
    if supervisor.is_some_and(|supervisor| !follow_to_the_end(supervisor)) {
        log::info!("the supervisor has already ended");
        return Ok(());
    }
    let backups = Backups::of_environment();
    // A supervisor has said it.
    if let Some(warning) = backups.as_ref().filter(|_| supervisor.is_none()).and_then(Backups::warning) {
        log::warn!("{warning}");
    }
    let record = Arc::new(Record::new(schedule.text()));
    let port = service.port.map(|port| {
        let opened = health_port::open(port, Arc::clone(&record), backups);
        opened.map_err(|error| SchedulerError::Port(port, error))
    });
    let port = port.transpose()?;
    let reaper = Reaper::start().map_err(SchedulerError::Thread)?;
    let signals = listen(signals).map_err(SchedulerError::Thread)?;
    let timer = Timer::new(schedule, Timestamp::now());
    let supervised = supervisor.is_some();
    let (text, at_start) = (service.schedule.clone(), service.at_start);
    let runs = Runs::start(service, reaper, record).map_err(SchedulerError::Thread)?;
    Scheduler { runs, signals, timer, supervised, going: None }.serve(port, &text, at_start);
    Ok(())
}

/// The process that starts us again when we end, if there is one.
fn supervisor() -> Option<Pid> {
    let pid = std::env::var(SUPERVISOR_VARIABLE).ok()?.parse().ok()?;
    Some(Pid::from_raw(pid))
}

/// Arranges for HUP when the supervisor ends: outside of a container another daemon may then be started with a
/// scheduler of its own. Answers whether the supervisor is still there.
fn follow_to_the_end(supervisor: Pid) -> bool {
    if let Err(error) = set_pdeathsig(Signal::SIGHUP) {
        log::warn!("cannot watch the supervisor: {error}");
    }
    // It may have ended before we asked.
    kill(supervisor, None) != Err(Errno::ESRCH)
}

/// Receives the signals on a thread of its own, for use in `select!`.
fn listen(mut signals: Signals) -> io::Result<Receiver<Signal>> {
    let (tell, told) = bounded(1);
    thread::Builder::new()
        .name("signals".into())
        .spawn(move || while tell.send(signals.wait()).is_ok() {})?;
    Ok(told)
}

struct Scheduler {
    runs: Runs,
    signals: Receiver<Signal>,
    timer: Timer,
    supervised: bool,
    going: Option<Going>,
}

impl Scheduler {
    fn serve(mut self, port: Option<Gate>, schedule: &str, at_start: bool) {
        let next = self.timer.due().map_or_else(|| "never".into(), rfc3339);
        log::info!("schedule {schedule}, next run {next}");
        if at_start {
            self.going = self.runs.begin();
        }
        match self.follow() {
            signal if self.retires_on(signal) => {
                log::info!("retiring");
                if let Some(port) = port {
                    port.close();
                }
                self.retire();
            }
            signal => self.stop(signal),
        }
    }

    /// Whether a signal ends us but not the run. A supervisor that wants both sends INT.
    fn retires_on(&self, signal: Signal) -> bool {
        signal == Signal::SIGHUP || (self.supervised && signal == Signal::SIGTERM)
    }

    /// Runs what is due until a signal comes.
    fn follow(&mut self) -> Signal {
        loop {
            let pause = match self.timer.tick(Timestamp::now()) {
                Tick::Due => {
                    self.start_due();
                    continue;
                }
                Tick::SetBack => {
                    let next = self.timer.due().map_or_else(|| "never".into(), rfc3339);
                    log::warn!("the clock was set back: the next run is {next}");
                    continue;
                }
                Tick::Sleep(pause) => pause,
            };
            let ended = self.going.as_ref().map_or_else(never, |going| going.ended.clone());
            select! {
                recv(self.signals) -> signal => return signal.unwrap_or(Signal::SIGTERM),
                recv(ended) -> _ => self.going = None,
                recv(after(pause)) -> _ => {}
            }
        }
    }

    fn start_due(&mut self) {
        // The end of the last run may not have been noticed yet.
        let busy = self.going.as_ref().filter(|going| going.ended.try_recv().is_err());
        if let Some(going) = busy {
            log::warn!("skipped a run: the previous one is still running (process {})", going.pid);
        } else {
            self.going = self.runs.begin();
        }
    }

    /// Waits for the run in progress, until a signal asks to end it.
    fn retire(self) {
        loop {
            let Some(going) = &self.going else { return };
            select! {
                recv(self.signals) -> signal => match signal {
                    Ok(signal) if self.retires_on(signal) => {}
                    signal => return self.stop(signal.unwrap_or(Signal::SIGTERM)),
                },
                recv(going.ended) -> _ => return,
            }
        }
    }

    /// Ends the run in progress, and kills it after the grace period.
    fn stop(&self, signal: Signal) {
        match self.supervised {
            // By which signal it asks says nothing about the one that the container got.
            true => log::info!("stopping"),
            false => log::info!("stopping on {signal}"),
        }
        let Some(going) = &self.going else { return };
        going.stop();
        if going.ended.recv_timeout(GRACE).is_ok() {
            return;
        }
        log::warn!("killing the run of process {}: it did not stop", going.pid);
        going.kill();
        if going.ended.recv_timeout(AFTER_KILL).is_err() {
            going.kill_recorder();
        }
    }
}
