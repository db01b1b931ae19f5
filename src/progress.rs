//! How far long work has come: a line that is drawn again and again on a terminal, otherwise a line in the
//! log now and then.

use std::collections::VecDeque;
use std::io::{self, Read};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crossbeam_channel::{RecvTimeoutError, Sender, bounded};
use nix::unistd::Pid;

use crate::process::{Child, bytes_read};
use crate::{logger, terminal, units};

/// How often the line on a terminal is drawn.
const ON_TERMINAL: Duration = Duration::from_millis(250);
/// How often the log gets a line.
const IN_LOG: Duration = Duration::from_secs(30);
/// How far back the rate looks.
const RECENTLY: Duration = Duration::from_secs(10);

/// Work that goes on. It is over when the value is dropped.
#[derive(Debug)]
pub struct Progress {
    work: Arc<Work>,
    /// Dropped first: that ends the thread.
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// How much of the work is done.
#[derive(Debug, Default)]
struct Work {
    done: AtomicU64,
    /// A program that does some of it, and the most bytes that it has to read for that.
    reader: Mutex<Option<(Pid, u64)>>,
}

impl Work {
    /// Nothing when that cannot be told.
    fn measure(&self) -> Option<u64> {
        let reader = self.reader.lock().unwrap_or_else(PoisonError::into_inner);
        let read = reader.map_or(Some(0), |(pid, most)| Some(bytes_read(pid)?.min(most)));
        read.map(|read| self.done.load(Ordering::Relaxed).saturating_add(read))
    }
}

impl Progress {
    /// Begins to show progress of `what` ("dumping app"): on standard error if that is a terminal, otherwise
    /// in the log. `total` is the number of bytes that there will be, where that is known.
    pub fn start(what: impl Into<String>, total: Option<u64>) -> Self {
        let work = Arc::<Work>::default();
        let counter = Arc::clone(&work);
        Self::start_measured(what, total, work, move || counter.measure())
    }

    /// The same of work that others do: `measure` says how many bytes of it are done, if that can be told.
    pub fn of_others(what: impl Into<String>, measure: impl Fn() -> Option<u64> + Send + 'static) -> Self {
        Self::start_measured(what, None, Arc::default(), measure)
    }

    fn start_measured(
        what: impl Into<String>,
        total: Option<u64>,
        work: Arc<Work>,
        measure: impl Fn() -> Option<u64> + Send + 'static,
    ) -> Self {
        match terminal::can_redraw() && !logger::is_json() {
            true => {
                let what = what.into();
                Self::start_with(what, total, work, measure, ON_TERMINAL, terminal::show_bottom_line)
            }
            false => Self::start_with(what.into(), total, work, measure, IN_LOG, |line| {
                if let Some(line) = line {
                    log::info!("{line}");
                }
            }),
        }
    }

    /// Calls `show` with a line every `interval`, and with none at the end if there was any.
    fn start_with(
        what: String,
        total: Option<u64>,
        work: Arc<Work>,
        measure: impl Fn() -> Option<u64> + Send + 'static,
        interval: Duration,
        mut show: impl FnMut(Option<&str>) + Send + 'static,
    ) -> Self {
        let (stop, stopped) = bounded::<()>(0);
        let watch = move || {
            let (begun, mut meter, mut shown) = (Instant::now(), Meter::default(), false);
            while stopped.recv_timeout(interval) == Err(RecvTimeoutError::Timeout) {
                let (elapsed, done) = (begun.elapsed(), measure());
                show(Some(&match done {
                    Some(done) => line(&what, done, total, meter.rate(elapsed, done), elapsed),
                    None => format!("{what}: {}", units::clock(elapsed.as_secs())),
                }));
                shown = true;
            }
            if shown {
                show(None);
            }
        };
        // Without a thread the work goes on unseen.
        let thread = thread::Builder::new().name("progress".into()).spawn(watch).ok();
        Self { work, stop: Some(stop), thread }
    }

    /// Counts bytes that are done. Cheap, and callable from several threads.
    pub fn add(&self, bytes: u64) {
        self.work.done.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Counts what a program of ours reads while `wait` waits for its end, at the most the bytes that it has to read.
    pub fn follow<T>(&self, child: &Child, most: u64, wait: impl FnOnce() -> T) -> T {
        let reader = || self.work.reader.lock().unwrap_or_else(PoisonError::into_inner);
        *reader() = Some((child.pid(), most));
        let waited = wait();
        let mut reader = reader();
        self.add(most);
        *reader = None;
        waited
    }

    /// A reader that counts what is read through it.
    pub fn reader<R: Read>(&self, inner: R) -> CountingReader<'_, R> {
        CountingReader { inner, progress: self }
    }

    /// Ends it; the line on the terminal is gone when this returns.
    pub fn finish(self) {}
}

impl Drop for Progress {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Counts what is read through it.
#[derive(Debug)]
pub struct CountingReader<'a, R> {
    inner: R,
    progress: &'a Progress,
}

impl<R: Read> Read for CountingReader<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.inner.read(buffer)?;
        self.progress.add(length as u64);
        Ok(length)
    }
}

/// The rate of the last seconds.
#[derive(Debug)]
struct Meter {
    /// Times since the beginning and bytes done by then, oldest first; the first is the newest one that is at
    /// least [`RECENTLY`] old, if any is.
    samples: VecDeque<(Duration, u64)>,
}

impl Default for Meter {
    fn default() -> Self {
        Self { samples: VecDeque::from([(Duration::ZERO, 0)]) }
    }
}

impl Meter {
    /// Bytes per second lately, when `done` are done after `elapsed`.
    fn rate(&mut self, elapsed: Duration, done: u64) -> u64 {
        while self.samples.get(1).is_some_and(|(at, _)| elapsed.saturating_sub(*at) >= RECENTLY) {
            self.samples.pop_front();
        }
        let (since, before) = self.samples.front().copied().unwrap_or_default();
        self.samples.push_back((elapsed, done));
        let milliseconds = elapsed.saturating_sub(since).as_millis().max(1);
        let rate = u128::from(done.saturating_sub(before)) * 1000 / milliseconds;
        u64::try_from(rate).unwrap_or(u64::MAX)
    }
}

fn line(what: &str, done: u64, total: Option<u64>, rate: u64, elapsed: Duration) -> String {
    let speed = format!("{}/s, {}", units::bytes(rate), units::clock(elapsed.as_secs()));
    match total.filter(|total| *total > 0) {
        None => format!("{what}: {}, {speed}", units::bytes(done)),
        Some(total) => {
            // A file may have grown since its length was asked for.
            let percent = u128::from(done.min(total)) * 100 / u128::from(total);
            let left = match rate {
                0 => String::new(),
                rate => format!(", {} left", units::clock(total.saturating_sub(done).div_ceil(rate))),
            };
            let (done, total) = (units::bytes(done), units::bytes(total));
            format!("{what}: {done} of {total} ({percent} %), {speed}{left}")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;

    type Shown = Arc<Mutex<Vec<Option<String>>>>;

    fn start(interval: Duration) -> (Progress, Shown) {
        let shown = Shown::default();
        let sink = Arc::clone(&shown);
        let show = move |line: Option<&str>| sink.lock().unwrap().push(line.map(String::from));
        let work = Arc::<Work>::default();
        let counter = Arc::clone(&work);
        let measure = move || counter.measure();
        (Progress::start_with("dumping app".into(), Some(1 << 20), work, measure, interval, show), shown)
    }

    #[test]
    fn work_of_several_threads_is_counted_and_shown_and_the_line_taken_away() {
        let (progress, shown) = start(Duration::from_millis(1));
        thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| io::copy(&mut progress.reader(&[0; 1 << 18][..]), &mut io::sink()).unwrap());
            }
        });
        let half = |line: &Option<String>| {
            line.as_ref().is_some_and(|line| line.starts_with("dumping app: 512.0 KiB of 1.0 MiB (50 %), "))
        };
        let deadline = Instant::now() + Duration::from_secs(20);
        while !shown.lock().unwrap().last().is_some_and(half) {
            assert!(Instant::now() < deadline, "{:?}", shown.lock().unwrap());
            thread::yield_now();
        }
        progress.finish();
        assert_eq!(shown.lock().unwrap().last(), Some(&None));
    }

    #[test]
    fn work_that_is_soon_over_ends_at_once_and_shows_nothing() {
        let (progress, shown) = start(Duration::from_secs(3600));
        progress.add(1);
        drop(progress);
        assert!(shown.lock().unwrap().is_empty());
    }

    #[test]
    fn the_rate_is_that_of_the_last_seconds() {
        let mut meter = Meter::default();
        let mut rate = |second, done| meter.rate(Duration::from_secs(second), done);
        assert_eq!(rate(0, 0), 0);
        assert_eq!(rate(2, 2000), 1000);
        let stopped: Vec<u64> = (3..=20).map(|second| rate(second, 2000)).collect();
        assert_eq!(stopped.last(), Some(&0), "{stopped:?}");
        assert_eq!(rate(22, 10_000), 800, "10 s of 8000 bytes");
        assert_eq!(rate(1000, 10_000 + 978 * 5), 5, "the last report is long ago");
    }

    #[test]
    fn a_line_says_what_is_known() {
        let shown = |done, total, rate, seconds| {
            line("checking last/x", done, total, rate, Duration::from_secs(seconds))
        };
        assert_eq!(shown(5 << 20, None, 1 << 20, 5), "checking last/x: 5.0 MiB, 1.0 MiB/s, 0:05");
        assert_eq!(
            shown(1 << 30, Some(4 << 30), 1 << 20, 3661),
            "checking last/x: 1.0 GiB of 4.0 GiB (25 %), 1.0 MiB/s, 1:01:01, 51:12 left"
        );
        assert_eq!(
            shown(10, Some(5), 0, 0),
            "checking last/x: 10 B of 5 B (100 %), 0 B/s, 0:00",
            "it grew, and stands"
        );
        assert_eq!(shown(0, Some(0), 0, 0), "checking last/x: 0 B, 0 B/s, 0:00");
        shown(u64::MAX, Some(u64::MAX), 1, u64::MAX);
        shown(0, Some(u64::MAX), 1, 0);
    }
}
