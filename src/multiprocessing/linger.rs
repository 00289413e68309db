//! A short wait before a long one. To fall asleep and be woken takes longer than an answer does that another
//! process is about to give.

use std::time::{Duration, Instant};

/// About as long as it takes to fall asleep and be woken.
const SHORT: Duration = Duration::from_micros(20);

/// So often it is only looked; then others get a turn after each look.
const LOOKS: usize = 50;

/// Waits for a short time until `is_so`, in a thread.
pub(super) fn linger(mut is_so: impl FnMut() -> bool) {
    for _ in 0..LOOKS {
        if is_so() {
            return;
        }
        std::hint::spin_loop();
    }
    let begun = Instant::now();
    while !is_so() && begun.elapsed() < SHORT {
        std::thread::yield_now();
    }
}

/// As [`linger`], in a task: all others of its runtime get a turn after each look.
pub(super) async fn linger_in_turn(mut is_so: impl FnMut() -> bool) {
    if is_so() {
        return;
    }
    let begun = Instant::now();
    while !is_so() && begun.elapsed() < SHORT {
        tokio::task::yield_now().await;
    }
}
