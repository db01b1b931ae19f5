//! A counting semaphore that serves waiters in the order of their arrival.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crossbeam_channel::{Sender, bounded};

use crate::util::mutex::lock;

/// Limits how many do something at a time.
#[derive(Debug, Clone)]
pub struct Semaphore(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    free: usize,
    /// One channel for each waiter, oldest first. A message hands a permit over.
    waiters: VecDeque<Sender<()>>,
}

/// One of the permits. Dropping it hands it to the oldest waiter, or frees it.
#[derive(Debug)]
pub struct Permit(Semaphore);

impl Semaphore {
    /// A semaphore with `count` permits.
    pub fn new(count: usize) -> Self {
        Self(Arc::new(Mutex::new(State { free: count, waiters: VecDeque::new() })))
    }

    /// Takes a permit if one is free.
    pub fn try_acquire(&self) -> Option<Permit> {
        let mut state = lock(&self.0);
        state.free = state.free.checked_sub(1)?;
        Some(Permit(self.clone()))
    }

    /// Waits up to `patience` for a permit. `None` when there is none by then, or `queue` others wait already.
    pub fn acquire(&self, queue: usize, patience: Duration) -> Option<Permit> {
        let mut state = lock(&self.0);
        if let Some(left) = state.free.checked_sub(1) {
            state.free = left;
            return Some(Permit(self.clone()));
        }
        if state.waiters.len() >= queue {
            return None;
        }
        let (sender, handed_over) = bounded(1);
        state.waiters.push_back(sender.clone());
        drop(state);
        if handed_over.recv_timeout(patience).is_err() {
            // Permits are handed over under this lock: what has not come by now never will.
            let mut state = lock(&self.0);
            state.waiters.retain(|waiter| !waiter.same_channel(&sender));
            handed_over.try_recv().ok()?;
        }
        Some(Permit(self.clone()))
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let mut state = lock(&self.0.0);
        match state.waiters.pop_front() {
            // Its channel has room for this one message and lives as long as it is in the queue.
            Some(waiter) => drop(waiter.try_send(())),
            None => state.free += 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::thread;
    use std::time::Instant;

    const SOON: Duration = Duration::from_secs(30);

    #[test]
    fn dropped_permit_is_free_again() {
        let semaphore = Semaphore::new(1);
        let first = semaphore.try_acquire().unwrap();
        assert!(semaphore.try_acquire().is_none());
        drop(first);
        assert!(semaphore.try_acquire().is_some());
    }

    #[test]
    fn waiters_are_served_in_order_and_limited_in_number() {
        let semaphore = Semaphore::new(1);
        let (sender, served) = crossbeam_channel::unbounded();
        let first = semaphore.try_acquire().unwrap();
        thread::scope(|scope| {
            for number in 0..3 {
                let (waiting, sender) = (semaphore.clone(), sender.clone());
                scope.spawn(move || {
                    let permit = waiting.acquire(3, SOON);
                    sender.send((number, permit.is_some())).unwrap();
                });
                let begun = Instant::now();
                while lock(&semaphore.0).waiters.len() <= number {
                    assert!(begun.elapsed() < SOON, "it does not wait");
                    thread::yield_now();
                }
            }
            assert!(semaphore.acquire(3, SOON).is_none(), "three wait already");
            drop(first);
            assert_eq!(
                (0..3).map(|_| served.recv().unwrap()).collect::<Vec<_>>(),
                [(0, true), (1, true), (2, true)]
            );
        });
        assert!(semaphore.try_acquire().is_some());
    }

    #[test]
    fn timed_out_waiter_takes_no_permit_with_it() {
        let semaphore = Semaphore::new(1);
        let first = semaphore.try_acquire().unwrap();
        assert!(semaphore.acquire(1, Duration::from_millis(1)).is_none());
        assert!(lock(&semaphore.0).waiters.is_empty());
        drop(first);
        assert!(semaphore.acquire(1, Duration::from_millis(1)).is_some());
    }
}
