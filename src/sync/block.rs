//! Waits for a future on a thread that may block.

use std::cell::Cell;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};

use tokio::sync::Mutex;

thread_local! {
    static IS_BLOCKED: Cell<bool> = const { Cell::new(false) };
}

/// Whether this thread is blocked on one future.
pub(super) fn is_blocked() -> bool {
    IS_BLOCKED.get()
}

struct Parked(Thread);

impl Wake for Parked {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// Blocks the thread until `future` is ready. Panics on a thread that drives async code, with tokio's own
/// message.
pub(super) fn block_on<F: Future>(future: F) -> F::Output {
    drop(Mutex::new(()).blocking_lock()); // It is free; the call checks the thread first.
    let waker = Waker::from(Arc::new(Parked(thread::current())));
    let mut cx = Context::from_waker(&waker);
    let mut future = pin!(future);
    loop {
        let outer = Blocked(IS_BLOCKED.replace(true));
        let polled = future.as_mut().poll(&mut cx);
        drop(outer);
        match polled {
            Poll::Ready(output) => return output,
            Poll::Pending => thread::park(),
        }
    }
}

/// The previous value of the flag; restores it, also after a panic.
struct Blocked(bool);

impl Drop for Blocked {
    fn drop(&mut self) {
        IS_BLOCKED.set(self.0);
    }
}

#[cfg(all(test, not(properties)))]
mod tests {
    use super::*;

    #[test]
    fn a_thread_waits_until_its_future_is_woken() {
        let (sender, receiver) = tokio::sync::oneshot::channel();
        let waiter = thread::spawn(move || block_on(receiver));
        sender.send(1).expect("it waits");
        assert_eq!(waiter.join().expect("no panic"), Ok(1));
    }

    #[tokio::test]
    #[should_panic(expected = "Cannot block the current thread from within a runtime")]
    async fn a_thread_of_the_runtime_is_never_blocked() {
        block_on(async {});
    }
}
