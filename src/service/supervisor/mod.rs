//! Keeps go-cron running: starts it, starts it again when it ends without having been asked to, and
//! replaces it when the schedule changes, without ever ending a backup that is going on.

mod backoff;
mod start;
mod variable;

use std::io;
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, after, bounded, never, select, unbounded};
use serde::Serialize;

use crate::formats::schedule::Schedule;
use crate::service::jobs::Programs;
use crate::settings::{Redactor, SchedulerSettings};
use crate::system::process::{Child, Exit, Reaper};
use crate::util::mutex;
use backoff::Backoff;
use start::Starter;
pub use variable::SUPERVISOR_VARIABLE;

/// How the scheduler is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum SchedulerState {
    /// It runs.
    Running,
    /// It ended and will be started again.
    Restarting,
    /// It ended three times in a row soon after its start. It is still started again.
    Failing,
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
    /// Its last exit that nobody asked for: the status, 128 + n for signal n.
    pub last_exit: Option<i32>,
}

/// How long a new go-cron must live to count as up.
const PROOF: Duration = Duration::from_millis(500);
/// How long to wait for it to answer on the health port. After that it counts as up if it still runs.
const PORT_PROOF: Duration = Duration::from_millis(1300);
/// How long an old go-cron may take to give up the health port before the new one starts without it.
const PORT_PATIENCE: Duration = Duration::from_secs(1);

/// The thread that supervises go-cron.
pub struct Supervisor {
    status: Arc<Mutex<SchedulerStatus>>,
    orders: Sender<Order>,
    thread: JoinHandle<()>,
}

enum Order {
    Stop,
    /// Replaces go-cron for another schedule, and answers whether it came up.
    Reschedule(Schedule, Sender<Result<(), String>>),
    /// An old go-cron has ended.
    Retired,
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
        let status =
            SchedulerStatus { state: SchedulerState::Restarting, pid: None, restarts: 0, last_exit: None };
        let status = Arc::new(Mutex::new(status));
        let (orders, received) = unbounded();
        let watch = Watch {
            schedule: settings.schedule.clone(),
            on_start: settings.on_start,
            first: false,
            starter: Starter::new(settings, programs, reaper, redactor),
            status: Arc::clone(&status),
            backoff: Backoff::new(),
            current: None,
            retiring: Vec::new(),
            retry: None,
            orders: orders.clone(),
        };
        let thread = thread::Builder::new().name("supervisor".into()).spawn(move || watch.run(&received))?;
        Ok(Self { status, orders, thread })
    }

    /// What is known of the scheduler now.
    pub fn status(&self) -> SchedulerStatus {
        lock(&self.status).clone()
    }

    /// Replaces go-cron for another schedule. Returns when that is in force.
    ///
    /// # Errors
    /// When go-cron does not come up with it; the old schedule is in force again then.
    pub fn reschedule(&self, schedule: Schedule) -> Result<(), String> {
        let (answer, answered) = bounded(1);
        let gone = |_| "the supervisor has ended".to_owned();
        self.orders.send(Order::Reschedule(schedule, answer)).map_err(|_| gone(()))?;
        answered.recv().map_err(|_| gone(()))?
    }

    /// Asks go-cron to end its run and itself.
    pub fn stop(&self) {
        let _ = self.orders.send(Order::Stop);
    }

    /// Whether go-cron has ended after [`Self::stop`].
    pub fn is_finished(&self) -> bool {
        self.thread.is_finished()
    }
}

fn lock(status: &Mutex<SchedulerStatus>) -> MutexGuard<'_, SchedulerStatus> {
    mutex::lock(status)
}

struct Watch {
    schedule: Schedule,
    /// Whether the next start makes a backup at once.
    on_start: bool,
    /// Whether the last start was to do so.
    first: bool,
    starter: Starter,
    status: Arc<Mutex<SchedulerStatus>>,
    backoff: Backoff,
    current: Option<Current>,
    /// Old ones that wait for their run to end.
    retiring: Vec<Child>,
    /// When to start it again.
    retry: Option<Instant>,
    orders: Sender<Order>,
}

struct Current {
    child: Child,
    begun: Instant,
    has_port: bool,
}

impl Watch {
    fn run(mut self, orders: &Receiver<Order>) {
        self.start(true);
        loop {
            let ended = self.current.as_ref().map_or_else(never, |current| current.child.exited().clone());
            let retry =
                self.retry.map_or_else(never, |time| after(time.saturating_duration_since(Instant::now())));
            let settled = match &self.current {
                Some(current) if self.backoff.is_failing() => {
                    after(Backoff::SETTLED.saturating_sub(current.begun.elapsed()))
                }
                _ => never(),
            };
            select! {
                recv(orders) -> order => match order {
                    Ok(Order::Reschedule(schedule, answer)) => {
                        let _ = answer.send(self.reschedule(schedule));
                    }
                    Ok(Order::Retired) => self.after_retirement(),
                    Ok(Order::Stop) | Err(_) => return self.stop(),
                },
                recv(ended) -> exit => self.died(exit.unwrap_or(Exit::Unknown)),
                recv(settled) -> _ => {
                    self.backoff = Backoff::new();
                    lock(&self.status).state = SchedulerState::Running;
                }
                recv(retry) -> _ => {
                    lock(&self.status).restarts += 1;
                    self.start(self.may_have_port(Duration::ZERO));
                }
            }
        }
    }

    fn start(&mut self, with_port: bool) {
        self.retry = None;
        match self.starter.start(&self.schedule, with_port, self.on_start) {
            Ok(child) => {
                let mut status = lock(&self.status);
                status.pid = Some(child.pid().as_raw());
                if !self.backoff.is_failing() {
                    status.state = SchedulerState::Running;
                }
                self.current = Some(Current { child, begun: Instant::now(), has_port: with_port });
                // A go-cron that ended at once, for example for want of its port, has not made the first backup.
                self.first = std::mem::take(&mut self.on_start);
            }
            Err(error) => self.note_death(&error, None, Duration::ZERO),
        }
    }

    fn died(&mut self, exit: Exit) {
        let lived = self.current.take().map_or(Duration::ZERO, |current| current.begun.elapsed());
        self.on_start = self.first && lived < PROOF;
        self.note_death(&exit.to_string(), Some(exit), lived);
    }

    fn note_death(&mut self, how: &str, exit: Option<Exit>, lived: Duration) {
        let pause = self.backoff.after(lived);
        self.retry = Some(Instant::now() + pause);
        log::error!("go-cron: {how}; next start in {:.1} s", pause.as_secs_f64());
        let mut status = lock(&self.status);
        status.pid = None;
        status.last_exit = exit.map(Exit::code).or(status.last_exit);
        status.state =
            if self.backoff.is_failing() { SchedulerState::Failing } else { SchedulerState::Restarting };
    }

    fn reschedule(&mut self, schedule: Schedule) -> Result<(), String> {
        log::info!("schedule {} replaces {}", schedule.text(), self.schedule.text());
        let previous = std::mem::replace(&mut self.schedule, schedule);
        self.replace();
        let Err(problem) = self.prove() else { return Ok(()) };
        log::error!("go-cron does not start with schedule {}: {problem}", self.schedule.text());
        self.schedule = previous;
        self.replace();
        Err(problem)
    }

    /// Retires the current go-cron and starts another.
    fn replace(&mut self) {
        if let Some(old) = self.current.take() {
            self.retire(old.child);
        }
        self.start(self.may_have_port(PORT_PATIENCE));
    }

    /// Whether the next go-cron is to open the health port, which an old one may still hold.
    fn may_have_port(&self, patience: Duration) -> bool {
        // If none of ours holds the port, the new one tries to open it and reports the error.
        let mut retiring = self.retiring.iter();
        self.starter.wait_for_port(patience) || !retiring.any(|old| old.signaller().is_running())
    }

    /// Waits until the current go-cron has stayed up for a moment and opened its port.
    fn prove(&mut self) -> Result<(), String> {
        let Some(current) = &self.current else { return Err("it cannot be started".into()) };
        let mut pause = PROOF;
        loop {
            match current.child.exited().recv_timeout(pause) {
                Err(RecvTimeoutError::Timeout) => {}
                exit => {
                    self.current = None;
                    return Err(exit.unwrap_or(Exit::Unknown).to_string());
                }
            }
            let has_time = current.begun.elapsed() < PORT_PROOF;
            if !current.has_port || !has_time || self.starter.port_answers() {
                return Ok(());
            }
            pause = Duration::from_millis(20);
        }
    }

    fn retire(&mut self, old: Child) {
        start::ask_to_retire(&old);
        let (ended, orders) = (old.exited().clone(), self.orders.clone());
        let wait = move || {
            let _ = ended.recv();
            let _ = orders.send(Order::Retired);
        };
        if let Err(error) = thread::Builder::new().name("retired go-cron".into()).spawn(wait) {
            log::error!("cannot watch the old go-cron: {error}");
        }
        self.retiring.push(old);
    }

    /// A go-cron that had to start without the health port gets it when an old one has left it.
    fn after_retirement(&mut self) {
        self.retiring.retain(|child| child.signaller().is_running());
        let without_port = self.current.as_ref().is_some_and(|current| !current.has_port);
        if without_port && self.retiring.is_empty() {
            self.replace();
        }
    }

    fn stop(mut self) {
        let all: Vec<Child> =
            self.current.take().map(|current| current.child).into_iter().chain(self.retiring).collect();
        for child in &all {
            start::ask_to_stop(child);
        }
        for child in &all {
            // An error, too, means that it has ended: another receiver took the exit.
            let _ = child.exited().recv();
        }
        let mut status = lock(&self.status);
        status.state = SchedulerState::Stopped;
        status.pid = None;
    }
}
