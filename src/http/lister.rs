//! The one thread that makes long lists.
//!
//! The allocator keeps some megabytes for each thread that has once taken them. Were lists made by all threads of the
//! pool, the daemon would keep tens of megabytes for nothing.

use std::fmt;
use std::io;
use std::sync::{Mutex, MutexGuard};
use std::thread;
use std::time::Duration;

use crossbeam_channel::{RecvTimeoutError, SendTimeoutError, Sender, bounded};

use crate::util::mutex;

type Task = Box<dyn FnOnce() + Send>;

/// How long a request waits for its turn, and then for its list. Together they leave a line enough time for the answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// Why there is no list.
#[derive(Debug)]
pub enum ListerError {
    /// The thread cannot be started, or has panicked.
    Ended(io::Error),
    /// It takes too long: what it reads, such as a network volume, does not answer.
    Slow,
}

impl fmt::Display for ListerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ended(error) => error.fmt(f),
            Self::Slow => f.write_str("listing the backups takes too long: does the volume answer?"),
        }
    }
}

impl std::error::Error for ListerError {}

/// The thread; started when it is first wanted, and again after a panic.
#[derive(Debug)]
pub struct Lister {
    tasks: Mutex<Option<Sender<Task>>>,
    patience: Duration,
}

impl Default for Lister {
    fn default() -> Self {
        Self { tasks: Mutex::default(), patience: PATIENCE }
    }
}

impl Lister {
    /// Has the thread make something, and waits for it. One is made at a time, so that memory stays bounded.
    ///
    /// # Errors
    /// When the thread cannot be started or has panicked, or it takes too long.
    pub fn make<T: Send + 'static>(
        &self,
        make: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, ListerError> {
        let sender = self.sender().map_err(ListerError::Ended)?;
        let (made, result) = bounded(1);
        let task = Box::new(move || {
            // Who waits may have given up.
            let _ = made.send(make());
        });
        // The thread takes a task when it is done with the one before.
        match sender.send_timeout(task, self.patience) {
            Ok(()) => {}
            Err(SendTimeoutError::Timeout(_)) => return Err(ListerError::Slow),
            Err(SendTimeoutError::Disconnected(_)) => return Err(self.ended(&sender)),
        }
        result.recv_timeout(self.patience).map_err(|error| match error {
            RecvTimeoutError::Timeout => ListerError::Slow,
            RecvTimeoutError::Disconnected => self.ended(&sender),
        })
    }

    fn sender(&self) -> io::Result<Sender<Task>> {
        let mut tasks = self.lock();
        if tasks.is_none() {
            *tasks = Some(start()?);
        }
        tasks.clone().ok_or_else(|| io::Error::other("the thread that lists backups is not running"))
    }

    /// Has another thread started by the next who wants one.
    fn ended(&self, former: &Sender<Task>) -> ListerError {
        let mut tasks = self.lock();
        if tasks.as_ref().is_some_and(|tasks| tasks.same_channel(former)) {
            *tasks = None;
        }
        ListerError::Ended(io::Error::other("the thread that lists backups has ended"))
    }

    fn lock(&self) -> MutexGuard<'_, Option<Sender<Task>>> {
        mutex::lock(&self.tasks)
    }
}

fn start() -> io::Result<Sender<Task>> {
    let (sender, tasks) = bounded::<Task>(0);
    thread::Builder::new().name("lists".into()).spawn(move || tasks.iter().for_each(|task| task()))?;
    Ok(sender)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_is_made_by_one_thread_and_by_another_after_a_panic() {
        let lister = Lister::default();
        let id = || thread::current().id();
        let first = lister.make(id).unwrap();
        assert_eq!(lister.make(id).unwrap(), first);
        assert!(lister.make(|| panic!("on request")).is_err());
        assert_ne!(lister.make(id).unwrap(), first);
    }

    #[test]
    fn who_waits_too_long_is_told_so_and_what_is_stuck_holds_nobody_for_ever() {
        let lister = Lister { patience: Duration::from_millis(50), ..Lister::default() };
        let (let_go, stuck) = bounded::<()>(0);
        let slow = lister.make(move || stuck.recv().is_ok());
        assert!(matches!(slow, Err(ListerError::Slow)), "{slow:?}");
        let next = lister.make(|| ());
        assert!(matches!(next, Err(ListerError::Slow)), "{next:?}");
        drop(let_go);
        let begun = std::time::Instant::now();
        while lister.make(|| ()).is_err() {
            assert!(begun.elapsed() < Duration::from_secs(30), "it is stuck still");
        }
    }
}
