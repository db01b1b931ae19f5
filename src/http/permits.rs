//! A fixed number of permits to do something at one time.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// The permits.
#[derive(Debug, Clone)]
pub struct Permits(Arc<AtomicUsize>);

/// One of them, given back when it is dropped.
#[derive(Debug)]
pub struct Permit(Permits);

impl Permits {
    /// `count` permits.
    pub fn new(count: usize) -> Self {
        Self(Arc::new(AtomicUsize::new(count)))
    }

    /// Takes a permit, if one is left.
    pub fn take(&self) -> Option<Permit> {
        let one_less = |left: usize| left.checked_sub(1);
        let taken = self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_less);
        taken.is_ok().then(|| Permit(self.clone()))
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.0.0.fetch_add(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_permit_that_is_dropped_can_be_taken_again() {
        let permits = Permits::new(1);
        let first = permits.take().unwrap();
        assert!(permits.take().is_none());
        drop(first);
        assert!(permits.take().is_some());
    }
}
