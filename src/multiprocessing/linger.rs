//! A short wait before a long one. To fall asleep and be woken takes longer than an answer does that another
//! process is about to give.

use std::time::{Duration, Instant};

/// About as long as it takes to fall asleep and be woken.
const SHORT: Duration = Duration::from_micros(20);

/// So often it is only looked; then others get a turn after each look.
const LOOKS: usize = 50;

/// Looks for a short time, in a thread, until `look` gives something.
pub(super) fn linger<T>(mut look: impl FnMut() -> Option<T>) -> Option<T> {
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

/// As [`linger`], in a task: all others of its runtime get a turn after each look.
///
/// # Cancel safety
/// Cancel safe: what `look` has given is returned at once.
pub(super) async fn linger_in_turn<T>(mut look: impl FnMut() -> Option<T>) -> Option<T> {
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
