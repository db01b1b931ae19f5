//! Requests on their way to the pool: a bounded channel whose receivers sleep at once. One that first spins and
//! yields, in case something comes, takes the processor from those who would send it: there are more threads here
//! than cores.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// The channel.
#[derive(Debug)]
pub struct Queue<T> {
    capacity: usize,
    items: Mutex<VecDeque<T>>,
    come: Condvar,
}

impl<T> Queue<T> {
    /// A channel for `capacity` items.
    pub fn new(capacity: usize) -> Self {
        Self { capacity, items: Mutex::new(VecDeque::with_capacity(capacity)), come: Condvar::new() }
    }

    /// Sends an item.
    ///
    /// # Errors
    /// The item itself, when there is no place for it.
    pub fn send(&self, item: T) -> Result<(), T> {
        let mut items = self.lock();
        if items.len() >= self.capacity {
            return Err(item);
        }
        items.push_back(item);
        drop(items);
        self.come.notify_one();
        Ok(())
    }

    /// Waits for an item, and takes the one that was sent first.
    pub fn receive(&self) -> T {
        let mut items = self.lock();
        loop {
            match items.pop_front() {
                Some(item) => return item,
                None => items = self.come.wait(items).unwrap_or_else(PoisonError::into_inner),
            }
        }
    }

    /// Whether none waits.
    pub fn is_empty(&self) -> bool {
        self.lock().is_empty()
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<T>> {
        self.items.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::thread;

    #[test]
    fn each_item_is_received_once_and_what_has_no_place_comes_back() {
        let queue = Queue::new(2);
        assert_eq!((queue.send(1), queue.send(2), queue.send(3)), (Ok(()), Ok(()), Err(3)));
        thread::scope(|scope| {
            let receivers: Vec<_> = (0..3).map(|_| scope.spawn(|| queue.receive())).collect();
            while queue.send(3).is_err() {
                thread::yield_now();
            }
            let mut received: Vec<i32> = receivers.into_iter().map(|thread| thread.join().unwrap()).collect();
            received.sort_unstable();
            assert_eq!(received, [1, 2, 3]);
        });
    }
}
