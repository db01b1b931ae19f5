//! The limit on open connections, and which one is evicted when it is reached.

use std::net::{Shutdown, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::limits::{ADMISSION_TIME, LEAVING, SETTLING_TIME, grace};

/// What a connection is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Accepted; its thread has not run yet.
    New,
    /// Waiting for a request.
    Idle,
    /// Receiving a request.
    Receiving,
    /// The request is being answered, or a file is being sent.
    Answering,
    /// The response is delayed, as the token was wrong.
    Delayed,
    /// Sending a response from memory.
    Sending,
}

impl Phase {
    fn is_evictable(self) -> bool {
        matches!(self, Self::Idle | Self::Receiving | Self::Delayed | Self::Sending)
    }
}

/// Admits a fixed number of connections at a time.
#[derive(Debug)]
pub struct ConnectionLimiter {
    limit: usize,
    state: Mutex<State>,
    /// Notified when a connection has ended or has become evictable.
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    entries: Vec<Entry>,
    /// Threads that have not ended, including those of evicted connections.
    threads: usize,
    next: u64,
}

/// An admitted connection.
#[derive(Debug)]
struct Entry {
    id: u64,
    stream: Arc<TcpStream>,
    phase: Phase,
    /// When it last became idle, or began to receive a request after being idle. Pipelined requests do not change it,
    /// so that they do not protect a connection from eviction.
    since: Instant,
}

/// The admission of one connection, held by its thread. Dropping it, also in a panic, frees the place.
#[derive(Debug)]
pub struct ConnectionGuard {
    id: u64,
    limiter: Arc<ConnectionLimiter>,
}

impl ConnectionLimiter {
    /// A limiter for `limit` connections at a time.
    pub fn new(limit: usize) -> Self {
        Self { limit, state: Mutex::default(), changed: Condvar::new() }
    }

    /// Admits a new connection, if need be after evicting another one or waiting up to [`ADMISSION_TIME`] for that.
    /// `None` when no connection could be evicted by then.
    pub fn admit(self: &Arc<Self>, stream: &Arc<TcpStream>) -> Option<ConnectionGuard> {
        let deadline = Instant::now() + ADMISSION_TIME;
        let mut state = self.lock();
        loop {
            let now = Instant::now();
            match state.make_room(self.limit, now) {
                Room::Free => break,
                Room::After(_) if now >= deadline => return None,
                Room::After(pause) => {
                    let pause = pause.min(deadline - now);
                    let waited = self.changed.wait_timeout(state, pause);
                    state = waited.unwrap_or_else(PoisonError::into_inner).0;
                }
            }
        }
        let id = state.next;
        state.next += 1;
        state.threads += 1;
        let (stream, since) = (Arc::clone(stream), Instant::now());
        state.entries.push(Entry { id, stream, phase: Phase::New, since });
        Some(ConnectionGuard { id, limiter: Arc::clone(self) })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether another connection can be admitted.
enum Room {
    Free,
    /// Not before this long, unless an entry changes.
    After(Duration),
}

impl State {
    /// Makes room for one more connection by evicting one if `limit` is reached:
    ///
    /// | order | connection | why |
    /// | --- | --- | --- |
    /// | 1 | `Delayed` | it has guessed a token |
    /// | 2 | `Idle` for [`SETTLING_TIME`] or longer | it loses nothing |
    /// | 3 | `Idle` for less, `Receiving`, `Sending` | the oldest first, so that a crowd evicts itself |
    /// | never | `New`, `Answering` | |
    ///
    /// Of one order, the entry with the oldest `since` goes. Entries younger than [`grace`] are passed over; if there are
    /// no others, the caller waits until the first of them is old enough.
    fn make_room(&mut self, limit: usize, now: Instant) -> Room {
        if self.threads >= limit + LEAVING {
            return Room::After(ADMISSION_TIME);
        }
        if self.entries.len() < limit {
            return Room::Free;
        }
        let age = |entry: &Entry| now.saturating_duration_since(entry.since);
        let order = |entry: &Entry| match entry.phase {
            Phase::Delayed => 1,
            Phase::Idle if age(entry) >= SETTLING_TIME => 2,
            _ => 3,
        };
        let grace = grace(limit);
        let wait = |entry: &Entry| grace.saturating_sub(age(entry));
        let evictable = self.entries.iter().enumerate().filter(|(_, entry)| entry.phase.is_evictable());
        let first = evictable.min_by_key(|(_, entry)| (wait(entry), order(entry), entry.since));
        let Some((at, first)) = first else { return Room::After(ADMISSION_TIME) };
        if !wait(first).is_zero() {
            return Room::After(wait(first));
        }
        // Wakes its thread, which then ends.
        let _ = self.entries.swap_remove(at).stream.shutdown(Shutdown::Both);
        Room::Free
    }
}

impl ConnectionGuard {
    /// Whether the connection has not been evicted.
    pub fn is_admitted(&self) -> bool {
        self.limiter.lock().entries.iter().any(|entry| entry.id == self.id)
    }

    /// Notes what the connection is doing now. Returns whether it has not been evicted.
    pub fn enter(&self, phase: Phase) -> bool {
        let mut state = self.limiter.lock();
        let Some(entry) = state.entries.iter_mut().find(|entry| entry.id == self.id) else { return false };
        entry.phase = phase;
        if matches!(phase, Phase::Idle | Phase::Receiving) {
            entry.since = Instant::now();
        }
        if phase.is_evictable() {
            self.limiter.changed.notify_one();
        }
        true
    }
}

impl Drop for ConnectionGuard {
    fn drop(&mut self) {
        let mut state = self.limiter.lock();
        state.entries.retain(|entry| entry.id != self.id);
        state.threads -= 1;
        self.limiter.changed.notify_one();
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

    fn admitted(
        limiter: &Arc<ConnectionLimiter>,
        pairs: &[(Arc<TcpStream>, TcpStream)],
    ) -> Vec<ConnectionGuard> {
        pairs.iter().map(|(stream, _)| limiter.admit(stream).unwrap()).collect()
    }

    #[test]
    fn oldest_evicted_unless_answering() {
        let limiter = Arc::new(ConnectionLimiter::new(3));
        let mut pairs: Vec<_> = (0..6).map(|_| connection()).collect();
        let first = admitted(&limiter, &pairs[..3]);
        first[0].enter(Phase::Answering);
        first[2].enter(Phase::Receiving);
        first[1].enter(Phase::Sending);
        let fourth = limiter.admit(&pairs[3].0).unwrap();
        fourth.enter(Phase::Idle);
        assert!(!first[1].enter(Phase::Idle));
        assert_eq!(pairs[1].1.read(&mut [0]).unwrap(), 0);
        let fifth = limiter.admit(&pairs[4].0).unwrap();
        assert!(!first[2].enter(Phase::Answering));
        assert!(first[0].enter(Phase::Answering));
        assert!(fourth.enter(Phase::Answering) && fifth.enter(Phase::Answering));
        assert!(limiter.admit(&pairs[5].0).is_none());
        drop(fourth);
        assert!(limiter.admit(&pairs[5].0).is_some());
    }

    #[test]
    fn idle_evicted_before_receiving() {
        let limiter = Arc::new(ConnectionLimiter::new(2));
        let pairs: Vec<_> = (0..3).map(|_| connection()).collect();
        let both = admitted(&limiter, &pairs[..2]);
        both[0].enter(Phase::Receiving);
        both[1].enter(Phase::Idle);
        limiter.lock().entries[1].since -= SETTLING_TIME;
        limiter.lock().entries[0].since -= SETTLING_TIME / 2;
        let _third = limiter.admit(&pairs[2].0).unwrap();
        assert!(both[0].enter(Phase::Answering) && !both[1].enter(Phase::Receiving));
    }

    #[test]
    fn delayed_evicted_first() {
        let limiter = Arc::new(ConnectionLimiter::new(3));
        let pairs: Vec<_> = (0..5).map(|_| connection()).collect();
        let first = admitted(&limiter, &pairs[..3]);
        first[0].enter(Phase::Idle);
        limiter.lock().entries[0].since -= SETTLING_TIME;
        first[1].enter(Phase::Delayed);
        first[2].enter(Phase::Delayed);
        limiter.lock().entries.iter_mut().for_each(|entry| entry.since -= grace(3));
        let _others = admitted(&limiter, &pairs[3..]);
        assert!(first[0].is_admitted());
        assert!(!first[1].is_admitted() && !first[2].is_admitted());
    }

    #[test]
    fn young_entry_passed_over_for_an_older_one() {
        let limiter = Arc::new(ConnectionLimiter::new(2));
        let pairs: Vec<_> = (0..2).map(|_| connection()).collect();
        let both = admitted(&limiter, &pairs);
        both.iter().for_each(|guard| assert!(guard.enter(Phase::Receiving)));
        let now = limiter.lock().entries[0].since;
        limiter.lock().entries[1].since = now - grace(2);
        assert!(matches!(limiter.lock().make_room(2, now), Room::Free));
        assert!(both[0].is_admitted() && !both[1].is_admitted());
        assert!(matches!(limiter.lock().make_room(1, now), Room::After(_)));
        assert!(matches!(limiter.lock().make_room(1, now + grace(1)), Room::Free));
    }

    #[test]
    fn admission_waits_for_a_free_place() {
        let limiter = Arc::new(ConnectionLimiter::new(1));
        let (first, second) = (connection(), connection());
        let guard = limiter.admit(&first.0).unwrap();
        guard.enter(Phase::Answering);
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| limiter.admit(&second.0).is_some());
            drop(guard);
            assert!(waiting.join().unwrap());
        });
    }
}
