//! What a future finds out, while it is polled, of the runner that polls it.

use std::cell::Cell;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread_local;

thread_local! {
    /// The runner that is being polled on this thread; 0 is none.
    static RUNNER: Cell<u64> = const { Cell::new(0) };
    /// Whether something in the poll found that its runtime cannot drive it.
    static FAILED: Cell<bool> = const { Cell::new(false) };
}

/// Numbers of tasks and runners, never 0.
pub(super) fn next_number() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

/// The runner that polls the caller, or 0. What is bound to a runtime is bound anew when this changes.
pub(super) fn current_runner() -> u64 {
    RUNNER.get()
}

/// Tells the runner that polls the caller that its runtime cannot drive it: the task moves after this poll. Returns
/// whether there is a runner.
pub(super) fn leave_runtime() -> bool {
    let is_run = RUNNER.get() != 0;
    FAILED.set(is_run);
    is_run
}

/// Polls as this runner. `poll` must not panic. Also returns whether the runtime cannot drive what was polled.
pub(super) fn poll_as<T>(runner: u64, poll: impl FnOnce() -> T) -> (T, bool) {
    let outer = (RUNNER.replace(runner), FAILED.replace(false));
    let polled = poll();
    let failed = FAILED.replace(outer.1);
    RUNNER.set(outer.0);
    (polled, failed)
}
