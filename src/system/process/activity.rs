//! The current step of a run, to show why it takes long. A step that may take long is announced before it begins.
//! Nothing here blocks the work.

use crate::util::mutex;
use std::fmt;
use std::io::{self, Read};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Finds out what the work waits for, within a few seconds.
pub type Probe = Arc<dyn Fn() -> Option<String> + Send + Sync>;

/// The current step, shared by the work and the thread that watches it.
#[derive(Debug, Clone, Default)]
pub struct Activity(Arc<Shared>);

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
    /// Grows while the work goes on.
    steps: AtomicU64,
}

#[derive(Default)]
struct State {
    work: Work,
    /// What it waits for, if that is known.
    waits: Option<String>,
    /// Tells one thing that is done from the next.
    serial: u64,
}

/// One thing that is done.
#[derive(Default)]
struct Work {
    name: String,
    probe: Option<Probe>,
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        lock(&self.state).work.fmt(f)
    }
}

impl fmt::Debug for Work {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.name.fmt(f)
    }
}

/// A step in progress. When it is dropped, the step before it is the current one again.
#[derive(Debug)]
#[must_use]
pub struct Doing {
    activity: Activity,
    before: Work,
}

impl Activity {
    /// Begins a step: "dump of app".
    pub fn begin(&self, what: impl Into<String>) -> Doing {
        self.enter(Work { name: what.into(), probe: None })
    }

    /// The same of what may wait for something that only `probe` can find out.
    pub fn begin_with(&self, what: impl Into<String>, probe: Probe) -> Doing {
        self.enter(Work { name: what.into(), probe: Some(probe) })
    }

    fn enter(&self, work: Work) -> Doing {
        Doing { activity: self.clone(), before: self.change(work) }
    }

    /// Answers the step before it.
    fn change(&self, work: Work) -> Work {
        let mut state = lock(&self.0.state);
        state.waits = None;
        state.serial += 1;
        self.0.changed.notify_all();
        std::mem::replace(&mut state.work, work)
    }

    /// A reader that counts what is read through it as progress.
    pub fn reader<R: Read>(&self, inner: R) -> Stepping<R> {
        Stepping { inner, activity: self.clone() }
    }

    /// What is done, and what for that waits: "dump of app: waits for …".
    pub fn text(&self) -> String {
        let state = lock(&self.0.state);
        match &state.waits {
            Some(waits) => format!("{}: {waits}", state.work.name),
            None => state.work.name.clone(),
        }
    }

    /// How far it is: another value than before means that it has moved.
    pub fn position(&self) -> (u64, u64) {
        (lock(&self.0.state).serial, self.0.steps.load(Ordering::Relaxed))
    }

    /// Waits until something else is done than at `serial`, for `limit` at most.
    pub fn wait_for_change(&self, serial: u64, limit: Duration) {
        let state = lock(&self.0.state);
        let waited = self.0.changed.wait_timeout_while(state, limit, |state| state.serial == serial);
        drop(waited.unwrap_or_else(PoisonError::into_inner));
    }

    /// Finds out what it waits for, and keeps that unless something else is done by then.
    pub fn look(&self) {
        let (probe, serial) = {
            let state = lock(&self.0.state);
            (state.work.probe.clone(), state.serial)
        };
        let waits = probe.and_then(|probe| probe());
        let mut state = lock(&self.0.state);
        if state.serial == serial {
            state.waits = waits;
        }
    }

    /// Forgets what it waited for.
    pub fn moved_on(&self) {
        lock(&self.0.state).waits = None;
    }
}

impl Drop for Doing {
    fn drop(&mut self) {
        self.activity.change(std::mem::take(&mut self.before));
    }
}

/// Counts what is read through it as progress.
#[derive(Debug)]
pub struct Stepping<R> {
    inner: R,
    activity: Activity,
}

impl<R: Read> Read for Stepping<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.inner.read(buffer)?;
        self.activity.0.steps.fetch_add(1, Ordering::Relaxed);
        Ok(length)
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    mutex::lock(state)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_done_before_goes_on_when_something_within_it_has_ended() {
        let activity = Activity::default();
        let outer = activity.begin("a");
        let inner = activity.begin_with("b", Arc::new(|| Some("waits for c".into())));
        activity.look();
        assert_eq!(activity.text(), "b: waits for c");
        activity.moved_on();
        assert_eq!(activity.text(), "b");
        drop(inner);
        activity.look();
        assert_eq!(activity.text(), "a");
        drop(outer);
        assert_eq!(activity.text(), "");
    }

    #[test]
    fn what_is_read_and_what_is_begun_moves_it() {
        let activity = Activity::default();
        let start = activity.position();
        io::copy(&mut activity.reader(&b"abc"[..]), &mut io::sink()).unwrap();
        let read = activity.position();
        assert_ne!(read, start);
        drop(activity.begin("a"));
        assert_ne!(activity.position(), read);
        activity.wait_for_change(start.0, Duration::from_secs(3600));
    }

    #[test]
    fn an_answer_that_comes_too_late_is_not_taken_for_another_thing() {
        let activity = Activity::default();
        let other = activity.clone();
        let slow = activity.begin_with(
            "a",
            Arc::new(move || {
                std::mem::forget(other.begin("b"));
                Some("waits".into())
            }),
        );
        activity.look();
        assert_eq!(activity.text(), "b");
        drop(slow);
    }
}
