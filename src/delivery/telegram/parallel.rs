//! Work on several parts at once.

use std::sync::{Mutex, PoisonError};
use std::thread;

use crate::util::mutex::lock;

/// Works on each item, on `most` at once. After the first failure no further item is begun.
///
/// # Errors
/// That of the first that failed.
pub fn try_each<T, E>(
    most: usize,
    items: impl ExactSizeIterator<Item = T> + Send,
    work: impl Fn(T) -> Result<(), E> + Sync,
) -> Result<(), E>
where
    E: Send,
{
    let helpers = most.min(items.len()).saturating_sub(1);
    let (items, failure) = (Mutex::new(items), Mutex::new(None));
    let next = || if lock(&failure).is_some() { None } else { lock(&items).next() };
    let share = || {
        while let Some(item) = next() {
            if let Err(error) = work(item) {
                lock(&failure).get_or_insert(error);
            }
        }
    };
    thread::scope(|scope| {
        for _ in 0..helpers {
            // Without the thread it only takes longer.
            let _ = thread::Builder::new().spawn_scoped(scope, share);
        }
        share();
    });
    failure.into_inner().unwrap_or_else(PoisonError::into_inner).map_or(Ok(()), Err)
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::try_each;

    #[test]
    fn every_item_is_worked_on_and_several_at_once() {
        let (sum, both) = (AtomicUsize::new(0), Barrier::new(2));
        let worked = try_each(2, 0..10usize, |item| {
            both.wait();
            sum.fetch_add(item, Ordering::Relaxed);
            Ok::<(), ()>(())
        });
        assert_eq!((worked, sum.into_inner()), (Ok(()), 45));
        assert_eq!(try_each(4, 0..0usize, |_| Err("none")), Ok(()));
    }

    #[test]
    fn the_first_failure_ends_it() {
        let count = AtomicUsize::new(0);
        let worked = try_each(1, 0..10, |item| {
            count.fetch_add(1, Ordering::Relaxed);
            if item == 3 { Err(item) } else { Ok(()) }
        });
        assert_eq!((worked, count.into_inner()), (Err(3), 4));
    }
}
