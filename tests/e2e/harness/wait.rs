//! Waiting for a condition, always with a deadline and always with a sentence for the one who reads the failure.

use std::time::{Duration, Instant};

/// How long something that takes no time at all may take on a loaded machine.
pub const SOON: Duration = Duration::from_secs(20);

/// How long a whole backup or restore may take.
pub const LONG: Duration = Duration::from_secs(120);

const PAUSE: Duration = Duration::from_millis(20);

/// Asks `probe` until it has an answer; panics with `what` when `limit` is over.
#[track_caller]
pub fn wait_for<T>(what: &str, limit: Duration, mut probe: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(answer) = probe() {
            return answer;
        }
        assert!(start.elapsed() < limit, "waited {limit:?} for {what}");
        std::thread::sleep(PAUSE);
    }
}

/// Asks `probe` until it says yes; panics with `what` when `limit` is over.
#[track_caller]
pub fn wait_until(what: &str, limit: Duration, mut probe: impl FnMut() -> bool) {
    wait_for(what, limit, || probe().then_some(()));
}
