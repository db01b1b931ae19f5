//! The progress of long work: a line that is redrawn on a terminal, or else a log line now and then.

use std::collections::VecDeque;
use std::io::{self, Read};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crossbeam_channel::{RecvTimeoutError, Sender, bounded};
use nix::unistd::Pid;

use crate::system::logger;
use crate::system::process::{Child, bytes_read};
use crate::util::mutex;
use crate::util::terminal;
use crate::util::units;

/// How often the line on a terminal is drawn.
const ON_TERMINAL: Duration = Duration::from_millis(250);
/// How often the log gets a line.
const IN_LOG: Duration = Duration::from_secs(30);
/// How far back the rate looks.
const RECENTLY: Duration = Duration::from_secs(10);

/// Work in progress. Dropping it ends the display.
#[derive(Debug)]
pub struct Progress {
    work: Arc<Work>,
    /// Dropped first: that ends the thread.
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// How many bytes there will be.
#[derive(Debug, Clone, Copy)]
enum Total {
    /// So many.
    Known(u64),
    /// An estimate: as many as the last time.
    Guessed(u64),
}

/// Where the lines are shown: how often, and in how many columns, if that matters.
struct Display {
    interval: Duration,
    columns: Option<fn() -> usize>,
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
        let reader = mutex::lock(&self.reader);
        let read = reader.map_or(Some(0), |(pid, most)| Some(bytes_read(pid)?.min(most)));
        read.map(|read| self.done.load(Ordering::Relaxed).saturating_add(read))
    }
}

impl Progress {
    /// Shows the progress of `what` ("dumping app"): on standard error if that is a terminal, otherwise in the log.
    /// `total` is the number of bytes, if it is known.
    pub fn start(what: impl Into<String>, total: Option<u64>) -> Self {
        let work = Arc::<Work>::default();
        let counter = Arc::clone(&work);
        Self::start_measured(what, total.map(Total::Known), work, move || counter.measure())
    }

    /// The same if only the number of bytes of the last time is known.
    pub fn start_like(what: impl Into<String>, last_time: Option<u64>) -> Self {
        let work = Arc::<Work>::default();
        let counter = Arc::clone(&work);
        Self::start_measured(what, last_time.map(Total::Guessed), work, move || counter.measure())
    }

    /// The same for work of another process: `measure` answers how many bytes are done, if that is known.
    pub fn of_others(
        what: impl Into<String>,
        last_time: Option<u64>,
        measure: impl Fn() -> Option<u64> + Send + 'static,
    ) -> Self {
        Self::start_measured(what, last_time.map(Total::Guessed), Arc::default(), measure)
    }

    fn start_measured(
        what: impl Into<String>,
        total: Option<Total>,
        work: Arc<Work>,
        measure: impl Fn() -> Option<u64> + Send + 'static,
    ) -> Self {
        if terminal::can_redraw() && !logger::is_json() {
            let display = Display { interval: ON_TERMINAL, columns: Some(terminal::columns) };
            Self::start_with(what.into(), total, work, measure, display, terminal::show_bottom_line)
        } else {
            let display = Display { interval: IN_LOG, columns: None };
            Self::start_with(what.into(), total, work, measure, display, |line| {
                if let Some(line) = line {
                    log::info!("{line}");
                }
            })
        }
    }

    /// Calls `show` with a line now and then, and with none at the end if there was any.
    fn start_with(
        what: String,
        total: Option<Total>,
        work: Arc<Work>,
        measure: impl Fn() -> Option<u64> + Send + 'static,
        Display { interval, columns }: Display,
        mut show: impl FnMut(Option<&str>) + Send + 'static,
    ) -> Self {
        let (stop, stopped) = bounded::<()>(0);
        let watch = move || {
            let (begun, mut meter, mut shown) = (Instant::now(), Meter::default(), false);
            while stopped.recv_timeout(interval) == Err(RecvTimeoutError::Timeout) {
                let (elapsed, done) = (begun.elapsed(), measure());
                let state = match done {
                    Some(done) => state(done, total, meter.rate(elapsed, done), elapsed),
                    None => units::clock(elapsed.as_secs()),
                };
                show(Some(&line(&what, &state, columns.map(|columns| columns()))));
                shown = true;
            }
            if shown {
                show(None);
            }
        };
        // Without the thread no progress is shown.
        let thread = thread::Builder::new().name("progress".into()).spawn(watch).ok();
        Self { work, stop: Some(stop), thread }
    }

    /// Counts bytes that are done. Cheap, and callable from several threads.
    pub fn add(&self, bytes: u64) {
        self.work.done.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Counts what a program of ours reads while `wait` waits for its end, at the most the bytes that it has to read.
    pub fn follow<T>(&self, child: &Child, most: u64, wait: impl FnOnce() -> T) -> T {
        let reader = || mutex::lock(&self.work.reader);
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

/// What is done and how far that is. Where there is not the room for both, the name is cut.
fn line(what: &str, state: &str, columns: Option<usize>) -> String {
    let what = terminal::printable(what);
    match columns {
        Some(columns) => {
            let room = columns.saturating_sub(state.len() + ": ".len());
            // What is behind a slot is the name of a backup.
            let cut = if what.contains('/') { terminal::cut_start } else { terminal::cut_end };
            format!("{}: {state}", cut(&what, room))
        }
        None => format!("{what}: {state}"),
    }
}

fn state(done: u64, total: Option<Total>, rate: u64, elapsed: Duration) -> String {
    let speed = format!("{}/s, {}", units::bytes(rate), units::clock(elapsed.as_secs()));
    let (about, total) = match total {
        Some(Total::Known(total @ 1..)) => ("", total),
        // More than the last time: the total is not known.
        Some(Total::Guessed(total)) if done < total => ("about ", total),
        _ => return format!("{}, {speed}", units::bytes(done)),
    };
    // A file may have grown since its length was asked for.
    let percent = u128::from(done.min(total)) * 100 / u128::from(total);
    let left = match rate {
        0 => String::new(),
        rate => format!(", {} left", units::clock(total.saturating_sub(done).div_ceil(rate))),
    };
    let (done, total) = (units::bytes(done), units::bytes(total));
    format!("{done} of {about}{total} ({percent} %), {speed}{left}")
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
        let display = Display { interval, columns: Some(|| terminal::COLUMNS) };
        let total = Some(Total::Known(1 << 20));
        (Progress::start_with("dumping app".into(), total, work, measure, display, show), shown)
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

    /// The lines of a terminal of 80 columns.
    const GOLDEN: &str = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/progress.txt"));

    #[test]
    fn a_line_says_what_is_known_and_fits() {
        let named = |name: &str, done, total, rate, seconds| {
            let state = state(done, total, rate, Duration::from_secs(seconds));
            line(name, &state, Some(terminal::COLUMNS))
        };
        let shown = |done, total, rate, seconds| named("checking last/x", done, total, rate, seconds);
        let long = format!("dumping {}", "n".repeat(63));
        let (known, guessed) = (|total| Some(Total::Known(total)), |total| Some(Total::Guessed(total)));
        let lines = [
            shown(5 << 20, None, 1 << 20, 5),
            shown(1 << 30, known(4 << 30), 1 << 20, 3661),
            // It grew, and stands.
            shown(10, known(5), 0, 0),
            shown(0, known(0), 0, 0),
            shown(0, guessed(0), 0, 0),
            named("dumping app", 1 << 30, guessed(4 << 30), 20 << 20, 52),
            named("dumping app", 5 << 30, guessed(4 << 30), 20 << 20, 256),
            named(&long, 1 << 30, None, 20 << 20, 52),
            named(&long, 1 << 30, guessed(4 << 30), 20 << 20, 52),
            named("dumping 数据库\u{1b}[2J数据库数据库", 1 << 30, guessed(4 << 30), 20 << 20, 52),
            named("verifying last/application-20260416-143000.sql.gz", 1 << 30, known(4 << 30), 20 << 20, 52),
            named(&long, 1047 << 30, guessed(1048 << 30), 1 << 10, 360_000),
        ];
        assert!(lines.iter().all(|line| unicode_width::UnicodeWidthStr::width(line.as_str()) <= 80));
        assert_eq!(lines.map(|line| line + "\n").concat(), GOLDEN);
        assert_eq!(line(&long, "0:05", None), format!("{long}: 0:05"), "the log takes any width");
        shown(u64::MAX, known(u64::MAX), 1, u64::MAX);
        shown(0, known(u64::MAX), 1, 0);
    }
}
