//! Wakes the supervisor of a worker, from any thread.

use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use futures::task::AtomicWaker;

/// Notifications that arrive before the next poll count as one.
#[derive(Debug, Default)]
pub(super) struct SupervisorWake {
    is_due: AtomicBool,
    waker: AtomicWaker,
}

impl SupervisorWake {
    pub(super) fn notify(&self) {
        if !self.is_due.swap(true, Ordering::AcqRel) {
            self.waker.wake();
        }
    }

    /// Ready once after one or more notifications. One task at a time.
    pub(super) fn poll(&self, cx: &mut Context<'_>) -> Poll<()> {
        // The usual case is a task that is woken for something else, so the flag is read first.
        if !self.take() {
            self.waker.register(cx.waker());
            if !self.take() {
                return Poll::Pending;
            }
        }
        Poll::Ready(())
    }

    fn take(&self) -> bool {
        self.is_due.load(Ordering::Acquire) && self.is_due.swap(false, Ordering::AcqRel)
    }
}
