//! How one call, and the chunks of a map, reach an executor of any kind.

use std::sync::Arc;

use futures::Stream;
use futures::future::BoxFuture;

use super::contract::Executor;
use super::data::{Arguments, Data};
use super::encoded::{ByCopy, Job, Portable};
use super::erased::submit_one;
use super::error::TaskError;
use super::feed::{Calls, Destination};
use super::handle::JoinHandle;
use super::map::Map;
use super::options::TaskOptions;
use super::room::Room;
use super::task::Task;

/// Submits a call into `room`, or fails its handle with the reason why there is none.
pub(crate) fn submit_to<E, F, A, M>(
    executor: &E,
    room: Result<Room, TaskError>,
    options: Option<Arc<TaskOptions>>,
    function: F,
    args: A,
) -> JoinHandle<F::Output>
where
    E: Executor + ?Sized,
    F: Task<A, M> + Copy + Send + Sync + 'static,
    F::Output: Data,
    A: Arguments<M>,
    M: 'static,
{
    submit_one(room, options, function, args, |call, room| {
        executor.spawn_job(Job::new(call, room));
    })
}

/// Calls a function without state on each item of `source`.
pub(super) fn map_on<F, S, M>(executor: Arc<dyn Executor>, function: F, source: S) -> Map<F::Output>
where
    S: Stream + Send + 'static,
    S::Item: Arguments<M>,
    F: Task<S::Item, M> + Copy + Send + Sync + 'static,
    F::Output: Data,
    M: 'static,
{
    let workers = executor.max_workers();
    Map::new(workers, Calls::new(executor, ByCopy(function), source))
}

impl<W: Portable + 'static> Destination<W> for Arc<dyn Executor> {
    fn room(&self) -> BoxFuture<'static, Result<Room, TaskError>> {
        let executor = self.clone();
        Box::pin(async move { executor.as_ref().room().await })
    }

    fn send(&self, chunk: W, room: Room) {
        self.spawn_job(Job::new(Box::new(chunk), room));
    }
}
