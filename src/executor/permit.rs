//! A reserved place in any executor's queue.

use std::fmt;
use std::sync::Arc;

use super::contract::Executor;
use super::data::{Arguments, Data};
use super::handle::JoinHandle;
use super::options::TaskOptions;
use super::room::Room;
use super::submit::submit_to;
use super::task::Task;
use crate::function::assert_stateless;

/// Room for one task in an executor's queue; see [`ExecutorExt::reserve`](crate::ExecutorExt::reserve).
/// Dropping it gives the room back.
#[must_use = "a permit that is dropped gives its room back"]
pub struct Permit<'a, E: Executor + ?Sized> {
    executor: &'a E,
    room: Room,
}

impl<'a, E: Executor + ?Sized> Permit<'a, E> {
    pub(super) fn new(executor: &'a E, room: Room) -> Self {
        Self { executor, room }
    }

    /// Submits a call in the reserved place.
    pub fn submit<F, A, M>(self, function: F, args: A) -> JoinHandle<F::Output>
    where
        F: Task<A, M> + Copy + Send + Sync + 'static,
        F::Output: Data,
        A: Arguments<M>,
        M: 'static,
    {
        const { assert_stateless::<F>() };
        submit_to(self.executor, Ok(self.room), None, function, args)
    }

    /// Like [`submit`](Self::submit), with options for this task.
    pub fn submit_with<F, A, M>(
        self,
        options: &TaskOptions,
        function: F,
        args: A,
    ) -> JoinHandle<F::Output>
    where
        F: Task<A, M> + Copy + Send + Sync + 'static,
        F::Output: Data,
        A: Arguments<M>,
        M: 'static,
    {
        const { assert_stateless::<F>() };
        let options = Some(Arc::new(options.clone()));
        submit_to(self.executor, Ok(self.room), options, function, args)
    }
}

impl<E: Executor + ?Sized> fmt::Debug for Permit<'_, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Permit").finish_non_exhaustive()
    }
}
