//! Blocks a thread on a future, and marks the thread: the deadlock watcher then counts the wait as the thread's own.

use std::cell::Cell;
use std::future::poll_fn;
use std::pin::pin;

use crate::block;

thread_local! {
    static IS_BLOCKED: Cell<bool> = const { Cell::new(false) };
}

/// Whether this thread is blocked on one future.
pub(super) fn is_blocked() -> bool {
    IS_BLOCKED.get()
}

/// Blocks the thread until `future` is ready.
///
/// # Panics
/// On a thread that drives async code.
#[track_caller]
pub(super) fn block_on<F: Future>(future: F) -> F::Output {
    let mut future = pin!(future);
    block::block_on(poll_fn(|context| {
        let _outer = Blocked(IS_BLOCKED.replace(true));
        future.as_mut().poll(context)
    }))
}

/// The previous value of the flag; restores it, also after a panic.
struct Blocked(bool);

impl Drop for Blocked {
    fn drop(&mut self) {
        IS_BLOCKED.set(self.0);
    }
}
