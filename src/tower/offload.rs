//! Any service, run on a thread pool.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use tokio::runtime::Handle;
use tokio_util::sync::{CancellationToken, DropGuard};
use tower_layer::Layer;
use tower_service::Service;

use super::entrance::Entrance;
use crate::executor::Intake as _;
use crate::executor::handle::JoinHandle;
use crate::thread::ThreadPoolExecutor;

/// A layer that runs a service on a thread pool. Use it for a service that computes between its `.await`s
/// and would block the runtime.
///
/// A thread of the pool polls the whole future of a call, inside the caller's runtime. Dropping the future
/// that the call returned ends the work at its next `.await`.
///
#[cfg_attr(not(doctest), doc = include_str!("../guide/snippets/offload_layer.md"))]
#[derive(Clone, Debug)]
pub struct OffloadLayer(Arc<ThreadPoolExecutor>);

impl OffloadLayer {
    /// Creates a layer that runs services on `pool`.
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

/// A service that runs on a thread pool. [`OffloadLayer`] creates it.
///
/// # Errors
/// The service's own error, or the executor's [`TaskError`](crate::TaskError); `downcast_ref` tells which.
///
/// # Panics
/// A panic of the service is a `TaskError` with `is_panic()`. A call outside a tokio runtime panics.
pub struct Offload<S> {
    inner: S,
    entrance: Entrance,
    pool: Arc<ThreadPoolExecutor>,
}

/// The error type of tower's middleware.
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
        // `poll_ready` made `self.inner` ready, not its clone. So the call takes `self.inner` and leaves the clone in
        // its place.
        let clone = self.inner.clone();
        let mut inner = std::mem::replace(&mut self.inner, clone);
        let runtime = Handle::current();
        let wanted = CancellationToken::new();
        let unwanted = wanted.clone();
        let work = move || {
            runtime.block_on(unwanted.run_until_cancelled(async { inner.call(request).await }))
        };
        OffloadFuture {
            handle: self.pool.submit_into(self.entrance.enter(), work, ()),
            _wanted: wanted.drop_guard(),
        }
    }
}

impl<S: Clone> Clone for Offload<S> {
    fn clone(&self) -> Self {
        Self {
            inner: self.inner.clone(),
            entrance: Entrance::to(self.entrance.executor().clone()),
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

/// The future of a call to an [`Offload`] service.
#[derive(Debug)]
pub struct OffloadFuture<R, E> {
    handle: JoinHandle<Option<Result<R, E>>>,
    _wanted: DropGuard,
}

impl<R, E: Into<BoxError>> Future for OffloadFuture<R, E> {
    type Output = Result<R, BoxError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let outcome = ready!(Pin::new(&mut self.handle).poll(cx))?;
        let outcome = outcome.expect("the outcome is unwanted only after this future was dropped");
        Poll::Ready(outcome.map_err(Into::into))
    }
}
