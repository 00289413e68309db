//! Turns: the tasks of one runtime wait in a line, first come first served. Only the head of a line listens and checks,
//! so one release wakes one task of each runtime.
//!
//! All threads of a process share one more line. A runtime that is blocked, idle or ended delays no task of another
//! one. Between lines, and between processes, the first one to find the object free takes it.
//!
//! The lines are tokio's mutexes. Each mutex guards the waiter of its line, which every head passes on to the next,
//! with its descriptors.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use tokio::sync::OwnedMutexGuard;

use super::bell::Bell;
use super::local::Local;
use super::runtimes::OfRuntimes;
use super::waiter::{TaskWaiter, ThreadWaiter, Waiter};

/// The line of one runtime's tasks, or of the threads. Its head holds this lock.
pub(crate) type Line<W> = tokio::sync::Mutex<Option<W>>;

/// The lines in front of one object. A clone refers to the same lines.
#[derive(Clone, Debug, Default)]
pub(crate) struct Turns(Arc<Local<Lines>>);

#[derive(Debug, Default)]
struct Lines {
    /// The number of waiting tasks and threads.
    count: AtomicUsize,
    tasks: OfRuntimes<Line<TaskWaiter>>,
    threads: Mutex<Weak<Line<ThreadWaiter>>>,
}

impl Turns {
    /// The fast path of every wait: returns what `take` finds, unless a task or thread of this process waits. So a
    /// newcomer overtakes no waiter.
    #[inline]
    pub(crate) fn at_once<T>(&self, take: impl FnOnce() -> Option<T>) -> Option<T> {
        let are_free = self.0.get().count.load(Ordering::Relaxed) == 0;
        if are_free { take() } else { None }
    }

    /// Counts the caller as waiting until the result is dropped.
    pub(crate) fn enter(&self) -> Waits<'_> {
        let count = &self.0.get().count;
        count.fetch_add(1, Ordering::Relaxed);
        Waits(count)
    }

    /// The line of this runtime.
    pub(crate) fn of_tasks(&self) -> Arc<Line<TaskWaiter>> {
        self.0.get().tasks.here()
    }

    /// The line of all threads.
    pub(crate) fn of_threads(&self) -> Arc<Line<ThreadWaiter>> {
        let threads = &self.0.get().threads;
        let mut line = threads.lock().unwrap_or_else(PoisonError::into_inner);
        line.upgrade().unwrap_or_else(|| {
            let new = Arc::default();
            *line = Arc::downgrade(&new);
            new
        })
    }
}

/// A waiting task or thread.
#[derive(Debug)]
pub(crate) struct Waits<'a>(&'a AtomicUsize);

impl Drop for Waits<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The head of a line, until it is dropped.
#[derive(Debug)]
pub(crate) struct LineHead<'a, W> {
    line: OwnedMutexGuard<Option<W>>,
    /// Whether it waited behind others.
    pub(crate) has_waited: bool,
    _waits: Waits<'a>,
}

impl<'a, W: Waiter> LineHead<'a, W> {
    pub(crate) fn new(
        line: OwnedMutexGuard<Option<W>>,
        has_waited: bool,
        waits: Waits<'a>,
    ) -> Self {
        Self {
            line,
            has_waited,
            _waits: waits,
        }
    }

    /// The waiter of its line, created by the first call.
    ///
    /// # Panics
    /// In a task, outside of a tokio runtime, or in one without an I/O driver.
    pub(crate) fn waiter(&mut self, bell: &Bell) -> &mut W {
        self.line.get_or_insert_with(|| W::new(bell))
    }
}
