//! An async function as a task: the worker that calls it drives its future, and drops the future when the task should
//! end.

use super::context;
use super::drive::drive;
use super::task::{Function, MapTask, Task, Unfinished};

/// An async function as a task, for every method that takes a task: `pool.map(Async(fetch), urls)`. For single tasks
/// there is `submit_async`.
///
/// The worker calls the function and drives its future on a runtime of its own. The future itself is not sent, so it
/// need not be `Send`: only the function and its arguments go to a worker, as for any task.
///
/// ```
/// use std::time::Duration;
/// use concurrent_futures::{Async, ThreadPoolExecutor};
/// use futures::TryStreamExt as _;
///
/// async fn fetch(page: u32) -> String {
///     tokio::time::sleep(Duration::from_millis(1)).await; // Or a connection.
///     format!("page {page}")
/// }
///
/// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let pool = ThreadPoolExecutor::new()?;
/// let pages: Vec<String> = pool.map(Async(fetch), 1..=3).try_collect().await?;
/// assert_eq!(pages, ["page 1", "page 2", "page 3"]);
/// # Ok(()) }
/// ```
///
/// # Runtime
///
/// Each worker, a process or one of the threads of a pool, builds a current-thread runtime of tokio when it first needs
/// one, with all drivers that tokio was built with. It keeps the runtime until the worker ends, and drives one task at
/// a time. So [`Handle::current`](tokio::runtime::Handle::current) is this runtime, and not the caller's.
///
/// What the task spawns with [`tokio::spawn`] may outlive the task. It then pauses, and continues while the worker
/// drives its next async task. So a connection that one task leaves open can serve the next. To end it with the task,
/// spawn it in a [`JoinSet`](tokio::task::JoinSet).
///
/// [`worker::current`](crate::worker::current) describes the task that the worker drives, before and after each
/// `.await`.
///
/// # Cancel
///
/// A task that should end is dropped at its next `.await`: after an abort, a timeout, a cancel of its token, or just
/// before the deadline of a shutdown. Its destructors run in the worker. The caller has its error before that.
///
/// - A thread is then free. A future that blocks, or never awaits, keeps it.
/// - A worker process then continues with other work. If the future does not end within the [grace
///   period](crate::TaskOptions::grace_period), which is one second unless the task or its pool sets another, the
///   process is ended as for any task. With a grace period of zero it is killed at once, and no destructor runs.
///
/// The worker is woken at once; nothing polls in between.
///
/// # Errors
/// As for any task. `is_init_failed()` if the system refuses a runtime.
///
/// # Panics
/// A panic of the future is the error of its task. A method that blocks, such as
/// [`blocking_join`](crate::JoinHandle::blocking_join), panics in the future, as tokio's do: use
/// [`spawn_blocking`](tokio::task::spawn_blocking), or await the handle.
#[derive(Clone, Copy, Debug)]
pub struct Async<F>(pub F);

impl<F, A, M> Function<A, M> for Async<F>
where
    F: Function<A, M>,
{
    const IS_ASYNC: bool = true;

    fn path() -> &'static str {
        F::path()
    }
}

impl<F, A, M> Task<A, M> for Async<F>
where
    F: Task<A, M>,
    F::Output: Future,
{
    type Output = <F::Output as Future>::Output;

    /// Calls the function and drives its future to the end, outside a worker.
    fn call(self, args: A) -> Self::Output {
        let output = drive(move || self.0.call(args), None);
        output.unwrap_or_else(|unfinished| panic!("{unfinished}"))
    }

    fn run(self, args: A) -> Result<Self::Output, Unfinished> {
        drive(move || self.0.call(args), context::current().as_ref())
    }
}

impl<F, A, M> MapTask<A, M> for Async<F>
where
    F: MapTask<A, M>,
    F::Output: Future,
{
    fn call_shared(&self, args: A) -> Self::Output {
        let output = drive(|| self.0.call_shared(args), None);
        output.unwrap_or_else(|unfinished| panic!("{unfinished}"))
    }

    fn run_shared(&self, args: A) -> Result<Self::Output, Unfinished> {
        drive(|| self.0.call_shared(args), context::current().as_ref())
    }
}
