//! A lock that may never be released. A process that was forked while another thread of its parent held a lock has no
//! such thread, and its copy of the lock stays held.

use std::sync::{Mutex, MutexGuard, TryLockError};
use std::thread;

/// How often a thread tries to take the lock.
const TRIES: usize = 1000;

/// Takes a lock whose holders release it soon. `None` if it stays held: the holder is a thread that a fork does not
/// have.
pub(crate) fn lock_soon<T>(mutex: &Mutex<T>) -> Option<MutexGuard<'_, T>> {
    for _ in 0..TRIES {
        match mutex.try_lock() {
            Ok(held) => return Some(held),
            Err(TryLockError::Poisoned(held)) => return Some(held.into_inner()),
            Err(TryLockError::WouldBlock) => thread::yield_now(),
        }
    }
    None
}

#[cfg(all(test, not(properties)))]
mod tests {
    use super::*;

    /// As in a process that was forked while another thread of its parent held the lock.
    #[test]
    fn a_lock_that_is_never_released_is_not_waited_for() {
        let mutex = Mutex::new(());
        let _held = mutex.lock().expect("it is free");
        assert!(lock_soon(&mutex).is_none());
    }
}
