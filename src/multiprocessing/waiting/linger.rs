//! A short wait before a long one. Falling asleep and waking often takes longer than the change by another process that
//! the caller waits for.

use std::time::{Duration, Instant};

/// About the time that it takes to fall asleep and wake.
const SHORT: Duration = Duration::from_micros(20);

/// The number of checks without a pause. After them, other threads run between the checks.
const MOST_CHECKS: usize = 50;

/// Calls `check` for a short time, on a thread, until it returns a value.
pub(crate) fn linger<T>(mut check: impl FnMut() -> Option<T>) -> Option<T> {
    for _ in 0..MOST_CHECKS {
        let found = check();
        if found.is_some() {
            return found;
        }
        std::hint::spin_loop();
    }
    let begun = Instant::now();
    loop {
        let found = check();
        if found.is_some() || begun.elapsed() >= SHORT {
            return found;
        }
        std::thread::yield_now();
    }
}

/// Like [`linger`], in a task: the other tasks of its runtime run after each check.
///
/// # Cancel safety
/// Cancel safe: a value that `check` returns is returned at once.
pub(crate) async fn linger_in_turn<T>(mut check: impl FnMut() -> Option<T>) -> Option<T> {
    let found = check();
    if found.is_some() {
        return found;
    }
    let begun = Instant::now();
    loop {
        let found = check();
        if found.is_some() || begun.elapsed() >= SHORT {
            return found;
        }
        tokio::task::yield_now().await;
    }
}
