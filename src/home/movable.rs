//! A task that can move to another runtime. A *runner* is the tokio task that polls it in one runtime. All runners of a
//! task share its future, under a lock. To move the task, a new runner is spawned in the other runtime. The old runner
//! ends when it is next polled, which may be never: its runtime may be blocked.
//!
//! Two runners use the future at the same time only if the old one is inside a poll. Then the new one waits for the end
//! of that poll, without blocking its thread.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError, TryLockError};
use std::task::{Context, Poll, Waker};

use super::current::{next_number, poll_as};
use super::primitives::{AbortHandle, AtomicU64, Handle, Mutex, MutexGuard};

/// The future of a task.
type TaskFuture = Pin<Box<dyn Future<Output = ()> + Send>>;

/// The owner of tasks, which is notified when they end or fail.
pub(super) trait TaskKeeper: Send + Sync {
    /// The task has ended, or was aborted.
    fn task_ended(&self, task: &MovableTask);

    /// Called when the runtime of this runner has ended, or cannot drive the task, which should then move. Returns
    /// whether the task already has another runner.
    fn runtime_failed(&self, task: &MovableTask, runner: u64) -> bool;
}

/// A task that runs in one runtime at a time.
pub(super) struct MovableTask {
    number: u64,
    keeper: Arc<dyn TaskKeeper>,
    /// `None` once the task has ended.
    future: Mutex<Option<TaskFuture>>,
    /// The runner that may poll it; 0 once the task has ended.
    runner: AtomicU64,
    notes: Mutex<TaskNotes>,
}

/// What other threads record for the runners of a task.
#[derive(Default)]
struct TaskNotes {
    /// A runner that found the future in use, and waits for the end of the poll.
    waiting: Option<Waker>,
    aborted: bool,
    /// Ends the tokio task of the current runner. Otherwise a tokio task that is never woken would stay in its runtime.
    runner_task: Option<AbortHandle>,
}

/// A tokio task that polls a task in one runtime.
pub(super) struct Runner {
    task: Arc<MovableTask>,
    number: u64,
    is_over: bool,
}

impl MovableTask {
    pub(super) fn new(
        keeper: Arc<dyn TaskKeeper>,
        future: impl Future<Output = ()> + Send + 'static,
    ) -> Arc<Self> {
        Arc::new(Self {
            number: next_number(),
            keeper,
            future: Mutex::new(Some(Box::pin(future))),
            runner: AtomicU64::new(0),
            notes: Mutex::default(),
        })
    }

    pub(super) fn number(&self) -> u64 {
        self.number
    }

    /// Creates a new runner. Earlier ones no longer poll the task.
    pub(super) fn new_runner(self: &Arc<Self>) -> Runner {
        let number = next_number();
        self.replace_runner(number);
        Runner {
            task: self.clone(),
            number,
            is_over: false,
        }
    }

    /// Whether this runner may poll it.
    pub(super) fn is_run_by(&self, runner: u64) -> bool {
        self.runner.load(Ordering::Acquire) == runner
    }

    /// Makes this runner the current one, and ends the tokio task of the one before.
    fn replace_runner(&self, number: u64) {
        let mut notes = self.notes();
        self.runner.store(number, Ordering::Release);
        let before = notes.runner_task.take();
        drop(notes);
        if let Some(before) = before {
            before.abort();
        }
    }

    /// Records that the runner has become this tokio task.
    fn runner_started(&self, runner: u64, task: AbortHandle) {
        let mut notes = self.notes();
        if self.is_run_by(runner) {
            notes.runner_task = Some(task);
        } else {
            drop(notes);
            task.abort(); // Another runner has replaced it, or the task has ended.
        }
    }

    /// Drops the future, now or at the end of the current poll.
    pub(super) fn abort(&self) {
        self.notes().aborted = true;
        self.end_aborted();
    }

    fn end_aborted(&self) {
        // If another thread has the future, that thread finds the note when it unlocks the future.
        if let Some(mut future) = self.try_lock() {
            let dropped = future.take();
            self.release(future);
            self.end(dropped);
        }
    }

    fn end(&self, future: Option<TaskFuture>) {
        if let Some(future) = future {
            drop(future);
            self.replace_runner(0);
            self.keeper.task_ended(self);
        }
    }

    /// Unlocks the future. Drops it if the task was aborted meanwhile, even if the caller is not the current runner.
    fn unlock(&self, future: MutexGuard<'_, Option<TaskFuture>>) {
        if self.release(future) {
            self.end_aborted();
        }
    }

    /// Unlocks the future, and wakes a runner that waits for it. Returns whether the task was aborted meanwhile.
    fn release(&self, future: MutexGuard<'_, Option<TaskFuture>>) -> bool {
        drop(future);
        let mut notes = self.notes();
        let (waiting, aborted) = (notes.waiting.take(), notes.aborted);
        drop(notes);
        if let Some(waker) = waiting {
            waker.wake();
        }
        aborted
    }

    fn try_lock(&self) -> Option<MutexGuard<'_, Option<TaskFuture>>> {
        match self.future.try_lock() {
            Ok(future) => Some(future),
            Err(TryLockError::Poisoned(future)) => Some(future.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        }
    }

    /// As `try_lock`. If the future is in use, the waker is woken at the end of the current poll.
    fn lock_or_wait(&self, waker: &Waker) -> Option<MutexGuard<'_, Option<TaskFuture>>> {
        self.try_lock().or_else(|| {
            self.notes().waiting = Some(waker.clone());
            self.try_lock() // The poll may have ended before it could see the waker.
        })
    }

    fn notes(&self) -> MutexGuard<'_, TaskNotes> {
        self.notes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Runner {
    /// Becomes a tokio task of this runtime.
    pub(super) fn spawn(self, runtime: &Handle) {
        let (task, number) = (self.task.clone(), self.number);
        task.runner_started(number, runtime.spawn(self).abort_handle());
    }

    fn is_current(&self) -> bool {
        self.task.is_run_by(self.number)
    }

    fn poll_task(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let task = &*self.task;
        if !self.is_current() {
            return Poll::Ready(()); // The task has moved, or has ended.
        }
        let Some(mut future) = task.lock_or_wait(cx.waker()) else {
            return Poll::Pending;
        };
        let running = match &mut *future {
            Some(running) if self.is_current() => running,
            _ => {
                task.unlock(future);
                return Poll::Ready(());
            }
        };
        let poll = AssertUnwindSafe(|| running.as_mut().poll(cx));
        let (polled, failed) = poll_as(self.number, || catch_unwind(poll));
        let ended = match polled {
            Ok(Poll::Pending) => None,
            Ok(Poll::Ready(())) | Err(_) => future.take(),
        };
        task.unlock(future);
        task.end(ended);
        if failed && self.is_current() && !task.keeper.runtime_failed(task, self.number) {
            cx.waker().wake_by_ref(); // There is no other runtime. The next poll may find this one working again.
        }
        if self.is_current() {
            Poll::Pending
        } else {
            Poll::Ready(())
        }
    }
}

impl Future for Runner {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let polled = self.poll_task(cx);
        self.is_over |= polled.is_ready();
        polled
    }
}

/// Dropped before the task ended: its runtime has ended.
impl Drop for Runner {
    fn drop(&mut self) {
        let is_lost = !self.is_over && self.is_current();
        if is_lost && !self.task.keeper.runtime_failed(&self.task, self.number) {
            self.task.abort(); // There is no other runtime for it.
        }
    }
}
