//! The room that a service holds between `poll_ready` and `call`.

use std::sync::Arc;
use std::task::{Context, Poll, ready};

use futures::future::BoxFuture;

use crate::executor::Executor;
use crate::executor::error::TaskError;
use crate::executor::room::Room;

/// Waits for room in the queue of the service's executor.
pub(super) struct Entrance {
    executor: Arc<dyn Executor>,
    place: RoomWait,
}

enum RoomWait {
    None,
    Awaited(BoxFuture<'static, Result<Room, TaskError>>),
    Held(Room),
}

impl Entrance {
    pub(super) fn to(executor: Arc<dyn Executor>) -> Self {
        let place = RoomWait::None;
        Self { executor, place }
    }

    pub(super) fn executor(&self) -> &Arc<dyn Executor> {
        &self.executor
    }

    /// Ready once it holds room.
    pub(super) fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), TaskError>> {
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

    /// Takes the held room. Without one, tries to get room at once.
    pub(super) fn enter(&mut self) -> Result<Room, TaskError> {
        match std::mem::replace(&mut self.place, RoomWait::None) {
            RoomWait::Held(room) => Ok(room),
            RoomWait::None | RoomWait::Awaited(_) => self.executor.try_room(),
        }
    }
}
