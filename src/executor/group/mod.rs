//! Tasks that belong together: they are awaited together, and end together. [`member`]: what a group holds; [`shared`]:
//! what the end of a task does; `spawn`: how a task is added.

mod member;
mod shared;
#[cfg(feature = "process")]
mod spawn;

use std::fmt;
use std::sync::Arc;
use std::task::{self, Poll, ready};

use futures::stream::{FuturesUnordered, StreamExt as _};
use tokio::task::coop;
use tokio_util::sync::CancellationToken;

pub use self::member::GroupMember;
use self::shared::GroupShared;
use super::error::TaskError;
use super::token::CallerToken;

/// Tasks that are awaited together and end together, on any executors.
///
/// [`join_next`](Self::join_next) yields the outcomes as they arrive. The first error cancels the other tasks, unless
/// [`cancel_on_error`](Self::cancel_on_error) says otherwise. Dropping the group aborts all its tasks. So no task
/// outlives the group.
///
/// A group holds handles of one type: [`JoinHandle`](crate::JoinHandle)s, or handles [with a
/// key](crate::JoinHandle::with), whose outcomes come with their keys.
///
#[cfg_attr(feature = "process", doc = "```")]
#[cfg_attr(not(feature = "process"), doc = "```text")]
/// use concurrent_futures::{TaskGroup, ThreadPoolExecutor};
///
/// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let pool = ThreadPoolExecutor::new()?;
/// let mut group = TaskGroup::new().max_in_flight(16);
/// for n in 1..=100_u64 {
///     group.spawn(&pool, |n| n * n, n).await; // Waits while 16 tasks have no outcome.
/// }
/// let mut sum = 0;
/// while let Some(square) = group.join_next().await {
///     sum += square?; // On an error, the drop of the group aborts the rest.
/// }
/// assert_eq!(sum, 338_350);
/// # Ok(()) }
/// ```
///
/// # Cancel safety
/// See each method. An outcome that is not yielded stays in the group.
#[doc(alias("JoinSet", "asyncio.TaskGroup"))]
#[must_use = "dropping a group aborts its tasks"]
pub struct TaskGroup<H: GroupMember> {
    /// The tasks whose outcomes have not been yielded.
    members: FuturesUnordered<H>,
    shared: Arc<GroupShared>,
    max_in_flight: usize,
    token: Option<CallerToken>,
}

impl<H: GroupMember> TaskGroup<H> {
    /// Creates a group without tasks. The first error will cancel the other tasks, and any number of tasks may be in
    /// flight.
    pub fn new() -> Self {
        Self {
            members: FuturesUnordered::new(),
            shared: Arc::default(),
            max_in_flight: usize::MAX,
            token: None,
        }
    }

    /// Sets whether the first error cancels the other tasks. They are aborted as soon as the error is found, even while
    /// no code polls the group. A task that is spawned later is then cancelled before it starts. Default: true.
    ///
    #[cfg_attr(feature = "process", doc = "```")]
    #[cfg_attr(not(feature = "process"), doc = "```text")]
    /// use concurrent_futures::{TaskGroup, ThreadPoolExecutor};
    ///
    /// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let pool = ThreadPoolExecutor::new()?;
    /// let mut group = TaskGroup::new().cancel_on_error(false);
    /// for n in [3_u32, 0, 4] {
    ///     group.spawn_keyed(n, &pool, |n| 12 / n, n).await;
    /// }
    /// let mut quotients = Vec::new();
    /// while let Some((n, quotient)) = group.join_next().await {
    ///     quotients.extend(quotient.ok().map(|quotient| (n, quotient)));
    /// }
    /// quotients.sort_unstable();
    /// assert_eq!(quotients, [(3, 4), (4, 3)]);
    /// assert!(group.first_error().unwrap().is_panic());
    /// # Ok(()) }
    /// ```
    pub fn cancel_on_error(self, cancel: bool) -> Self {
        self.shared.cancel_on_error(cancel);
        self
    }

    /// Limits how many tasks may be without an outcome at a time: [`ready`](Self::ready) and the `spawn` methods wait
    /// until there are fewer. Default: no limit.
    ///
    /// # Panics
    /// If `tasks` is 0.
    #[doc(alias = "Semaphore")]
    pub fn max_in_flight(mut self, tasks: usize) -> Self {
        assert!(
            tasks > 0,
            "max_in_flight is 0; a group needs room for at least one task"
        );
        self.max_in_flight = tasks;
        self
    }

    /// Cancels all tasks of the group when `token` is cancelled, including those that are added later. This works while
    /// no code polls the group. See [`TaskOptions::cancel_token`](crate::TaskOptions::cancel_token).
    ///
    /// ```
    /// use concurrent_futures::{CancellationToken, TaskGroup, ThreadPoolExecutor, worker};
    ///
    /// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let pool = ThreadPoolExecutor::new()?;
    /// let token = CancellationToken::new();
    /// let mut group = TaskGroup::new().cancel_token(token.clone());
    /// let task = || {
    ///     while !worker::current().is_some_and(|task| task.is_cancelled()) {
    ///         std::thread::yield_now();
    ///     }
    /// };
    /// group.add(pool.submit(task, ()));
    /// token.cancel();
    /// assert!(group.join_next().await.unwrap().unwrap_err().is_cancelled());
    /// # Ok(()) }
    /// ```
    pub fn cancel_token(mut self, token: CancellationToken) -> Self {
        let token = CallerToken(token);
        for member in &self.members {
            member.handle().watch(&token);
        }
        self.token = Some(token);
        self
    }

    /// Adds a task that was submitted already. It never waits, so the number of tasks may exceed
    /// [`max_in_flight`](Self::max_in_flight); await [`ready`](Self::ready) before you submit. Use it for what `spawn`
    /// cannot submit, such as closures that capture:
    ///
    /// ```
    /// use concurrent_futures::{TaskGroup, ThreadPoolExecutor};
    ///
    /// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let pool = ThreadPoolExecutor::new()?;
    /// let mut group = TaskGroup::new().max_in_flight(2);
    /// for name in ["Ada", "Grace"] {
    ///     group.ready().await;
    ///     group.add(pool.submit(move || format!("hello, {name}"), ()).with(name));
    /// }
    /// while let Some((name, greeting)) = group.join_next().await {
    ///     assert!(greeting?.ends_with(name));
    /// }
    /// # Ok(()) }
    /// ```
    ///
    /// # Panics
    /// If the handle has returned its outcome.
    pub fn add(&mut self, member: H) {
        let handle = member.handle();
        let abort = handle.abort_handle();
        let id = handle.id();
        let is_cancelled = self.shared.enter(abort.clone());
        let shared = self.shared.clone();
        handle.on_done(move |outcome| shared.settle(id, outcome.as_ref().err()));
        if let Some(token) = &self.token {
            handle.watch(token);
        }
        if is_cancelled {
            abort.abort();
        }
        self.members.push(member);
    }

    /// Waits until fewer than [`max_in_flight`](Self::max_in_flight) tasks are without an outcome.
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub async fn ready(&mut self) {
        self.shared.fewer_than(self.max_in_flight).await;
    }

    /// Waits for the next outcome, in the order in which they arrive. `None` if every task was joined.
    ///
    /// # Cancel safety
    /// Cancel safe: the outcome stays in the group.
    pub async fn join_next(&mut self) -> Option<H::Output> {
        std::future::poll_fn(|cx| self.poll_join_next(cx)).await
    }

    /// Polls for the next outcome; see [`join_next`](Self::join_next).
    pub fn poll_join_next(&mut self, cx: &mut task::Context<'_>) -> Poll<Option<H::Output>> {
        let turn = ready!(coop::poll_proceed(cx));
        let outcome = self.members.poll_next_unpin(cx);
        if outcome.is_ready() {
            turn.made_progress();
        }
        outcome
    }

    /// Waits for all outcomes, in the order in which they arrive.
    ///
    /// # Cancel safety
    /// Dropping the future aborts the tasks and loses the outcomes.
    pub async fn join_all(mut self) -> Vec<H::Output> {
        let mut outcomes = Vec::with_capacity(self.len());
        while let Some(outcome) = self.join_next().await {
            outcomes.push(outcome);
        }
        outcomes
    }

    /// Cancels all tasks, as [`JoinHandle::abort`](crate::JoinHandle::abort) does, including those that are added
    /// later.
    pub fn abort_all(&self) {
        self.shared.abort_all();
    }

    /// Returns the first error, the one that cancelled the other tasks. `None` if the group was cancelled before any
    /// error.
    pub fn first_error(&self) -> Option<TaskError> {
        self.shared.first_error()
    }

    /// Returns how many tasks have not been joined.
    pub fn len(&self) -> usize {
        self.members.len()
    }

    /// Returns whether every task was joined.
    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// Returns how many tasks have no outcome.
    pub fn in_flight(&self) -> usize {
        self.shared.in_flight()
    }
}

impl<H: GroupMember> Default for TaskGroup<H> {
    fn default() -> Self {
        Self::new()
    }
}

impl<H: GroupMember> Drop for TaskGroup<H> {
    fn drop(&mut self) {
        self.abort_all();
    }
}

impl<H: GroupMember> fmt::Debug for TaskGroup<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TaskGroup")
            .field("len", &self.len())
            .field("in_flight", &self.in_flight())
            .finish_non_exhaustive()
    }
}
