//! Waits for a future on a thread that may block. Needs no runtime: the thread parks until the future is woken.

use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::Instant;

use tokio::runtime::Handle;
use tokio::sync::Mutex;

/// Checks that this thread may block.
///
/// # Panics
/// On a thread that drives async code, with tokio's message.
#[track_caller]
#[inline]
pub(crate) fn may_block() {
    // A thread outside the context of a runtime drives no async code, and most callers are on such a thread. Inside,
    // only tokio's own blocking methods know the threads that may block; calling them takes several times as long.
    if Handle::try_current().is_ok() {
        check_thread();
    }
}

#[track_caller]
#[inline(never)]
fn check_thread() {
    drop(Mutex::new(()).blocking_lock()); // The mutex is free, so this only checks the thread.
}

/// Blocks this thread until `future` is ready.
///
/// # Panics
/// On a thread that drives async code.
#[track_caller]
pub(crate) fn block_on<F: Future>(future: F) -> F::Output {
    block_on_until(future, None).expect("a wait without an end always has a result")
}

/// Like [`block_on`], but returns `None` if `future` is not ready at `end`. It is polled at least once.
///
/// # Panics
/// On a thread that drives async code.
#[track_caller]
pub(crate) fn block_on_until<F: Future>(future: F, end: Option<Instant>) -> Option<F::Output> {
    may_block();
    park_until(future, end)
}

/// Like [`block_on_until`], for a caller that has checked that its thread may block.
pub(crate) fn park_until<F: Future>(future: F, end: Option<Instant>) -> Option<F::Output> {
    let waker = Waker::from(Arc::new(Parked(thread::current())));
    let mut context = Context::from_waker(&waker);
    let mut future = pin!(future);
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut context) {
            return Some(output);
        }
        let Some(end) = end else {
            thread::park();
            continue;
        };
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return None;
        }
        thread::park_timeout(left);
    }
}

/// A thread that waits for a future.
struct Parked(Thread);

impl Wake for Parked {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

#[cfg(all(test, not(properties)))]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_thread_waits_until_its_future_is_woken() {
        let (sender, receiver) = tokio::sync::oneshot::channel();
        let waiter = thread::spawn(move || block_on(receiver));
        sender.send(1).expect("it waits");
        assert_eq!(waiter.join().expect("no panic"), Ok(1));
    }

    #[test]
    fn a_wait_ends_at_its_end_and_the_future_remains() {
        let (sender, mut receiver) = tokio::sync::oneshot::channel();
        let soon = Instant::now() + Duration::from_millis(1);
        assert_eq!(block_on_until(&mut receiver, Some(soon)), None);
        sender.send(1).expect("the receiver waits");
        assert_eq!(block_on_until(&mut receiver, Some(soon)), Some(Ok(1)));
    }

    #[test]
    fn a_thread_in_the_context_of_a_runtime_that_it_does_not_drive_may_block() {
        let runtime = tokio::runtime::Builder::new_current_thread().build();
        let runtime = runtime.expect("a runtime");
        let _context = runtime.enter();
        assert_eq!(block_on(async { 1 }), 1);
    }

    #[tokio::test]
    #[should_panic(expected = "Cannot block the current thread from within a runtime")]
    async fn a_thread_of_a_runtime_never_blocks() {
        block_on(async {});
    }
}
