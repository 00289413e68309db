//! How a call that may capture, and the chunks of its map, reach a thread pool.

use std::sync::Arc;

use futures::future::BoxFuture;

use super::core::Core;
use crate::executor::Intake as _;
use crate::executor::erased::{ThreadJob, Unstarted, Work, submit_one};
use crate::executor::error::TaskError;
use crate::executor::feed::Destination;
use crate::executor::handle::JoinHandle;
use crate::executor::options::TaskOptions;
use crate::executor::promise::Terms;
use crate::executor::room::Room;
use crate::executor::task::Task;

/// Submits a call into `room`, or fails its handle with the reason why there is none.
pub(super) fn submit_to<F, A, M>(
    core: &Core,
    room: Result<Room, TaskError>,
    options: Option<Arc<TaskOptions>>,
    function: F,
    args: A,
) -> JoinHandle<F::Output>
where
    F: Task<A, M> + Send + 'static,
    F::Output: Send + 'static,
    A: Send + 'static,
    M: 'static,
{
    submit_named(F::path(), core, room, options, function, args)
}

/// Like [`submit_to`], with the name of the function that errors and spans show.
pub(super) fn submit_named<F, A, M>(
    name: &'static str,
    core: &Core,
    room: Result<Room, TaskError>,
    options: Option<Arc<TaskOptions>>,
    function: F,
    args: A,
) -> JoinHandle<F::Output>
where
    F: Task<A, M> + Send + 'static,
    F::Output: Send + 'static,
    A: Send + 'static,
    M: 'static,
{
    let terms = core.terms();
    submit_one(name, terms, room, options, function, args, |work, room| {
        let work = Unstarted::new(work as Box<dyn Work>);
        core.spawn(ThreadJob { work, room });
    })
}

/// A map holds the core alone: so it sees that its executor is dropped.
impl<W: Work + 'static> Destination<W> for Arc<Core> {
    fn terms(&self) -> &Arc<Terms> {
        self.as_ref().terms()
    }

    fn room(&self) -> BoxFuture<'static, Result<Room, TaskError>> {
        let core = self.clone();
        Box::pin(async move { core.as_ref().room().await })
    }

    fn send(&self, chunk: W, room: Room) {
        let work = Unstarted::new(Box::new(chunk) as Box<dyn Work>);
        self.spawn(ThreadJob { work, room });
    }
}
