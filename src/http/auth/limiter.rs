//! Rate limit of failed authentications: delays the responses to them, and counts them.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use crate::util::mutex::lock;

/// Failures of one address in a minute that are not delayed.
const FREE: u32 = 10;
const MINUTE: Duration = Duration::from_secs(60);
/// How much longer each further one is delayed.
const STEP: Duration = Duration::from_millis(200);
/// The longest delay.
const LONGEST: Duration = Duration::from_secs(2);
/// Addresses that are remembered; the oldest is forgotten for a new one.
const ADDRESSES: usize = 1024;

/// Counts failures by address.
#[derive(Debug, Default)]
pub struct AuthLimiter(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    addresses: HashMap<IpAddr, Window>,
    total: u64,
    /// Failures that have not been logged yet, and the address of the last.
    unlogged: Option<(u64, IpAddr)>,
    logged: Option<Instant>,
}

#[derive(Debug, Clone, Copy)]
struct Window {
    begun: Instant,
    count: u32,
}

impl AuthLimiter {
    /// Failures since the start.
    pub fn total(&self) -> u64 {
        lock(&self.0).total
    }

    /// Logs failures that have not been logged, at most once a minute. Called regularly, so that the end of a burst is
    /// logged, too.
    pub fn flush(&self, now: Instant) {
        lock(&self.0).log(now);
    }

    /// Records a failure. Returns for how long to delay its response.
    pub fn record_failure(&self, peer: IpAddr, now: Instant) -> Duration {
        let mut state = lock(&self.0);
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

    /// What to log now: how many failures, and the address of the last.
    fn due(&mut self, now: Instant) -> Option<(u64, IpAddr)> {
        if self.logged.is_some_and(|last| now.duration_since(last) < MINUTE) {
            return None;
        }
        let unlogged = self.unlogged.take()?;
        self.logged = Some(now);
        Some(unlogged)
    }
}

/// The address that counts: of IPv6 the /64, as one subscriber has all of it.
fn network_of(peer: IpAddr) -> IpAddr {
    match peer {
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX)).into(),
        address => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pauses(limiter: &AuthLimiter, peer: &str, count: usize, now: Instant) -> Vec<u128> {
        (0..count).map(|_| limiter.record_failure(peer.parse().unwrap(), now).as_millis()).collect()
    }

    #[test]
    fn delay_grows_after_ten_failures_of_an_address() {
        let (limiter, now) = (AuthLimiter::default(), Instant::now());
        assert!(pauses(&limiter, "10.0.0.1", 10, now).iter().all(|pause| *pause == 0));
        let further = pauses(&limiter, "10.0.0.1", 12, now);
        assert_eq!((further[0], further[1], further[11]), (200, 400, 2000));
        assert_eq!(pauses(&limiter, "10.0.0.2", 1, now), [0]);
        assert_eq!(pauses(&limiter, "10.0.0.1", 1, now + MINUTE), [0]);
        assert_eq!(limiter.total(), 24);
    }

    #[test]
    fn first_failure_logged_at_once_burst_after_a_minute() {
        let (limiter, now) = (AuthLimiter::default(), Instant::now());
        let due = |now| lock(&limiter.0).due(now);
        let unlogged = || lock(&limiter.0).unlogged;
        let last: IpAddr = "10.0.0.2".parse().unwrap();
        limiter.record_failure("10.0.0.1".parse().unwrap(), now);
        assert_eq!(unlogged(), None);
        pauses(&limiter, "10.0.0.1", 49, now);
        limiter.record_failure(last, now);
        limiter.flush(now + MINUTE - Duration::from_millis(1));
        assert_eq!(unlogged(), Some((50, last)));
        assert_eq!(due(now + MINUTE), Some((50, last)));
        // Nobody came any more, so the log is told nothing, and of the next one at once.
        assert_eq!(due(now + 3 * MINUTE), None);
        limiter.record_failure(last, now + 3 * MINUTE);
        assert_eq!(unlogged(), None);
        limiter.record_failure(last, now + 3 * MINUTE);
        limiter.flush(now + 4 * MINUTE);
        assert_eq!(unlogged(), None);
    }

    #[test]
    fn remembered_addresses_are_limited() {
        let (limiter, now) = (AuthLimiter::default(), Instant::now());
        for number in 0..5000_u32 {
            limiter.record_failure(IpAddr::V4(number.into()), now);
        }
        assert_eq!(lock(&limiter.0).addresses.len(), ADDRESSES);
    }
}
