//! Mutex locks that ignore poisoning.

use std::sync::{Mutex, MutexGuard, PoisonError, TryLockError};
use std::thread;
use std::time::{Duration, Instant};

/// The pause between two attempts to take the lock.
const PAUSE: Duration = Duration::from_millis(10);

/// Locks a mutex even when another holder has panicked. Only for data that is never left half changed.
pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Like [`lock`], but waits at most `patience`; `None` when that runs out.
pub fn lock_within<T>(mutex: &Mutex<T>, patience: Duration) -> Option<MutexGuard<'_, T>> {
    let deadline = Instant::now() + patience;
    loop {
        match mutex.try_lock() {
            Ok(guard) => return Some(guard),
            Err(TryLockError::Poisoned(poisoned)) => return Some(poisoned.into_inner()),
            Err(TryLockError::WouldBlock) if Instant::now() >= deadline => return None,
            Err(TryLockError::WouldBlock) => thread::sleep(PAUSE),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_has_waited_long_enough_for_a_lock_gets_none() {
        let mutex = Mutex::new(1);
        let held = lock(&mutex);
        assert!(lock_within(&mutex, Duration::from_millis(1)).is_none());
        thread::scope(|scope| {
            let waiting = scope.spawn(|| lock_within(&mutex, Duration::from_secs(30)).map(|guard| *guard));
            drop(held);
            assert_eq!(waiting.join().unwrap(), Some(1));
        });
    }
}
