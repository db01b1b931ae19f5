//! Who watches a run: writes down what it does, finds out what it waits for, and ends it when it takes too long. On a thread of
//! its own, for which the run never waits.

use std::process;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, TryRecvError, bounded};

use super::Note;
use crate::system::process::{GRACE, Runner};

/// How often it is looked whether the run has moved.
const TICK: Duration = Duration::from_secs(1);
/// How long it must not have moved until it is found out what it waits for.
const QUIET: Duration = Duration::from_secs(10);
/// How long an answer to that counts.
const ASKED_ANEW: Duration = Duration::from_secs(30);
/// What a run that was ended has for telling so.
const TELLING: Duration = Duration::from_secs(600);
/// How long after its end was asked for a run may still be at what cannot be ended, such as to flush a large file.
const LAST: Duration = Duration::from_secs(300);

/// Watches until it is dropped; then nothing is written down any more.
#[derive(Debug)]
pub struct Watch {
    note: Option<Arc<Note>>,
    /// Gone when the run has ended.
    _ended: Sender<()>,
}

impl Watch {
    /// Begins to watch what `runner` does, and to write it into `note`. After `limit` it is ended.
    pub fn start(runner: &Runner, note: Option<Note>, limit: Option<Duration>) -> Self {
        let (ended, end) = bounded(0);
        let (runner, note) = (runner.clone(), note.map(Arc::new));
        let due = limit.and_then(|limit| Instant::now().checked_add(limit));
        let watcher = Watcher { runner, note: note.clone(), limit, due, end };
        let thread = thread::Builder::new().name("watch".into()).spawn(move || watcher.run());
        if let Err(error) = thread {
            log::warn!("cannot watch how long this run takes: {error}");
        }
        Self { note, _ended: ended }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        // The thread may not come to that before the process ends.
        self.note.iter().for_each(|note| note.remove());
    }
}

struct Watcher {
    runner: Runner,
    note: Option<Arc<Note>>,
    limit: Option<Duration>,
    /// When there is no time left.
    due: Option<Instant>,
    end: Receiver<()>,
}

impl Watcher {
    fn run(mut self) {
        let activity = self.runner.activity().clone();
        let (mut position, mut since, mut asked) = (activity.position(), Instant::now(), None::<Instant>);
        let mut written = String::new();
        loop {
            self.write(&activity.text(), &mut written);
            activity.wait_for_change(position.0, self.pause());
            if self.end.try_recv() == Err(TryRecvError::Disconnected) {
                return;
            }
            if self.due.is_some_and(|due| Instant::now() >= due) {
                self.run_out();
            }
            let now = activity.position();
            if now != position {
                if asked.take().is_some() {
                    activity.moved_on();
                }
                (position, since) = (now, Instant::now());
            } else if since.elapsed() >= QUIET && asked.is_none_or(|asked| asked.elapsed() >= ASKED_ANEW) {
                activity.look();
                asked = Some(Instant::now());
            }
        }
    }

    fn pause(&self) -> Duration {
        let left = self.due.map(|due| due.saturating_duration_since(Instant::now()));
        left.map_or(TICK, |left| left.min(TICK))
    }

    fn write(&mut self, text: &str, written: &mut String) {
        if text == written {
            return;
        }
        if let Some(Err(error)) = self.note.as_ref().map(|note| note.update(text)) {
            log::debug!("cannot record the current step: {error}");
        }
        text.clone_into(written);
    }

    /// Ends the run, by force after a while. What it says of that has some time of its own, once.
    fn run_out(&mut self) {
        let activity = self.runner.activity();
        activity.look();
        let (limit, doing) = (self.limit.unwrap_or_default(), activity.text());
        let hours = as_hours(limit);
        let why = format!("it took longer than BACKUP_MAX_RUN_HOURS ({hours} h); its last step: {doing}");
        log::error!("ending this run: {why}");
        self.runner.run_out(why);
        let begun = Instant::now();
        let mut is_killed = false;
        while self.runner.is_over() && !self.has_ended() {
            if begun.elapsed() >= LAST {
                // What is left hangs in the kernel. Nobody would be told any more; whoever has started us is.
                log::error!("giving up: this step does not end: {doing}");
                process::exit(1);
            }
            if begun.elapsed() >= GRACE && !is_killed {
                log::warn!("killing programs that did not stop within {} s", GRACE.as_secs());
                is_killed = true;
            }
            if is_killed {
                self.runner.kill_running();
            }
            thread::sleep(Duration::from_millis(100));
        }
        self.due = Some(Instant::now() + TELLING);
    }

    fn has_ended(&self) -> bool {
        self.end.try_recv() == Err(TryRecvError::Disconnected)
    }
}

/// Seconds as hours, as the setting has them.
pub fn as_hours(time: Duration) -> f64 {
    (time.as_secs_f64() / 3600.0 * 1000.0).round() / 1000.0
}
