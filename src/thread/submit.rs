//! How a call that may capture, and the chunks of its map, reach a thread pool.

use std::sync::Arc;

use futures::future::BoxFuture;

use super::core::Core;
use crate::executor::Intake as _;
use crate::executor::erased::{OneCall, ThreadJob, Work};
use crate::executor::error::TaskError;
use crate::executor::feed::Destination;
use crate::executor::handle::{JoinHandle, OutcomeCell};
use crate::executor::options::TaskOptions;
use crate::executor::promise::Ticket;
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
    let ticket = Ticket::new(std::any::type_name::<F>(), options);
    let cell = Arc::new(OutcomeCell::new(ticket));
    match room {
        Ok(room) => {
            let call = OneCall::new(function, args, cell.clone());
            let work = Box::new(call);
            core.spawn(ThreadJob { work, room });
        }
        Err(refusal) => cell.refuse(&refusal),
    }
    JoinHandle::new(cell)
}

/// A map holds the core alone: so it sees that its executor is dropped.
impl<W: Work + 'static> Destination<W> for Arc<Core> {
    fn room(&self) -> BoxFuture<'static, Result<Room, TaskError>> {
        let core = self.clone();
        Box::pin(async move { core.as_ref().room().await })
    }

    fn send(&self, chunk: W, room: Room) {
        let work = Box::new(chunk);
        self.spawn(ThreadJob { work, room });
    }
}
