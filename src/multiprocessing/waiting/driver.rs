//! The two ways to wait: in a task ([`InTask`]) and on a thread ([`InThread`]). Each wait is written once, as async
//! code over a [`Driver`].
//!
//! On a thread, the driver's methods block until they have a result. So one poll of its future completes a wait:
//! [`InThread::run`] does that. Only a thread has a deadline; a task has `tokio::time::timeout`.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use tokio::task::{coop, yield_now};

use super::crowd::{Crowd, Crowds};
use super::linger::{linger, linger_in_turn};
use super::turns::{LineHead, Turns};
use super::waiter::{TaskWaiter, ThreadWaiter, Waiter};
use crate::{block, sys};

/// A task or a thread that waits.
pub(crate) trait Driver: Sync {
    type Waiter: Waiter;

    /// Called first in each wait: checks that the caller may wait here.
    async fn begin(&self);

    /// Lets other tasks run.
    async fn pass(&self);

    /// Calls `check` for a short time, until it returns true. (If it returned the value that it found, the compiler
    /// could not prove that the futures of users are `Send`.)
    async fn linger(&self, check: impl FnMut() -> bool);

    /// Waits until the caller is the head of its line. `None` if time is up before.
    async fn turn<'a>(&self, turns: &'a Turns) -> Option<LineHead<'a, Self::Waiter>>;

    /// The crowd to join for a wait in which all waiters check.
    fn crowd(&self, crowds: &Crowds) -> Arc<Crowd<Self::Waiter>>;

    /// The deadline of the wait.
    fn end(&self) -> Option<Instant>;

    fn is_over(&self) -> bool {
        is_over(self.end())
    }
}

/// Waits in a task.
#[derive(Clone, Copy, Debug)]
pub(crate) struct InTask;

/// The result of a wait without a deadline.
pub(crate) fn forever<T>(found: Option<T>) -> T {
    found.expect("a wait without a deadline always has a result")
}

impl Driver for InTask {
    type Waiter = TaskWaiter;

    /// Without this, a task whose waits always succeed at once would not let other tasks run.
    async fn begin(&self) {
        // As `consume_budget`, in fewer steps.
        poll_fn(|context| coop::poll_proceed(context).map(|budget| budget.made_progress())).await;
    }

    async fn pass(&self) {
        yield_now().await;
    }

    async fn linger(&self, mut check: impl FnMut() -> bool) {
        linger_in_turn(|| check().then_some(())).await;
    }

    async fn turn<'a>(&self, turns: &'a Turns) -> Option<LineHead<'a, TaskWaiter>> {
        let (waits, line) = (turns.enter(), turns.of_tasks());
        if let Ok(head) = line.clone().try_lock_owned() {
            return Some(LineHead::new(head, false, waits));
        }
        Some(LineHead::new(line.lock_owned().await, true, waits))
    }

    fn crowd(&self, crowds: &Crowds) -> Arc<Crowd<TaskWaiter>> {
        crowds.here()
    }

    fn end(&self) -> Option<Instant> {
        None
    }
}

/// Waits on a thread, until the deadline if there is one.
#[derive(Clone, Copy, Debug)]
pub(crate) struct InThread {
    pub(crate) end: Option<Instant>,
}

impl InThread {
    /// A wait whose time starts now.
    pub(crate) fn within(timeout: Option<Duration>) -> Self {
        let end = end_of(timeout);
        Self { end }
    }

    /// Waits on a thread: returns what `at_once` finds, or otherwise what `wait` returns. `None` after `timeout`.
    ///
    /// # Panics
    /// On a thread that drives async code.
    #[inline]
    pub(crate) fn wait<T>(
        timeout: Option<Duration>,
        at_once: impl FnOnce() -> Option<T>,
        wait: impl AsyncFnOnce(&Self) -> Option<T>,
    ) -> Option<T> {
        may_block();
        let found = at_once();
        if found.is_some() {
            return found;
        }
        Self::run(wait(&Self::within(timeout)))
    }

    /// Runs a wait that uses this driver.
    pub(crate) fn run<T>(wait: impl Future<Output = T>) -> T {
        match pin!(wait).poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(found) => found,
            Poll::Pending => unreachable!("a wait in a thread blocks until it has a result"),
        }
    }
}

impl Driver for InThread {
    type Waiter = ThreadWaiter;

    /// # Panics
    /// On a thread that drives async code.
    async fn begin(&self) {
        may_block();
    }

    async fn pass(&self) {}

    async fn linger(&self, mut check: impl FnMut() -> bool) {
        linger(|| check().then_some(()));
    }

    async fn turn<'a>(&self, turns: &'a Turns) -> Option<LineHead<'a, ThreadWaiter>> {
        let (waits, line) = (turns.enter(), turns.of_threads());
        if let Ok(head) = line.clone().try_lock_owned() {
            return Some(LineHead::new(head, false, waits));
        }
        // In a fork, the budget of the task that it was forked in is never renewed.
        let head = coop::unconstrained(line.lock_owned());
        let head = block::park_until(head, self.end)?;
        Some(LineHead::new(head, true, waits))
    }

    /// A thread leads no other thread, because it may block elsewhere.
    fn crowd(&self, _crowds: &Crowds) -> Arc<Crowd<ThreadWaiter>> {
        Arc::default()
    }

    fn end(&self) -> Option<Instant> {
        self.end
    }
}

/// Checks that this thread may block.
///
/// # Panics
/// On a thread that drives async code.
#[track_caller]
pub(crate) fn may_block() {
    // In a fork, this thread still seems to be in its parent's runtime, which does not run there.
    if sys::generation() == 0 {
        block::may_block();
    }
}

/// The deadline of a wait that starts now, if it has one.
pub(crate) fn end_of(timeout: Option<Duration>) -> Option<Instant> {
    timeout.and_then(|timeout| Instant::now().checked_add(timeout))
}

pub(crate) fn is_over(end: Option<Instant>) -> bool {
    end.is_some_and(|end| end <= Instant::now())
}
