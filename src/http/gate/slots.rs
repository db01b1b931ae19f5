//! The connections that are open: a fixed number of slots, and who gives way when they are taken.

use std::net::{Shutdown, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::limits::{ADMISSION_TIME, LEAVING, SETTLING_TIME, grace};

/// What a connection is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Its thread has not had its turn yet; it does not give way.
    New,
    /// It says nothing.
    Idle,
    /// It is sending a request.
    Receiving,
    /// Its request is being answered, or a file sent; it does not give way.
    Answering,
    /// Its answer is held back.
    HeldBack,
    /// It is to take its answer.
    Sending,
}

impl Phase {
    fn yields(self) -> bool {
        matches!(self, Self::Idle | Self::Receiving | Self::HeldBack | Self::Sending)
    }
}

/// The slots.
#[derive(Debug)]
pub struct Slots {
    limit: usize,
    state: Mutex<State>,
    /// A connection has ended, or may give way from now on.
    changed: Condvar,
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
    /// When it last began to wait for its client, or to take a request that it had waited for. Requests that
    /// come without a wait do not make it any younger.
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
        Self { limit, state: Mutex::default(), changed: Condvar::new() }
    }

    /// A slot for a new connection. When all are taken, another gives way, if need be after a moment: one whose
    /// answer is held back, then one that has been idle, else the one whose request began first, so that a crowd
    /// displaces itself and not who has just come. `None` when all are being answered.
    pub fn take(self: &Arc<Self>, stream: &Arc<TcpStream>) -> Option<Slot> {
        let deadline = Instant::now() + ADMISSION_TIME;
        let mut state = self.lock();
        loop {
            let now = Instant::now();
            match state.make_room(self.limit, now) {
                Room::Made => break,
                Room::Later(_) if now >= deadline => return None,
                Room::Later(pause) => {
                    let pause = pause.min(deadline - now);
                    let waited = self.changed.wait_timeout(state, pause);
                    state = waited.unwrap_or_else(PoisonError::into_inner).0;
                }
            }
        }
        let id = state.next;
        state.next += 1;
        state.threads += 1;
        state.taken.push(Taken { id, stream: Arc::clone(stream), phase: Phase::New, since: Instant::now() });
        Some(Slot { id, slots: Arc::clone(self) })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether there is room for another connection.
enum Room {
    Made,
    /// There may be after this long, or as soon as something changes.
    Later(Duration),
}

impl State {
    fn make_room(&mut self, limit: usize, now: Instant) -> Room {
        if self.threads >= limit + LEAVING {
            return Room::Later(ADMISSION_TIME);
        }
        if self.taken.len() < limit {
            return Room::Made;
        }
        let age = |taken: &Taken| now.saturating_duration_since(taken.since);
        let rank = |taken: &Taken| match taken.phase {
            Phase::HeldBack => 0,
            Phase::Idle if age(taken) >= SETTLING_TIME => 1,
            _ => 2,
        };
        let grace = grace(limit);
        let wait = |taken: &Taken| grace.saturating_sub(age(taken));
        let yielding = self.taken.iter().enumerate().filter(|(_, taken)| taken.phase.yields());
        let first = yielding.min_by_key(|(_, taken)| (wait(taken), rank(taken), taken.since));
        let Some((at, first)) = first else { return Room::Later(ADMISSION_TIME) };
        if !wait(first).is_zero() {
            return Room::Later(wait(first));
        }
        // Wakes its thread, which then ends.
        let _ = self.taken.swap_remove(at).stream.shutdown(Shutdown::Both);
        Room::Made
    }
}

impl Slot {
    /// Whether the connection still has its slot.
    pub fn is_held(&self) -> bool {
        self.slots.lock().taken.iter().any(|taken| taken.id == self.id)
    }

    /// Notes what the connection is doing now. Answers whether it still has its slot.
    pub fn enter(&self, phase: Phase) -> bool {
        let mut state = self.slots.lock();
        let Some(taken) = state.taken.iter_mut().find(|taken| taken.id == self.id) else { return false };
        taken.phase = phase;
        if matches!(phase, Phase::Idle | Phase::Receiving) {
            taken.since = Instant::now();
        }
        if phase.yields() {
            self.slots.changed.notify_one();
        }
        true
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut state = self.slots.lock();
        state.taken.retain(|taken| taken.id != self.id);
        state.threads -= 1;
        self.slots.changed.notify_one();
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

    fn taken(slots: &Arc<Slots>, pairs: &[(Arc<TcpStream>, TcpStream)]) -> Vec<Slot> {
        pairs.iter().map(|(stream, _)| slots.take(stream).unwrap()).collect()
    }

    #[test]
    fn the_oldest_gives_way_whatever_it_does_but_nobody_who_is_being_answered() {
        let slots = Arc::new(Slots::new(3));
        let mut pairs: Vec<_> = (0..6).map(|_| connection()).collect();
        let first = taken(&slots, &pairs[..3]);
        first[0].enter(Phase::Answering);
        first[2].enter(Phase::Receiving);
        first[1].enter(Phase::Sending);
        let fourth = slots.take(&pairs[3].0).unwrap();
        fourth.enter(Phase::Idle);
        assert!(!first[1].enter(Phase::Idle));
        assert_eq!(pairs[1].1.read(&mut [0]).unwrap(), 0);
        let fifth = slots.take(&pairs[4].0).unwrap();
        assert!(!first[2].enter(Phase::Answering));
        assert!(first[0].enter(Phase::Answering));
        assert!(fourth.enter(Phase::Answering) && fifth.enter(Phase::Answering));
        assert!(slots.take(&pairs[5].0).is_none());
        drop(fourth);
        assert!(slots.take(&pairs[5].0).is_some());
    }

    #[test]
    fn one_that_has_been_idle_gives_way_before_one_that_speaks() {
        let slots = Arc::new(Slots::new(2));
        let pairs: Vec<_> = (0..3).map(|_| connection()).collect();
        let both = taken(&slots, &pairs[..2]);
        both[0].enter(Phase::Receiving);
        both[1].enter(Phase::Idle);
        slots.lock().taken[1].since -= SETTLING_TIME;
        slots.lock().taken[0].since -= SETTLING_TIME / 2;
        let _third = slots.take(&pairs[2].0).unwrap();
        assert!(both[0].enter(Phase::Answering) && !both[1].enter(Phase::Receiving));
    }

    #[test]
    fn one_whose_answer_is_held_back_gives_way_first_of_all() {
        let slots = Arc::new(Slots::new(3));
        let pairs: Vec<_> = (0..5).map(|_| connection()).collect();
        let first = taken(&slots, &pairs[..3]);
        first[0].enter(Phase::Idle);
        slots.lock().taken[0].since -= SETTLING_TIME;
        first[1].enter(Phase::HeldBack);
        first[2].enter(Phase::HeldBack);
        slots.lock().taken.iter_mut().for_each(|taken| taken.since -= grace(3));
        let _others = taken(&slots, &pairs[3..]);
        assert!(first[0].is_held());
        assert!(!first[1].is_held() && !first[2].is_held());
    }

    #[test]
    fn one_that_has_just_begun_is_not_waited_for_when_another_can_give_way() {
        let slots = Arc::new(Slots::new(2));
        let pairs: Vec<_> = (0..2).map(|_| connection()).collect();
        let both = taken(&slots, &pairs);
        both.iter().for_each(|slot| assert!(slot.enter(Phase::Receiving)));
        let now = slots.lock().taken[0].since;
        slots.lock().taken[1].since = now - grace(2);
        assert!(matches!(slots.lock().make_room(2, now), Room::Made));
        assert!(both[0].is_held() && !both[1].is_held());
        assert!(matches!(slots.lock().make_room(1, now), Room::Later(_)));
        assert!(matches!(slots.lock().make_room(1, now + grace(1)), Room::Made));
    }

    #[test]
    fn a_connection_waits_for_a_slot_that_becomes_free_in_a_moment() {
        let slots = Arc::new(Slots::new(1));
        let (first, second) = (connection(), connection());
        let slot = slots.take(&first.0).unwrap();
        slot.enter(Phase::Answering);
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| slots.take(&second.0).is_some());
            drop(slot);
            assert!(waiting.join().unwrap());
        });
    }
}
