//! The connections that are open: a fixed number of slots, and who gives way when they are taken.

use std::net::{Shutdown, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use super::limits::LEAVING;

/// What a connection is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// It says nothing.
    Idle,
    /// It is sending a request.
    Receiving,
    /// It is being answered, and does not give way.
    Answering,
}

/// The slots.
#[derive(Debug)]
pub struct Slots {
    limit: usize,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    taken: Vec<Taken>,
    /// Threads that have not ended, those of ousted connections included.
    threads: usize,
    next: u64,
}

#[derive(Debug)]
struct Taken {
    id: u64,
    stream: Arc<TcpStream>,
    phase: Phase,
    since: Instant,
}

/// A slot of a connection's thread; given back when it is dropped, as it is when the thread panics.
#[derive(Debug)]
pub struct Slot {
    id: u64,
    slots: Arc<Slots>,
}

impl Slots {
    /// Room for `limit` connections.
    pub fn new(limit: usize) -> Self {
        Self { limit, state: Mutex::default() }
    }

    /// A slot for a new connection. When all are taken, the one that has been idle longest gives way, else
    /// the one that has been sending its request longest; `None` when all are being answered.
    pub fn take(self: &Arc<Self>, stream: &Arc<TcpStream>) -> Option<Slot> {
        let mut state = self.lock();
        if state.threads >= self.limit + LEAVING {
            return None;
        }
        if state.taken.len() >= self.limit {
            let yields = state.taken.iter().enumerate().filter(|(_, taken)| taken.phase != Phase::Answering);
            let (at, _) = yields.min_by_key(|(_, taken)| (taken.phase, taken.since))?;
            let ousted = state.taken.swap_remove(at);
            // Wakes its thread, which then ends.
            let _ = ousted.stream.shutdown(Shutdown::Both);
        }
        let id = state.next;
        state.next += 1;
        state.threads += 1;
        state.taken.push(Taken { id, stream: Arc::clone(stream), phase: Phase::Idle, since: Instant::now() });
        Some(Slot { id, slots: Arc::clone(self) })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Slot {
    /// Notes what the connection is doing now. Answers whether it still has its slot.
    pub fn enter(&self, phase: Phase) -> bool {
        let mut state = self.slots.lock();
        let Some(taken) = state.taken.iter_mut().find(|taken| taken.id == self.id) else { return false };
        (taken.phase, taken.since) = (phase, Instant::now());
        true
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut state = self.slots.lock();
        state.taken.retain(|taken| taken.id != self.id);
        state.threads -= 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;
    use std::net::TcpListener;

    fn connection() -> (Arc<TcpStream>, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        (Arc::new(listener.accept().unwrap().0), client)
    }

    #[test]
    fn the_one_that_is_idle_longest_gives_way_and_nobody_who_is_being_answered() {
        let slots = Arc::new(Slots::new(3));
        let mut pairs: Vec<_> = (0..5).map(|_| connection()).collect();
        let taken: Vec<Slot> = pairs[..3].iter().map(|(stream, _)| slots.take(stream).unwrap()).collect();
        taken[0].enter(Phase::Receiving);
        taken[1].enter(Phase::Answering);
        let fourth = slots.take(&pairs[3].0).unwrap();
        assert!(!taken[2].enter(Phase::Receiving));
        assert_eq!(pairs[2].1.read(&mut [0]).unwrap(), 0);
        fourth.enter(Phase::Answering);
        let fifth = slots.take(&pairs[4].0).unwrap();
        assert!(!taken[0].enter(Phase::Answering));
        fifth.enter(Phase::Answering);
        assert!(slots.take(&pairs[2].0).is_none());
        drop(fourth);
        assert!(slots.take(&pairs[2].0).is_some());
    }
}
