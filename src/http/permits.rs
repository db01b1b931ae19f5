//! A fixed number of permits to do something at one time.

use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

/// The permits.
#[derive(Debug, Clone)]
pub struct Permits(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    left: Mutex<usize>,
    returned: Condvar,
}

/// One of them, given back when it is dropped.
#[derive(Debug)]
pub struct Permit(Permits);

impl Permits {
    /// `count` permits.
    pub fn new(count: usize) -> Self {
        Self(Arc::new(Shared { left: Mutex::new(count), returned: Condvar::new() }))
    }

    /// Takes a permit, waiting up to `patience` for one to be given back.
    pub fn take(&self, patience: Duration) -> Option<Permit> {
        let left = self.0.left.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.0.returned.wait_timeout_while(left, patience, |left| *left == 0);
        let (mut left, _) = waited.unwrap_or_else(PoisonError::into_inner);
        *left = left.checked_sub(1)?;
        Some(Permit(self.clone()))
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        *self.0.0.left.lock().unwrap_or_else(PoisonError::into_inner) += 1;
        self.0.0.returned.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_permit_that_is_dropped_can_be_taken_again() {
        let permits = Permits::new(1);
        let first = permits.take(Duration::ZERO).unwrap();
        assert!(permits.take(Duration::ZERO).is_none());
        drop(first);
        assert!(permits.take(Duration::ZERO).is_some());
    }
}
