//! Whether the pool moves: a pool whose threads all wait for something that does not come answers nobody any more, and
//! whoever looks after the container must hear of it.

use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant};

use super::error::ApiError;
use crate::util::mutex;

/// How long the pool may stand still while requests wait. Every wait of a handler has a limit below that.
const LIMIT: Duration = Duration::from_secs(30);

/// Feels for it.
#[derive(Debug)]
pub struct Pulse {
    limit: Duration,
    /// Since when a request waits without that the pool has begun or ended another. One whose client has given up
    /// waits, too: nothing but a movement ends this.
    waiting: Mutex<Option<Instant>>,
}

impl Default for Pulse {
    fn default() -> Self {
        Self::new(LIMIT)
    }
}

impl Pulse {
    /// A pulse that is gone when it has not been felt for so long.
    pub fn new(limit: Duration) -> Self {
        Self { limit, waiting: Mutex::default() }
    }

    /// A request has come.
    pub fn note_request(&self) {
        self.lock().get_or_insert_with(Instant::now);
    }

    /// The pool has begun or ended a request, and there are others that wait, or not.
    pub fn note_movement(&self, others_wait: bool) {
        *self.lock() = others_wait.then(Instant::now);
    }

    /// Fails when the pool stands still.
    ///
    /// # Errors
    /// 503 then.
    pub fn check(&self) -> Result<(), ApiError> {
        let still = self.lock().map(|since| since.elapsed()).filter(|still| *still >= self.limit);
        match still {
            None => Ok(()),
            Some(still) => Err(ApiError::unavailable(
                format!(
                    "the API has not answered any request for {} s, and requests are waiting",
                    still.as_secs()
                ),
                5,
            )),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Option<Instant>> {
        mutex::lock(&self.waiting)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// With no limit, whoever waits has waited too long.
    fn is_felt(pulse: &Pulse) -> bool {
        pulse.check().is_ok()
    }

    #[test]
    fn it_is_gone_while_requests_wait_and_nothing_moves() {
        let pulse = Pulse::new(Duration::ZERO);
        assert!(is_felt(&pulse), "nobody waits");
        pulse.note_request();
        assert!(!is_felt(&pulse));
        pulse.note_movement(true);
        assert!(!is_felt(&pulse), "another waits");
        pulse.note_movement(false);
        assert!(is_felt(&pulse));
    }

    #[test]
    fn the_first_who_waits_counts_until_the_pool_moves() {
        let pulse = Pulse::new(Duration::from_secs(3600));
        pulse.note_request();
        let since = *pulse.lock();
        pulse.note_request();
        assert_eq!(*pulse.lock(), since);
        assert!(is_felt(&pulse), "not for so long");
        pulse.note_movement(true);
        assert!(*pulse.lock() >= since);
    }
}
