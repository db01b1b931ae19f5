//! One run of the scheduled command: started, listened to, waited for.

use std::io::{self, Read, Write};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, bounded};
use jiff::Zoned;

use super::arguments::Service;
use super::record::{KEPT, Record, Run, SharedRun, Tail};
use crate::history::Trigger;
use crate::logger;
use crate::mutex::lock;
use crate::process::{Child, Reaper, Signaller, for_each_line_within};
use crate::schedule::rfc3339;

/// What a shell gives for a command that could not be started.
const NOT_STARTED: i32 = 127;

/// How long after its end the rest of a run's output is awaited. Only a process that left the run's
/// group can still hold the pipe then.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// A run that goes on.
#[derive(Debug)]
pub struct Going {
    /// The process that leads it.
    pub pid: i32,
    /// Signals the run's process group.
    pub signaller: Signaller,
    /// Tells that the run has ended and stands in the record.
    pub ended: Receiver<()>,
}

/// Starts the command in a process group of its own. A command that cannot be started is logged, and
/// recorded as a run that failed.
pub fn start(service: &Service, reaper: &Reaper, record: &Arc<Record>) -> Option<Going> {
    let run = SharedRun::default();
    lock(&run).started = rfc3339(&Zoned::now());
    match launch(service, reaper, record, &run) {
        Ok(going) => Some(going),
        Err(error) => {
            let message = format!("cannot run {}: {error}", service.program.display());
            log::error!("{message}");
            let mut failed = lock(&run);
            failed.exit_status = NOT_STARTED;
            failed.ended = rfc3339(&Zoned::now());
            failed.stderr.push(message.as_bytes());
            drop(failed);
            record.end(run);
            None
        }
    }
}

fn launch(
    service: &Service,
    reaper: &Reaper,
    record: &Arc<Record>,
    run: &SharedRun,
) -> std::io::Result<Going> {
    let mut command = Command::new(&service.program);
    command.args(&service.arguments).env(Trigger::VARIABLE, Trigger::Schedule.word());
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = reaper.spawn_group(&mut command)?;
    let pid = child.pid().as_raw();
    lock(run).pid = pid;
    record.start(run);
    log::info!("{pid}: started {}", service.program.display());

    let (drained, drains) = bounded(2);
    if let Some(stdout) = child.stdout.take() {
        drain(stdout, std::io::stdout(), run, |run| &mut run.stdout, drained.clone());
    }
    if let Some(stderr) = child.stderr.take() {
        drain(stderr, std::io::stderr(), run, |run| &mut run.stderr, drained);
    }
    let (tell_end, ended) = bounded(1);
    let signaller = child.signaller();
    let (run, record) = (Arc::clone(run), Arc::clone(record));
    thread::spawn(move || await_end(&child, &drains, run, &record, &tell_end));
    Ok(Going { pid, signaller, ended })
}

/// Passes a stream of the run on, as it comes or, where our own lines are JSON, line by line, and keeps its tail. On a
/// thread of its own.
fn drain(
    from: impl Read + Send + 'static,
    mut to: impl Write + Send + 'static,
    run: &SharedRun,
    tail: fn(&mut Run) -> &mut Tail,
    drained: Sender<()>,
) {
    let recorded = Recorded { from, run: Arc::clone(run), tail };
    thread::spawn(move || {
        // Nobody may be left to read our own output; the run goes on all the same. A line goes in one piece, as the
        // other stream and the log may have the same reader.
        let mut pass_on = |bytes: &[u8]| _ = to.write_all(bytes).and_then(|()| to.flush());
        match logger::is_json() {
            true => for_each_line_within(KEPT, recorded, |line| {
                pass_on(format!("{}\n", logger::adopt(line)).as_bytes());
            }),
            false => for_each_chunk(recorded, pass_on),
        }
        drop(drained);
    });
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

fn await_end(child: &Child, drains: &Receiver<()>, run: SharedRun, record: &Record, tell_end: &Sender<()>) {
    let exit = child.wait();
    let ended = rfc3339(&Zoned::now());
    // The readers send nothing; the channel ends when both of them have.
    let _ = drains.recv_deadline(Instant::now() + LAST_WORDS);
    {
        let mut run = lock(&run);
        run.exit_status = exit.code();
        run.ended = ended;
    }
    record.end(run);
    if exit.success() {
        log::info!("{}: {exit}", child.pid());
    } else {
        log::warn!("{}: {exit}", child.pid());
    }
    // One message in a channel of one; the scheduler may have gone.
    let _ = tell_end.send(());
}
