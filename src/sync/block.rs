//! Waits for a future on a thread that may block. Meanwhile the thread is marked as polling only this future.

use std::cell::Cell;
use std::future::poll_fn;
use std::pin::pin;
use std::time::{Duration, Instant};

use crate::block;

/// Whether a thread is blocked on one future.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Blocking {
    No,
    /// Until the future is ready.
    Forever,
    /// Until a point in time.
    Bounded,
}

thread_local! {
    static BLOCKING: Cell<Blocking> = const { Cell::new(Blocking::No) };
}

/// How this thread is blocked.
pub(super) fn blocking() -> Blocking {
    BLOCKING.get()
}

/// Blocks this thread until `future` is ready.
///
/// # Panics
/// On a thread that drives async code, even if `future` is ready.
#[track_caller]
pub(super) fn block_on<F: Future>(future: F) -> F::Output {
    block_on_until(future, None).expect("a wait without an end always has a result")
}

/// Like [`block_on`], but returns `None` if `future` is not ready within `timeout`. It is polled at least once.
///
/// # Panics
/// Like [`block_on`].
#[track_caller]
pub(super) fn block_on_timeout<F: Future>(future: F, timeout: Duration) -> Option<F::Output> {
    block_on_until(future, end_of(timeout))
}

/// Like [`block_on_timeout`], until `end`; without one, for any time.
///
/// # Panics
/// Like [`block_on`].
#[track_caller]
pub(super) fn block_on_until<F: Future>(future: F, end: Option<Instant>) -> Option<F::Output> {
    let blocking = match end {
        Some(_) => Blocking::Bounded,
        None => Blocking::Forever,
    };
    let mut future = pin!(future);
    let future = poll_fn(|cx| {
        let _outer = Outer(BLOCKING.replace(blocking));
        future.as_mut().poll(cx)
    });
    block::block_on_until(future, end)
}

/// The end of a wait that begins now. `None` if it is beyond the range of the clock.
pub(super) fn end_of(timeout: Duration) -> Option<Instant> {
    Instant::now().checked_add(timeout)
}

/// The previous value, restored on drop, also after a panic.
struct Outer(Blocking);

impl Drop for Outer {
    fn drop(&mut self) {
        BLOCKING.set(self.0);
    }
}

#[cfg(all(test, not(properties)))]
mod tests {
    use super::*;

    #[test]
    fn a_thread_is_blocked_while_it_polls_and_no_longer() {
        assert_eq!(
            block_on_timeout(async { blocking() }, Duration::ZERO),
            Some(Blocking::Bounded)
        );
        assert_eq!(block_on(async { blocking() }), Blocking::Forever);
        assert_eq!(blocking(), Blocking::No);
    }
}
