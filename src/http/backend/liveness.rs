//! Whether the pool makes progress. When all of its threads hang, nothing is answered any more, and `/healthz` must say so.

use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant};

use crate::gate::ApiError;
use crate::util::mutex;

/// How long the pool may make no progress while requests wait. Every wait of a handler is limited to less.
const LIMIT: Duration = Duration::from_secs(30);

/// Detects a pool that hangs.
#[derive(Debug)]
pub struct Liveness {
    limit: Duration,
    /// Since when a request has been waiting without the pool starting or finishing any. A request whose client has given
    /// up counts, too: only progress ends this.
    waiting: Mutex<Option<Instant>>,
}

impl Default for Liveness {
    fn default() -> Self {
        Self::new(LIMIT)
    }
}

impl Liveness {
    /// A detector for a pool that makes no progress for this long.
    pub fn new(limit: Duration) -> Self {
        Self { limit, waiting: Mutex::default() }
    }

    /// A request has arrived.
    pub fn record_request(&self) {
        self.lock().get_or_insert_with(Instant::now);
    }

    /// The pool has started or finished a request. `others_wait`: whether more are queued.
    pub fn record_progress(&self, others_wait: bool) {
        *self.lock() = others_wait.then(Instant::now);
    }

    /// Checks that the pool does not hang.
    ///
    /// # Errors
    /// 503 when it does.
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

    /// With a limit of zero, any request that waits has waited too long.
    fn is_well(liveness: &Liveness) -> bool {
        liveness.check().is_ok()
    }

    #[test]
    fn pool_hangs_while_requests_wait_without_progress() {
        let liveness = Liveness::new(Duration::ZERO);
        assert!(is_well(&liveness), "nobody waits");
        liveness.record_request();
        assert!(!is_well(&liveness));
        liveness.record_progress(true);
        assert!(!is_well(&liveness), "another waits");
        liveness.record_progress(false);
        assert!(is_well(&liveness));
    }

    #[test]
    fn first_waiting_request_counts_until_progress() {
        let liveness = Liveness::new(Duration::from_secs(3600));
        liveness.record_request();
        let since = *liveness.lock();
        liveness.record_request();
        assert_eq!(*liveness.lock(), since);
        assert!(is_well(&liveness), "not for so long");
        liveness.record_progress(true);
        assert!(*liveness.lock() >= since);
    }
}
