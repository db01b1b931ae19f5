//! Slows down those who guess tokens, and counts them.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Wrong tokens from one address in a minute that are answered at once.
const FREE: u32 = 10;
const MINUTE: Duration = Duration::from_secs(60);
/// How much longer each further one waits.
const STEP: Duration = Duration::from_millis(200);
/// The longest that one waits.
const LONGEST: Duration = Duration::from_secs(2);
/// Addresses that are remembered.
const ADDRESSES: usize = 1024;

/// Counts wrong tokens.
#[derive(Debug, Default)]
pub struct Throttle(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    addresses: HashMap<IpAddr, Window>,
    total: u64,
    /// How many the log has not been told of yet, and where the last of them came from.
    unlogged: Option<(u64, IpAddr)>,
    logged: Option<Instant>,
}

#[derive(Debug, Clone, Copy)]
struct Window {
    begun: Instant,
    count: u32,
}

impl Throttle {
    /// How many wrong tokens there were since the start.
    pub fn total(&self) -> u64 {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).total
    }

    /// Logs those that came since the log was last told, when that is a minute ago. A burst would be left untold if
    /// nobody but the next one did so.
    pub fn flush(&self, now: Instant) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).log(now);
    }

    /// Notes a wrong token. Answers for how long its answer is to be held back.
    pub fn note(&self, peer: IpAddr, now: Instant) -> Duration {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        state.total += 1;
        state.unlogged = Some((state.unlogged.map_or(1, |(count, _)| count + 1), peer));
        state.log(now);
        let address = network_of(peer);
        if state.addresses.len() >= ADDRESSES && !state.addresses.contains_key(&address) {
            state.addresses.retain(|_, window| now.duration_since(window.begun) < MINUTE);
            let oldest =
                state.addresses.iter().min_by_key(|(_, window)| window.begun).map(|(address, _)| *address);
            if state.addresses.len() >= ADDRESSES
                && let Some(oldest) = oldest
            {
                state.addresses.remove(&oldest);
            }
        }
        let window = state.addresses.entry(address).or_insert(Window { begun: now, count: 0 });
        if now.duration_since(window.begun) >= MINUTE {
            *window = Window { begun: now, count: 0 };
        }
        window.count += 1;
        (STEP * window.count.saturating_sub(FREE)).min(LONGEST)
    }
}

impl State {
    fn log(&mut self, now: Instant) {
        if let Some((count, last)) = self.due(now) {
            match count {
                1 => log::warn!("a request without the right token, from {last}"),
                _ => log::warn!("{count} requests without the right token, the last one from {last}"),
            }
        }
    }

    /// What the log is to be told now.
    fn due(&mut self, now: Instant) -> Option<(u64, IpAddr)> {
        if self.logged.is_some_and(|last| now.duration_since(last) < MINUTE) {
            return None;
        }
        let unlogged = self.unlogged.take()?;
        self.logged = Some(now);
        Some(unlogged)
    }
}

/// One subscriber of IPv6 has a whole /64 to come from.
fn network_of(peer: IpAddr) -> IpAddr {
    match peer {
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX)).into(),
        address => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pauses(throttle: &Throttle, peer: &str, count: usize, now: Instant) -> Vec<u128> {
        (0..count).map(|_| throttle.note(peer.parse().unwrap(), now).as_millis()).collect()
    }

    #[test]
    fn after_ten_in_a_minute_answers_wait_ever_longer_and_only_those_of_that_address() {
        let (throttle, now) = (Throttle::default(), Instant::now());
        assert!(pauses(&throttle, "10.0.0.1", 10, now).iter().all(|pause| *pause == 0));
        let further = pauses(&throttle, "10.0.0.1", 12, now);
        assert_eq!((further[0], further[1], further[11]), (200, 400, 2000));
        assert_eq!(pauses(&throttle, "10.0.0.2", 1, now), [0]);
        assert_eq!(pauses(&throttle, "10.0.0.1", 1, now + MINUTE), [0]);
        assert_eq!(throttle.total(), 24);
    }

    #[test]
    fn the_log_is_told_of_the_first_at_once_and_of_a_burst_when_the_minute_is_over() {
        let (throttle, now) = (Throttle::default(), Instant::now());
        let due = |now| throttle.0.lock().unwrap().due(now);
        let unlogged = || throttle.0.lock().unwrap().unlogged;
        let last: IpAddr = "10.0.0.2".parse().unwrap();
        throttle.note("10.0.0.1".parse().unwrap(), now);
        assert_eq!(unlogged(), None);
        pauses(&throttle, "10.0.0.1", 49, now);
        throttle.note(last, now);
        throttle.flush(now + MINUTE - Duration::from_millis(1));
        assert_eq!(unlogged(), Some((50, last)));
        assert_eq!(due(now + MINUTE), Some((50, last)));
        // Nobody came any more, so the log is told nothing, and of the next one at once.
        assert_eq!(due(now + 3 * MINUTE), None);
        throttle.note(last, now + 3 * MINUTE);
        assert_eq!(unlogged(), None);
        throttle.note(last, now + 3 * MINUTE);
        throttle.flush(now + 4 * MINUTE);
        assert_eq!(unlogged(), None);
    }

    #[test]
    fn a_crowd_of_addresses_does_not_grow_the_memory() {
        let (throttle, now) = (Throttle::default(), Instant::now());
        for number in 0..5000_u32 {
            throttle.note(IpAddr::V4(number.into()), now);
        }
        assert_eq!(throttle.0.lock().unwrap().addresses.len(), ADDRESSES);
    }
}
