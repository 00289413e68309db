//! Executors as [tower](https://docs.rs/tower) services and layers (feature `tower`).
//!
//! - [`TaskService`]: an executor with a function; a request is the function's arguments.
//! - [`OffloadLayer`]: any service, its work done on a pool of threads.
//!
//! Both wait for room in the executor's queue in `poll_ready`, so load shedding, time-outs, buffers and
//! concurrency limits compose with them as with any other service.

use std::fmt;
use std::marker::PhantomData;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use futures::future::BoxFuture;
use tokio::runtime::Handle;
use tokio_util::sync::{CancellationToken, DropGuard};
use tower_layer::Layer;
use tower_service::Service;

use crate::executor::error::TaskError;
use crate::executor::handle::JoinHandle;
use crate::executor::options::TaskOptions;
use crate::executor::room::Room;
use crate::executor::task::{Arguments, Data, Task};
use crate::executor::{Executor, Intake as _, submit_to};
use crate::thread::ThreadPoolExecutor;

/// An executor with a function: a service whose request is the function's arguments, and whose
/// response is its result.
///
/// `poll_ready` waits for room in the executor's queue and keeps it for the next call; a clone waits for
/// room of its own. As with any service, one that was asked whether it is ready and is kept without a call
/// keeps its place. Dropping the future of a call cancels its task, so a request whose client went
/// away frees its worker. The service does not keep its executor open.
///
#[cfg_attr(not(doctest), doc = include_str!("guide/snippets/task_service.md"))]
///
/// # Errors
/// `poll_ready` fails with `is_shutdown()` when the executor has been shut down; a call fails as
/// [`submit`](crate::ExecutorExt::submit) does. A call without `poll_ready` before it is refused with
/// `is_rejected()` if the queue is full.
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
    /// The service that calls `function` on `executor`.
    pub fn new<E: Executor + ?Sized>(executor: &E, function: F) -> Self {
        Self {
            function,
            options: None,
            entrance: Entrance::to(executor.handle()),
            marker: PhantomData,
        }
    }

    /// Options for each call.
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
        let executor = &*self.entrance.executor;
        submit_to(executor, room, self.options.clone(), self.function, args).abort_on_drop()
    }
}

impl<F: Clone, A, M> Clone for TaskService<F, A, M> {
    fn clone(&self) -> Self {
        Self {
            function: self.function.clone(),
            options: self.options.clone(),
            entrance: Entrance::to(self.entrance.executor.clone()),
            marker: PhantomData,
        }
    }
}

impl<F, A, M> fmt::Debug for TaskService<F, A, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TaskService")
            .field("function", &std::any::type_name::<F>())
            .field("executor", &self.entrance.executor)
            .finish_non_exhaustive()
    }
}

/// Where a service waits for room in its executor's queue.
struct Entrance {
    executor: Arc<dyn Executor>,
    place: RoomWait,
}

enum RoomWait {
    None,
    Awaited(BoxFuture<'static, Result<Room, TaskError>>),
    Held(Room),
}

impl Entrance {
    fn to(executor: Arc<dyn Executor>) -> Self {
        let place = RoomWait::None;
        Self { executor, place }
    }

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), TaskError>> {
        if let RoomWait::None = self.place {
            let executor = self.executor.clone();
            self.place = RoomWait::Awaited(Box::pin(async move { executor.room().await }));
        }
        if let RoomWait::Awaited(room) = &mut self.place {
            let room = ready!(room.as_mut().poll(cx));
            self.place = RoomWait::None;
            self.place = RoomWait::Held(room?);
        }
        Poll::Ready(Ok(()))
    }

    /// The room that is held, or else what there is.
    fn enter(&mut self) -> Result<Room, TaskError> {
        match std::mem::replace(&mut self.place, RoomWait::None) {
            RoomWait::Held(room) => Ok(room),
            RoomWait::None | RoomWait::Awaited(_) => self.executor.try_room(),
        }
    }
}

/// Does the work of a service on a pool of threads: for services that compute between their
/// `.await`s, and would hold up the runtime.
///
/// The whole future of a call is polled on a thread of the pool, within the caller's runtime. Dropping
/// what the call gave ends it at its next `.await`.
///
#[cfg_attr(not(doctest), doc = include_str!("guide/snippets/offload_layer.md"))]
#[derive(Clone, Debug)]
pub struct OffloadLayer(Arc<ThreadPoolExecutor>);

impl OffloadLayer {
    /// The layer that moves work to `pool`.
    pub fn new(pool: Arc<ThreadPoolExecutor>) -> Self {
        Self(pool)
    }
}

impl<S> Layer<S> for OffloadLayer {
    type Service = Offload<S>;

    fn layer(&self, inner: S) -> Offload<S> {
        Offload {
            inner,
            entrance: Entrance::to(self.0.handle()),
            pool: self.0.clone(),
        }
    }
}

/// A service whose work is done on a pool of threads; made by [`OffloadLayer`].
///
/// # Errors
/// The service's own error, or the [`TaskError`] of the executor: by `downcast_ref`.
///
/// # Panics
/// A panic of the service is a `TaskError` for which `is_panic()` holds. A call outside of a tokio
/// runtime panics.
pub struct Offload<S> {
    inner: S,
    entrance: Entrance,
    pool: Arc<ThreadPoolExecutor>,
}

/// As tower has it.
type BoxError = Box<dyn std::error::Error + Send + Sync>;

impl<S, Request> Service<Request> for Offload<S>
where
    S: Service<Request> + Clone + Send + 'static,
    S::Response: Send + 'static,
    S::Error: Into<BoxError> + Send + 'static,
    Request: Send + 'static,
{
    type Response = S::Response;
    type Error = BoxError;
    type Future = OffloadFuture<S::Response, S::Error>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        ready!(self.inner.poll_ready(cx)).map_err(Into::into)?;
        Poll::Ready(ready!(self.entrance.poll_ready(cx)).map_err(Into::into))
    }

    fn call(&mut self, request: Request) -> Self::Future {
        // The one that is ready is the one that is called; a clone may not be.
        let clone = self.inner.clone();
        let mut inner = std::mem::replace(&mut self.inner, clone);
        let runtime = Handle::current();
        let wanted = CancellationToken::new();
        let unwanted = wanted.clone();
        let work = move || {
            runtime.block_on(unwanted.run_until_cancelled(async { inner.call(request).await }))
        };
        OffloadFuture {
            handle: self
                .pool
                .submit_local(self.entrance.enter(), None, work, ()),
            _wanted: wanted.drop_guard(),
        }
    }
}

impl<S: Clone> Clone for Offload<S> {
    fn clone(&self) -> Self {
        Self {
            inner: self.inner.clone(),
            entrance: Entrance::to(self.entrance.executor.clone()),
            pool: self.pool.clone(),
        }
    }
}

impl<S: fmt::Debug> fmt::Debug for Offload<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Offload")
            .field("inner", &self.inner)
            .field("pool", &self.pool)
            .finish_non_exhaustive()
    }
}

/// The response of an [`Offload`] service.
#[derive(Debug)]
pub struct OffloadFuture<R, E> {
    handle: JoinHandle<Option<Result<R, E>>>,
    _wanted: DropGuard,
}

impl<R, E: Into<BoxError>> Future for OffloadFuture<R, E> {
    type Output = Result<R, BoxError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let outcome = ready!(Pin::new(&mut self.handle).poll(cx))?;
        let outcome = outcome.expect("it is unwanted only once this has been dropped");
        Poll::Ready(outcome.map_err(Into::into))
    }
}
