//! A runtime and a thread for the background tasks of one object, independent of the user's runtimes.

use std::fmt;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::runtime::Handle;
use tokio::task::JoinHandle;

use super::own::OwnRuntime;

/// Dropping the last clone ends its tasks, so a task must not keep a clone.
#[derive(Clone)]
pub(crate) struct Background {
    handle: Handle,
    _runtime: Arc<OwnRuntime>,
}

/// A task whose value the caller awaits. Dropping it ends the task.
#[must_use]
pub(crate) struct OwnedTask<T>(JoinHandle<T>);

impl Background {
    pub(crate) fn new() -> io::Result<Self> {
        let runtime = OwnRuntime::separate()?;
        Ok(Self {
            handle: runtime.running()?.clone(),
            _runtime: runtime,
        })
    }

    /// The handle to spawn tasks that may outlive the caller.
    pub(crate) fn handle(&self) -> &Handle {
        &self.handle
    }

    /// Runs `future` on this runtime. The value may be awaited in any runtime, or in none.
    pub(crate) fn run<F>(&self, future: F) -> OwnedTask<F::Output>
    where
        F: Future<Output: Send> + Send + 'static,
    {
        OwnedTask(self.handle.spawn(future))
    }
}

impl<T> Future for OwnedTask<T> {
    /// `None` if the runtime ends first.
    type Output = Option<T>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<T>> {
        Pin::new(&mut self.0).poll(cx).map(|ended| match ended {
            Ok(value) => Some(value),
            Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
            Err(_) => None,
        })
    }
}

impl<T> Drop for OwnedTask<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl fmt::Debug for Background {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Background").finish_non_exhaustive()
    }
}
