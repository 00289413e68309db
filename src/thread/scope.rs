//! Tasks that borrow from the caller of a scope. The scope waits until no thread can use what they borrow.
//!
//! A task owns the caller's function and a [`Running`], which it drops last. The scope returns when no `Running` is
//! left. So the function has been called or dropped by then, wherever the pool has moved it and whatever its outcome
//! is.

use std::fmt;
use std::marker::PhantomData;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::core::Core;
use super::submit::submit_named;
use crate::block::may_block;
use crate::executor::Intake as _;
use crate::executor::error::TaskError;
use crate::executor::handle::JoinHandle;
use crate::executor::options::TaskOptions;
use crate::executor::task::{Function, Task, Unfinished};
use crate::sys::{Call, without_lifetime};

/// Submits tasks that borrow. Made by [`ThreadPoolExecutor::scope`](crate::ThreadPoolExecutor::scope).
pub struct Scope<'scope, 'env: 'scope> {
    core: &'env Arc<Core>,
    running: Arc<RunningTasks>,
    /// Invariant, as in [`std::thread::Scope`]: a shorter scope must not pass for this one.
    scope: PhantomData<&'scope mut &'scope ()>,
}

/// Calls `body` with a scope, and waits for the scope's tasks.
#[track_caller]
pub(super) fn run<'env, R>(
    core: &'env Arc<Core>,
    body: impl for<'scope> FnOnce(&'scope Scope<'scope, 'env>) -> R,
) -> R {
    may_block();
    let scope = Scope {
        core,
        running: Arc::default(),
        scope: PhantomData,
    };
    let _all_end = AllEnd(&scope.running);
    body(&scope)
}

impl<'scope> Scope<'scope, '_> {
    /// Submits a call and returns at once. The closure and its arguments may borrow what lives longer than the scope.
    ///
    /// ```
    /// # use concurrent_futures::{TaskError, ThreadPoolExecutor};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let pool = ThreadPoolExecutor::new()?;
    /// let numbers = [1, 2, 3, 4];
    /// let sum = pool.scope(|scope| {
    ///     let (left, right) = numbers.split_at(2);
    ///     let left = scope.submit(|| left.iter().sum::<u32>(), ());
    ///     let right = scope.submit(|| right.iter().sum::<u32>(), ());
    ///     Ok::<u32, TaskError>(left.blocking_join()? + right.blocking_join()?)
    /// });
    /// assert_eq!(sum?, 10);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// The handle reports them; see [`TaskError`].
    pub fn submit<F, A, M>(&'scope self, function: F, args: A) -> ScopedHandle<'scope, F::Output>
    where
        F: Task<A, M> + Send + 'scope,
        F::Output: Send + 'scope,
        A: Send + 'scope,
    {
        self.submit_task(None, function, args)
    }

    /// Like [`submit`](Self::submit), with options for this task.
    pub fn submit_with<F, A, M>(
        &'scope self,
        options: &TaskOptions,
        function: F,
        args: A,
    ) -> ScopedHandle<'scope, F::Output>
    where
        F: Task<A, M> + Send + 'scope,
        F::Output: Send + 'scope,
        A: Send + 'scope,
    {
        self.submit_task(Some(Arc::new(options.clone())), function, args)
    }

    fn submit_task<F, A, M>(
        &'scope self,
        options: Option<Arc<TaskOptions>>,
        function: F,
        args: A,
    ) -> ScopedHandle<'scope, F::Output>
    where
        F: Task<A, M> + Send + 'scope,
        F::Output: Send + 'scope,
        A: Send + 'scope,
    {
        let value = Arc::new(Mutex::new(None));
        let result = value.clone();
        let call = Box::new(move || {
            let value = function.run(args)?;
            *result.lock().unwrap_or_else(PoisonError::into_inner) = Some(value);
            Ok(())
        });
        #[expect(unsafe_code, reason = "this scope keeps the promise of its callee")]
        let task = ScopedTask {
            // SAFETY: `'scope` ends after `AllEnd` was dropped in `run`. That waits for `_running`, which is dropped
            // after the call has returned, or was dropped itself.
            call: unsafe { without_lifetime(call) },
            _running: RunningTasks::add(&self.running),
        };
        let (name, room) = (F::path(), self.core.try_room());
        ScopedHandle {
            handle: submit_named(name, self.core, room, options, task, ()),
            value,
            scope: PhantomData,
        }
    }
}

impl fmt::Debug for Scope<'_, '_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scope")
            .field("running", &*self.running.count())
            .finish()
    }
}

/// The caller's function on its way to a thread. The order of its fields is the order in which they are dropped.
struct ScopedTask {
    call: Call<'static, Result<(), Unfinished>>,
    _running: Running,
}

/// Marks the task of a scope.
struct InScope;

impl Function<(), InScope> for ScopedTask {}

impl Task<(), InScope> for ScopedTask {
    type Output = ();

    fn call(self, (): ()) {
        let _unfinished = self.run(());
    }

    fn run(self, (): ()) -> Result<(), Unfinished> {
        (self.call)() // Also if it panics, `_running` is dropped after what it has captured.
    }
}

/// A handle to a task of a [`Scope`]. Dropping it detaches the task, but the scope still waits for it.
#[must_use = "a dropped handle detaches its task; the scope waits for it, and its result is lost"]
pub struct ScopedHandle<'scope, T> {
    handle: JoinHandle<()>,
    value: Arc<Mutex<Option<T>>>,
    scope: PhantomData<&'scope ()>,
}

impl<T> ScopedHandle<'_, T> {
    /// Blocks this thread until the task has its outcome.
    ///
    /// # Errors
    /// Like awaiting a [`JoinHandle`].
    ///
    /// # Panics
    /// On a thread that drives async code.
    #[track_caller]
    pub fn blocking_join(self) -> Result<T, TaskError> {
        self.handle.blocking_join()?;
        Ok(Self::take(&self.value))
    }

    /// Like [`blocking_join`](Self::blocking_join), but returns `None` if there is no outcome within `limit`.
    ///
    /// # Errors
    /// Like awaiting a [`JoinHandle`].
    ///
    /// # Panics
    /// On a thread that drives async code; if the handle has returned its outcome already.
    #[track_caller]
    pub fn blocking_join_timeout(&mut self, limit: Duration) -> Option<Result<T, TaskError>> {
        let outcome = self.handle.blocking_join_timeout(limit)?;
        Some(outcome.map(|()| Self::take(&self.value)))
    }

    fn take(value: &Mutex<Option<T>>) -> T {
        let value = value.lock().unwrap_or_else(PoisonError::into_inner).take();
        value.expect("the task puts its value there before it ends")
    }

    /// Whether the outcome is there.
    pub fn is_finished(&self) -> bool {
        self.handle.is_finished()
    }

    /// Cancels the task, as [`JoinHandle::abort`] does. The scope still waits until its function returns.
    pub fn abort(&self) {
        self.handle.abort();
    }
}

impl<T> fmt::Debug for ScopedHandle<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ScopedHandle")
            .field("handle", &self.handle)
            .finish_non_exhaustive()
    }
}

/// The number of tasks that may still use what they borrow.
#[derive(Default)]
struct RunningTasks {
    count: Mutex<usize>,
    none_left: Condvar,
}

impl RunningTasks {
    fn add(tasks: &Arc<Self>) -> Running {
        *tasks.count() += 1;
        Running(tasks.clone())
    }

    fn count(&self) -> MutexGuard<'_, usize> {
        self.count.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One of the [`RunningTasks`].
struct Running(Arc<RunningTasks>);

impl Drop for Running {
    fn drop(&mut self) {
        let mut count = self.0.count();
        *count -= 1;
        if *count == 0 {
            self.0.none_left.notify_all();
        }
    }
}

/// Dropping it waits until no task is left.
struct AllEnd<'a>(&'a RunningTasks);

impl Drop for AllEnd<'_> {
    fn drop(&mut self) {
        let count = self.0.count();
        let none_left = self.0.none_left.wait_while(count, |count| *count > 0);
        drop(none_left.unwrap_or_else(PoisonError::into_inner));
    }
}
