//! Drives a future on the thread of a worker, until the future ends or its result is no longer wanted.

use std::cell::Cell;
use std::future::poll_fn;
use std::pin::pin;
use std::task::{self, Poll, Waker};

use tokio::runtime::{Builder, Runtime};

use super::context::Context;
use super::task::Unfinished;

/// Calls `begin` and drives its future on this thread. Drops the future if the task should end.
pub(super) fn drive<F: Future>(
    begin: impl FnOnce() -> F,
    task: Option<&Context>,
) -> Result<F::Output, Unfinished> {
    let runtime = LentRuntime::lend().map_err(Unfinished::NoRuntime)?;
    let runtime = runtime.get();
    runtime.block_on(async {
        let outcome = until_unwanted(begin, task).await;
        if runtime.metrics().num_alive_tasks() > 0 {
            // Lets tasks that the future spawned see its end now, rather than when the next task runs.
            tokio::task::yield_now().await;
        }
        outcome
    })
}

async fn until_unwanted<F: Future>(
    begin: impl FnOnce() -> F,
    task: Option<&Context>,
) -> Result<F::Output, Unfinished> {
    // The function also runs within the runtime: for example, it may return a timer.
    let mut future = pin!(async move { begin().await });
    let mut wish = task.map(Wish::of);
    let poll = |cx: &mut task::Context<'_>| {
        if wish.as_mut().is_some_and(|wish| wish.is_over(cx.waker())) {
            return Poll::Ready(Err(Unfinished::Dropped));
        }
        future.as_mut().poll(cx).map(Ok)
    };
    poll_fn(poll).await
}

/// A running task's result that is still wanted. When it is no longer wanted, the future is woken.
struct Wish<'a> {
    task: &'a Context,
    /// The waker to wake.
    waker: Option<Waker>,
}

impl<'a> Wish<'a> {
    fn of(task: &'a Context) -> Self {
        Self { task, waker: None }
    }

    fn is_over(&mut self, waker: &Waker) -> bool {
        if !self.waker.as_ref().is_some_and(|set| set.will_wake(waker)) {
            self.waker = Some(waker.clone());
            let wanted = &self.task.wanted;
            wanted.wake_if_unwanted(self.task.key, self.waker.clone());
        }
        self.task.is_cancelled()
    }
}

impl Drop for Wish<'_> {
    fn drop(&mut self) {
        if self.waker.is_some() {
            self.task.wanted.wake_if_unwanted(self.task.key, None);
        }
    }
}

thread_local! {
    /// The runtime of this thread's worker, while it drives no future.
    static KEPT: Cell<Option<KeptRuntime>> = const { Cell::new(None) };
}

/// Replaces the runtime of this thread, when another worker starts to use the thread or stops.
pub(crate) fn swap_runtime(next: Option<KeptRuntime>) -> Option<KeptRuntime> {
    KEPT.replace(next)
}

/// The runtime of one worker.
pub(crate) struct KeptRuntime {
    runtime: Option<Runtime>,
    /// The process that built it. A fork has a copy, which shares the parent's epoll instance.
    process: u32,
}

impl KeptRuntime {
    fn build() -> std::io::Result<Self> {
        let runtime = Builder::new_current_thread()
            .thread_name("cf-async")
            .enable_all()
            .build()?;
        Ok(Self {
            runtime: Some(runtime),
            process: std::process::id(),
        })
    }

    fn is_inherited(&self) -> bool {
        self.process != std::process::id()
    }
}

impl Drop for KeptRuntime {
    /// Does not wait for a task's blocking work.
    fn drop(&mut self) {
        match self.runtime.take() {
            Some(inherited) if self.is_inherited() => std::mem::forget(inherited),
            Some(runtime) => runtime.shutdown_background(),
            None => {}
        }
    }
}

/// The runtime of this thread. Dropping this keeps it for the next task.
struct LentRuntime(Option<KeptRuntime>);

impl LentRuntime {
    fn lend() -> std::io::Result<Self> {
        let kept = KEPT.take().filter(|kept| !kept.is_inherited());
        let runtime = kept.map_or_else(KeptRuntime::build, Ok)?;
        Ok(Self(Some(runtime)))
    }

    fn get(&self) -> &Runtime {
        let kept = self.0.as_ref().and_then(|kept| kept.runtime.as_ref());
        kept.expect("only the drop takes it")
    }
}

impl Drop for LentRuntime {
    fn drop(&mut self) {
        KEPT.set(self.0.take());
    }
}
