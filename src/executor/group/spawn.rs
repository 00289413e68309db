//! Submits tasks to any executor and adds them to a group.

use std::sync::Arc;

use super::TaskGroup;
use super::member::GroupMember;
use crate::executor::contract::Executor;
use crate::executor::data::{Arguments, Data};
use crate::executor::error::{Cause, TaskError};
use crate::executor::extension::submit_to;
use crate::executor::handle::JoinHandle;
use crate::executor::keyed::Keyed;
use crate::executor::options::{TaskName, TaskOptions};
use crate::executor::room::Room;
use crate::executor::task::Task;
use crate::executor::token::CallerToken;
use crate::function::assert_stateless;

impl<T: Data> TaskGroup<JoinHandle<T>> {
    /// Submits a call to `executor` and adds it. It waits for [`ready`](Self::ready), and for room in the executor's
    /// queue. A task that cannot be submitted is an outcome like any other: [`join_next`](Self::join_next) yields the
    /// error. The same holds for a task that is spawned after the group was cancelled: it never runs.
    ///
    /// `args` is as for [`ExecutorExt::submit`](crate::ExecutorExt::submit).
    ///
    /// # Cancel safety
    /// If the future is dropped before it is ready, nothing is submitted, and the arguments are lost.
    pub async fn spawn<E, F, A, M>(&mut self, executor: &E, function: F, args: A)
    where
        E: Executor + ?Sized,
        F: Task<A, M, Output = T> + Copy + Send + Sync + 'static,
        A: Arguments<M>,
        M: 'static,
    {
        let handle = self.submit(executor, None, function, args).await;
        self.add(handle);
    }

    /// Like [`spawn`](Self::spawn), with options for this task.
    ///
    /// # Cancel safety
    /// As [`spawn`](Self::spawn).
    pub async fn spawn_with<E, F, A, M>(
        &mut self,
        executor: &E,
        options: &TaskOptions,
        function: F,
        args: A,
    ) where
        E: Executor + ?Sized,
        F: Task<A, M, Output = T> + Copy + Send + Sync + 'static,
        A: Arguments<M>,
        M: 'static,
    {
        let handle = self.submit(executor, Some(options), function, args).await;
        self.add(handle);
    }
}

impl<K, T: Data> TaskGroup<Keyed<K, JoinHandle<T>>> {
    /// Like [`spawn`](TaskGroup::spawn), with a key that comes back with the outcome. The key stays in this process, so
    /// it may have any type.
    ///
    /// # Cancel safety
    /// As [`spawn`](TaskGroup::spawn). The key is lost, too.
    pub async fn spawn_keyed<E, F, A, M>(&mut self, key: K, executor: &E, function: F, args: A)
    where
        E: Executor + ?Sized,
        F: Task<A, M, Output = T> + Copy + Send + Sync + 'static,
        A: Arguments<M>,
        M: 'static,
    {
        let handle = self.submit(executor, None, function, args).await;
        self.add(handle.with(key));
    }

    /// Like [`spawn_keyed`](Self::spawn_keyed), with options for this task.
    ///
    /// # Cancel safety
    /// As [`spawn_keyed`](Self::spawn_keyed).
    pub async fn spawn_keyed_with<E, F, A, M>(
        &mut self,
        key: K,
        executor: &E,
        options: &TaskOptions,
        function: F,
        args: A,
    ) where
        E: Executor + ?Sized,
        F: Task<A, M, Output = T> + Copy + Send + Sync + 'static,
        A: Arguments<M>,
        M: 'static,
    {
        let handle = self.submit(executor, Some(options), function, args).await;
        self.add(handle.with(key));
    }
}

impl<H: GroupMember> TaskGroup<H> {
    /// Submits a call once there is room for it. Does not add its handle to the group.
    async fn submit<E, F, A, M>(
        &mut self,
        executor: &E,
        options: Option<&TaskOptions>,
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
        const { assert_stateless::<F>() };
        let options = options.map(|options| Arc::new(options.clone()));
        let room = self.room(executor).await;
        submit_to(executor, room, options, function, args)
    }

    /// Waits for room in the group and in the executor's queue. The error says that the group was cancelled, or why the
    /// executor has no room.
    async fn room<E: Executor + ?Sized>(&mut self, executor: &E) -> Result<Room, TaskError> {
        self.ready().await;
        self.refusal()?;
        let room = executor.room().await?;
        self.refusal()?;
        Ok(room)
    }

    fn refusal(&self) -> Result<(), TaskError> {
        let token = self.token.as_ref();
        if self.shared.is_cancelled() || token.is_some_and(CallerToken::is_cancelled) {
            let name = TaskName::Function("(not submitted)");
            return Err(TaskError::new(name, false, Cause::Cancelled));
        }
        Ok(())
    }
}
