//! Reads of the backup volume with a time limit: a network volume may take long to answer, or never do.

use std::io;
use std::sync::Mutex;
use std::thread;
use std::time::Duration;

use crossbeam_channel::{RecvTimeoutError, Sender, bounded};

use thiserror::Error;

use crate::util::mutex::lock;
use crate::util::unwind;

/// How long a request waits for its turn, and then for its result.
const PATIENCE: Duration = Duration::from_secs(10);

/// Why a read has no result.
#[derive(Debug, Error)]
pub enum VolumeError {
    /// The volume has not answered in time.
    #[error("listing the backups takes too long: does the volume answer?")]
    Stalled,
    /// The thread could not be started, or the read has panicked.
    #[error(transparent)]
    Thread(io::Error),
}

type Task = Box<dyn FnOnce() + Send>;

/// Reads on one thread of its own, one read after the other: so at most one thread hangs with the volume. The thread stays,
/// as the allocator keeps some megabytes for each thread that has made a long list.
#[derive(Debug)]
pub struct VolumeReader {
    /// To the thread, once it has been started. The channel has no places: a task is sent when the thread takes it.
    tasks: Mutex<Option<Sender<Task>>>,
    patience: Duration,
}

impl Default for VolumeReader {
    fn default() -> Self {
        Self { tasks: Mutex::default(), patience: PATIENCE }
    }
}

impl VolumeReader {
    /// Runs `read` and waits for its result.
    ///
    /// # Errors
    /// When it takes too long, the read before it does, or there is no thread for it.
    pub fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, VolumeError> {
        let (sender, result) = bounded(1);
        let task = Box::new(move || {
            // The receiver may have given up.
            let _ = sender.send(read());
        });
        let tasks = self.tasks().map_err(VolumeError::Thread)?;
        tasks.send_timeout(task, self.patience).map_err(|_| VolumeError::Stalled)?;
        result.recv_timeout(self.patience).map_err(|error| match error {
            RecvTimeoutError::Timeout => VolumeError::Stalled,
            RecvTimeoutError::Disconnected => VolumeError::Thread(io::Error::other("the read crashed")),
        })
    }

    /// The way to the thread, which is started when there is none.
    fn tasks(&self) -> io::Result<Sender<Task>> {
        let mut tasks = lock(&self.tasks);
        if let Some(tasks) = tasks.as_ref() {
            return Ok(tasks.clone());
        }
        let (sender, received) = bounded::<Task>(0);
        // The panic of a read ends neither the thread nor the others' reads.
        let run = move || received.iter().for_each(|task| drop(unwind::catch(task)));
        thread::Builder::new().name("volume".into()).spawn(run)?;
        Ok(tasks.insert(sender).clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Instant;

    #[test]
    fn reads_share_a_thread_that_survives_a_panic() {
        let volume = VolumeReader::default();
        let id = || thread::current().id();
        let first = volume.read(id).unwrap();
        assert!(matches!(volume.read(|| panic!("on request")), Err::<(), _>(VolumeError::Thread(_))));
        assert_eq!(volume.read(id).unwrap(), first);
    }

    #[test]
    fn stalled_read_fails_in_time_and_so_do_those_behind_it() {
        let volume = VolumeReader { patience: Duration::from_millis(50), ..VolumeReader::default() };
        let (let_go, stuck) = bounded::<()>(0);
        let first = volume.read(move || stuck.recv().is_ok());
        assert!(matches!(first, Err(VolumeError::Stalled)), "{first:?}");
        let second = volume.read(|| ());
        assert!(matches!(second, Err(VolumeError::Stalled)), "{second:?}");
        drop(let_go);
        let begun = Instant::now();
        while volume.read(|| ()).is_err() {
            assert!(begun.elapsed() < Duration::from_secs(30), "it is still stalled");
        }
    }
}
