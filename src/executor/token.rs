//! A cancellation token of the user, from tokio-util.
//!
//! No task waits for a token. The waker that is registered with the token cancels the target itself, on the thread that
//! cancels the token. That thread then holds no lock of the token.

use std::fmt;
use std::pin::Pin;
use std::sync::{Arc, Weak};
use std::task::{Context, Poll, Wake, Waker};

use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

use crate::panic;

/// What a token cancels.
pub(crate) trait CancelTarget: Send + Sync {
    fn cancel(&self);
}

#[derive(Clone, Debug)]
pub(crate) struct CallerToken(pub(crate) CancellationToken);

impl CallerToken {
    pub(crate) fn is_cancelled(&self) -> bool {
        self.0.is_cancelled()
    }

    /// Cancels the target when the token is cancelled, until the result is dropped. `None` if the token already is.
    pub(crate) fn watch(&self, target: Weak<dyn CancelTarget>) -> Option<TokenWatch> {
        let waker = Waker::from(Arc::new(CancelWaker(target)));
        let mut watch = self.wait();
        let polled = watch.poll_cancelled(&mut Context::from_waker(&waker));
        polled.is_pending().then_some(watch)
    }

    /// A wait that the caller polls.
    pub(crate) fn wait(&self) -> TokenWatch {
        TokenWatch {
            token: self.clone(),
            wait: Box::pin(self.0.clone().cancelled_owned()),
        }
    }
}

/// A wait for a token.
pub(crate) struct TokenWatch {
    token: CallerToken,
    wait: Pin<Box<WaitForCancellationFutureOwned>>,
}

impl TokenWatch {
    pub(crate) fn poll_cancelled(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.wait.as_mut().poll(cx)
    }

    pub(crate) fn is_cancelled(&self) -> bool {
        self.token.is_cancelled()
    }
}

impl fmt::Debug for TokenWatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenWatch").finish_non_exhaustive()
    }
}

/// Cancels its target when woken. Only the cancel of the token wakes it.
struct CancelWaker(Weak<dyn CancelTarget>);

impl Wake for CancelWaker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if let Some(target) = self.0.upgrade() {
            // A panic would prevent the token from waking the others.
            panic::contain_panic(|| target.cancel());
        }
    }
}
