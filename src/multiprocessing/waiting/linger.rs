//! A short wait before a long one. Falling asleep and waking often takes longer than the change by another process that
//! the caller waits for.

use std::time::{Duration, Instant};

/// About the time that it takes to fall asleep and wake.
const SHORT: Duration = Duration::from_micros(20);

/// The number of looks without a pause; after them, other threads run between looks.
const LOOKS: usize = 50;

/// Calls `look` for a short time, in a thread, until it returns a value.
pub(crate) fn linger<T>(mut look: impl FnMut() -> Option<T>) -> Option<T> {
    for _ in 0..LOOKS {
        let found = look();
        if found.is_some() {
            return found;
        }
        std::hint::spin_loop();
    }
    let begun = Instant::now();
    loop {
        let found = look();
        if found.is_some() || begun.elapsed() >= SHORT {
            return found;
        }
        std::thread::yield_now();
    }
}

/// Like [`linger`], in a task: the other tasks of its runtime run after each look.
///
/// # Cancel safety
/// Cancel safe: a value that `look` returns is returned at once.
pub(crate) async fn linger_in_turn<T>(mut look: impl FnMut() -> Option<T>) -> Option<T> {
    let found = look();
    if found.is_some() {
        return found;
    }
    let begun = Instant::now();
    loop {
        let found = look();
        if found.is_some() || begun.elapsed() >= SHORT {
            return found;
        }
        tokio::task::yield_now().await;
    }
}
