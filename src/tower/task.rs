//! A function on an executor as a service.

use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;
use std::task::{Context, Poll};

use tower_service::Service;

use super::entrance::Entrance;
use crate::executor::Executor;
use crate::executor::data::{Arguments, Data};
use crate::executor::error::TaskError;
use crate::executor::handle::JoinHandle;
use crate::executor::options::TaskOptions;
use crate::executor::submit_to;
use crate::executor::task::Task;

/// A service that calls one function on an executor. A request holds the function's arguments, and the
/// response is its result.
///
/// `poll_ready` waits for room in the executor's queue and holds it for the next call. Each clone waits for
/// its own room. A service that is ready and is not called keeps its room.
///
/// Dropping the future of a call cancels its task. A process pool then frees the worker. On a thread, a
/// function that already runs keeps its thread until it returns. The service does not keep its executor
/// open.
///
#[cfg_attr(not(doctest), doc = include_str!("../guide/snippets/task_service.md"))]
///
/// # Errors
/// `poll_ready` fails with `is_shutdown()` after the executor has shut down. A call fails as
/// [`submit`](crate::ExecutorExt::submit) does. A call without `poll_ready` fails with `is_rejected()` if
/// the queue is full.
pub struct TaskService<F, A, M> {
    function: F,
    options: Option<Arc<TaskOptions>>,
    entrance: Entrance,
    marker: PhantomData<fn(A) -> M>,
}

impl<F, A, M> TaskService<F, A, M>
where
    F: Task<A, M> + Copy + Send + Sync + 'static,
{
    /// Creates a service that calls `function` on `executor`.
    pub fn new<E: Executor + ?Sized>(executor: &E, function: F) -> Self {
        Self {
            function,
            options: None,
            entrance: Entrance::to(executor.handle()),
            marker: PhantomData,
        }
    }

    /// Sets the options of each call.
    pub fn options(mut self, options: TaskOptions) -> Self {
        self.options = Some(Arc::new(options));
        self
    }
}

impl<F, A, M> Service<A> for TaskService<F, A, M>
where
    F: Task<A, M> + Copy + Send + Sync + 'static,
    F::Output: Data,
    A: Arguments<M>,
    M: 'static,
{
    type Response = F::Output;
    type Error = TaskError;
    type Future = JoinHandle<F::Output>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), TaskError>> {
        self.entrance.poll_ready(cx)
    }

    fn call(&mut self, args: A) -> JoinHandle<F::Output> {
        let room = self.entrance.enter();
        let executor = &**self.entrance.executor();
        submit_to(executor, room, self.options.clone(), self.function, args).abort_on_drop()
    }
}

impl<F: Clone, A, M> Clone for TaskService<F, A, M> {
    fn clone(&self) -> Self {
        Self {
            function: self.function.clone(),
            options: self.options.clone(),
            entrance: Entrance::to(self.entrance.executor().clone()),
            marker: PhantomData,
        }
    }
}

impl<F, A, M> fmt::Debug for TaskService<F, A, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TaskService")
            .field("function", &std::any::type_name::<F>())
            .field("executor", self.entrance.executor())
            .finish_non_exhaustive()
    }
}
