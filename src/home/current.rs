//! What a future can find out, while it is polled, about the runner that polls it.

use std::cell::Cell;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread_local;

thread_local! {
    /// The runner that polls on this thread; 0 if none does.
    static RUNNER: Cell<u64> = const { Cell::new(0) };
    /// Whether code in the poll found that its runtime cannot drive it.
    static FAILED: Cell<bool> = const { Cell::new(false) };
}

/// A number for a task or a runner, never 0.
pub(super) fn next_number() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

/// The runner that polls the caller, or 0. Resources that are bound to a runtime are bound again when this changes.
pub(super) fn current_runner() -> u64 {
    RUNNER.get()
}

/// Reports to the runner that polls the caller that its runtime cannot drive it. The task then moves after this poll.
/// Returns whether there is a runner.
pub(super) fn leave_runtime() -> bool {
    let is_run = RUNNER.get() != 0;
    FAILED.set(is_run);
    is_run
}

/// Calls `poll` as this runner. `poll` must not panic. Also returns whether the runtime cannot drive the polled future.
pub(super) fn poll_as<T>(runner: u64, poll: impl FnOnce() -> T) -> (T, bool) {
    let outer = (RUNNER.replace(runner), FAILED.replace(false));
    let polled = poll();
    let failed = FAILED.replace(outer.1);
    RUNNER.set(outer.0);
    (polled, failed)
}
