//! A reserved place in a thread pool's queue.

use std::fmt;
use std::sync::Arc;

use super::core::Core;
use super::submit::submit_to;
use crate::executor::handle::JoinHandle;
use crate::executor::options::TaskOptions;
use crate::executor::room::Room;
use crate::executor::task::Task;

/// Room for one task in the queue of a [`ThreadPoolExecutor`](crate::ThreadPoolExecutor); see its
/// [`reserve`](crate::ThreadPoolExecutor::reserve). Dropping it gives the room back.
#[must_use = "a permit that is dropped gives its room back"]
pub struct ThreadPermit<'a> {
    core: &'a Core,
    room: Room,
}

impl<'a> ThreadPermit<'a> {
    pub(super) fn new(core: &'a Core, room: Room) -> Self {
        Self { core, room }
    }

    /// Submits a call in the reserved place. The closure may capture, and is called once.
    pub fn submit<F, A, M>(self, function: F, args: A) -> JoinHandle<F::Output>
    where
        F: Task<A, M> + Send + 'static,
        F::Output: Send + 'static,
        A: Send + 'static,
        M: 'static,
    {
        submit_to(self.core, Ok(self.room), None, function, args)
    }

    /// Like [`submit`](Self::submit), with options for this task.
    pub fn submit_with<F, A, M>(
        self,
        options: &TaskOptions,
        function: F,
        args: A,
    ) -> JoinHandle<F::Output>
    where
        F: Task<A, M> + Send + 'static,
        F::Output: Send + 'static,
        A: Send + 'static,
        M: 'static,
    {
        let options = Some(Arc::new(options.clone()));
        submit_to(self.core, Ok(self.room), options, function, args)
    }
}

impl fmt::Debug for ThreadPermit<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ThreadPermit").finish_non_exhaustive()
    }
}
