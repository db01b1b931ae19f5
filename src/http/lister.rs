//! The one thread that makes long lists.
//!
//! The allocator keeps some megabytes for each thread that has once taken them. Were lists made by all threads of the
//! pool, the daemon would keep tens of megabytes for nothing.

use std::io;
use std::sync::{Mutex, PoisonError};
use std::thread;

use crossbeam_channel::{Sender, bounded};

type Task = Box<dyn FnOnce() + Send>;

/// The thread; started when it is first wanted, and again after a panic.
#[derive(Debug, Default)]
pub struct Lister(Mutex<Option<Sender<Task>>>);

impl Lister {
    /// Has the thread make something, and waits for it. One is made at a time, so that memory stays bounded.
    ///
    /// # Errors
    /// When the thread cannot be started, or has panicked.
    pub fn make<T: Send + 'static>(&self, make: impl FnOnce() -> T + Send + 'static) -> io::Result<T> {
        let mut tasks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let sender = match tasks.take() {
            Some(sender) => sender,
            None => start()?,
        };
        let (made, result) = bounded(1);
        let task = Box::new(move || {
            // Who waits is there until this is sent.
            let _ = made.send(make());
        });
        let failed = || io::Error::other("the thread that makes lists has ended");
        sender.send(task).map_err(|_| failed())?;
        let result = result.recv().map_err(|_| failed())?;
        *tasks = Some(sender);
        Ok(result)
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
}
