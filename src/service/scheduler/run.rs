//! The runs of the scheduled command: started, read from, waited for, and recorded if they are backups that die. All of
//! it is on one thread that is started before any run, as there may be no room for another one later.

use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, bounded};
use jiff::Zoned;
use nix::sys::signal::Signal;

use super::arguments::Service;
use super::record::{KEPT, Record, Run, SharedRun, Tail};
use crate::engine::recorder::{self, WatchedRun};
use crate::formats::schedule::rfc3339;
use crate::settings::Redactor;
use crate::store::records::history::Trigger;
use crate::system::logger;
use crate::system::process::{Child, Exit, Reaper, Redacted, Signaller, for_each_line_within};
use crate::util::mutex::lock;
use crate::util::unwind;

/// The exit status of a shell for a command that could not be started.
const NOT_STARTED: i32 = 127;

/// How long after its end the rest of a run's output is awaited. Only a process that left the run's
/// group can still hold the pipe then.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// A run that goes on, or whose end is being recorded.
#[derive(Debug)]
pub struct Going {
    /// The process that leads it; 0 when it could not be started.
    pub pid: i32,
    /// Tells that the run has ended and stands in the record.
    pub ended: Receiver<()>,
    processes: Shared,
}

/// The processes of a run.
#[derive(Debug, Default)]
struct Processes {
    run: Option<Signaller>,
    recorder: Option<Signaller>,
    is_stopping: bool,
}

type Shared = Arc<Mutex<Processes>>;

impl Going {
    /// Sends TERM to the run and to the process that records its end.
    pub fn stop(&self) {
        let mut processes = lock(&self.processes);
        processes.is_stopping = true;
        for process in [&processes.run, &processes.recorder].into_iter().flatten() {
            process.signal(Signal::SIGTERM);
        }
    }

    /// Kills the run.
    pub fn kill(&self) {
        lock(&self.processes).run.iter().for_each(|process| _ = process.signal(Signal::SIGKILL));
    }

    /// Kills the process that records its end.
    pub fn kill_recorder(&self) {
        lock(&self.processes).recorder.iter().for_each(|process| _ = process.signal(Signal::SIGKILL));
    }
}

/// The thread of the runs.
#[derive(Debug)]
pub struct Runs(Sender<Order>);

#[derive(Debug)]
struct Order {
    processes: Shared,
    started: Sender<i32>,
    /// Ends with the run.
    ended: Sender<()>,
}

impl Runs {
    /// Starts the thread, for runs of the command of `service`.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start(service: Service, reaper: Reaper, record: Arc<Record>) -> io::Result<Self> {
        let (orders, ordered) = bounded::<Order>(1);
        let bench = Bench { service, reaper, record };
        thread::Builder::new().name("runs".into()).spawn(move || {
            for order in ordered {
                if let Err(panic) = unwind::catch(|| bench.carry_out(&order)) {
                    log::error!("{panic}");
                }
            }
        })?;
        Ok(Self(orders))
    }

    /// Starts the command in a process group of its own. One that cannot be started is logged, and recorded as a run that
    /// has failed.
    pub fn begin(&self) -> Option<Going> {
        let processes = Shared::default();
        let ((started, pid), (tell_end, ended)) = (bounded(1), bounded(1));
        let order = Order { processes: Arc::clone(&processes), started, ended: tell_end };
        let pid = self.0.send(order).ok().and_then(|()| pid.recv().ok());
        if pid.is_none() {
            log::error!("the thread that starts the runs failed");
        }
        Some(Going { pid: pid?, ended, processes })
    }
}

struct Bench {
    service: Service,
    reaper: Reaper,
    record: Arc<Record>,
}

impl Bench {
    fn carry_out(&self, order: &Order) {
        let run = SharedRun::default();
        lock(&run).started = rfc3339(&Zoned::now());
        let Service { program, arguments, .. } = &self.service;
        let arguments = arguments.iter().map(|argument| argument.to_str().unwrap_or_default());
        let databases = recorder::databases_of(Path::new(program), arguments);
        let watched = databases.map(|databases| WatchedRun::new(Trigger::Schedule, databases));
        let error = match self.launch(&run, watched.as_ref()) {
            Ok((child, drains)) => {
                lock(&order.processes).run = Some(child.signaller());
                let _ = order.started.send(child.pid().as_raw());
                let (exit, has_died) = self.await_end(&child, &drains, &run, watched.as_ref());
                has_died.then(|| {
                    if lock(&order.processes).is_stopping {
                        recorder::error_of_cancellation(exit)
                    } else {
                        recorder::error_of_end(exit, last_error(&run).as_deref())
                    }
                })
            }
            Err(error) => {
                self.fail(&run, &error);
                let _ = order.started.send(0);
                Some(recorder::error_of_start(&error))
            }
        };
        if let (Some(watched), Some(error)) = (watched, error) {
            self.record_death(&watched, &error, &run, &order.processes);
        }
        // One message in a channel of one; the scheduler may have gone.
        let _ = order.ended.send(());
    }

    fn launch(&self, run: &SharedRun, watched: Option<&WatchedRun>) -> io::Result<(Child, Receiver<()>)> {
        let mut command = Command::new(&self.service.program);
        command.args(&self.service.arguments).env(Trigger::VARIABLE, Trigger::Schedule.word());
        if let Some(watched) = watched {
            watched.prepare(&mut command);
        }
        let (child, drains) = self.start(&mut command, run)?;
        let pid = child.pid().as_raw();
        lock(run).pid = pid;
        self.record.start(run);
        log::info!("{pid}: started {}", self.service.program.display());
        Ok((child, drains))
    }

    /// Starts a program whose output is the run's. The channel ends with it.
    fn start(&self, command: &mut Command, run: &SharedRun) -> io::Result<(Child, Receiver<()>)> {
        // Started before the child, so that no child runs without readers.
        let (drained, drains) = bounded(2);
        let (stdout, stderr) = (io::pipe()?, io::pipe()?);
        drain(stdout.0, io::stdout(), run, |run| &mut run.stdout, drained.clone())?;
        drain(stderr.0, io::stderr(), run, |run| &mut run.stderr, drained)?;
        command.stdin(Stdio::null()).stdout(stdout.1).stderr(stderr.1);
        Ok((self.reaper.spawn_group(command)?, drains))
    }

    /// Waits for the run. Answers its exit, and whether it died without recording its result.
    fn await_end(
        &self,
        child: &Child,
        drains: &Receiver<()>,
        run: &SharedRun,
        watched: Option<&WatchedRun>,
    ) -> (Exit, bool) {
        let exit = child.wait();
        let ended = rfc3339(&Zoned::now());
        // The readers send nothing; the channel ends when both of them have.
        let _ = drains.recv_deadline(Instant::now() + LAST_WORDS);
        let has_died = watched.is_some_and(|watched| watched.has_died(exit));
        {
            let mut run = lock(run);
            // A script may have exited with 0 all the same.
            run.exit_status = if has_died { exit.code().max(1) } else { exit.code() };
            run.ended = ended;
        }
        self.record.end(Arc::clone(run));
        if exit.success() {
            log::info!("{}: {exit}", child.pid());
        } else {
            log::warn!("{}: {exit}", child.pid());
        }
        (exit, has_died)
    }

    fn fail(&self, run: &SharedRun, error: &io::Error) {
        let message = format!("cannot run {}: {error}", self.service.program.display());
        log::error!("{message}");
        let mut failed = lock(run);
        failed.exit_status = NOT_STARTED;
        failed.ended = rfc3339(&Zoned::now());
        failed.stderr.push(message.as_bytes());
        drop(failed);
        self.record.end(Arc::clone(run));
    }

    /// Records a backup that has died; what that prints belongs to the run.
    fn record_death(&self, watched: &WatchedRun, error: &str, run: &SharedRun, processes: &Shared) {
        let program = match recorder::program() {
            Ok(program) => program,
            Err(error) => return log::error!("cannot find backupgram: {error}"),
        };
        let mut output = None;
        let start = |command: &mut Command| {
            let (child, drains) = self.start(command, run)?;
            lock(processes).recorder = Some(child.signaller());
            output = Some(drains);
            Ok(child)
        };
        watched.record(&program, error, start, || !lock(processes).is_stopping);
        let _ = output.map(|drains| drains.recv_timeout(LAST_WORDS));
    }
}

/// The last error that a run has printed.
fn last_error(run: &SharedRun) -> Option<String> {
    let text = lock(run).stderr.text();
    text.lines().filter_map(|line| line.strip_prefix("error: ")).next_back().map(String::from)
}

/// Passes a stream of the run on, as it comes or, where our own lines are JSON, line by line, and keeps its tail, both
/// without secrets: anybody may read either. On a thread of its own.
fn drain(
    from: impl Read + AsFd + Send + 'static,
    mut to: impl Write + Send + 'static,
    run: &SharedRun,
    tail: fn(&mut Run) -> &mut Tail,
    drained: Sender<()>,
) -> io::Result<()> {
    let from = Redacted::new(from, Redactor::of_process());
    let recorded = Recorded { from, run: Arc::clone(run), tail };
    let drain = move || {
        // A write may fail as nobody reads our output; the run goes on. A line is written in one piece, as the other
        // stream and the log may have the same reader.
        let mut pass_on = |bytes: &[u8]| _ = to.write_all(bytes).and_then(|()| to.flush());
        if logger::is_json() {
            for_each_line_within(KEPT, recorded, |line| {
                pass_on(format!("{}\n", logger::adopt(line)).as_bytes());
            })
        } else {
            for_each_chunk(recorded, pass_on)
        }
        drop(drained);
    };
    thread::Builder::new().name("output".into()).spawn(drain).map(drop)
}

fn for_each_chunk(mut output: impl Read, mut take: impl FnMut(&[u8])) {
    let mut buffer = [0; 8192];
    loop {
        match output.read(&mut buffer) {
            Ok(0) => break,
            Ok(count) => take(&buffer[..count]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => break,
        }
    }
}

/// A stream of a run whose tail is kept as it is read.
struct Recorded<R> {
    from: R,
    run: SharedRun,
    tail: fn(&mut Run) -> &mut Tail,
}

impl<R: Read> Read for Recorded<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.from.read(buffer)?;
        (self.tail)(&mut lock(&self.run)).push(&buffer[..count]);
        Ok(count)
    }
}
