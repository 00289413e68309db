//! [`ThreadPoolExecutor`]: work on tokio's blocking threads, a bounded number at a time. Reading
//! order: this file, [`builder`], [`seat`].

mod builder;
mod seat;

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use async_trait::async_trait;
use tokio::runtime::Handle;
use tokio::sync::Notify;

use self::builder::Config;
pub use self::builder::ThreadPoolBuilder;
use self::seat::Seat;
use crate::alarm::Alarm;
use crate::backlog::{Backlog, Pending};
use crate::executor::error::{BuildError, Cause, Rejection, TaskError, TrySubmitError};
use crate::executor::handle::{JoinHandle, OutcomeCell};
use crate::executor::job::{Job, LocalCall, Tally};
use crate::executor::options::{Shutdown, ShutdownReport, TaskOptions};
use crate::executor::promise::{Owner, Ticket};
use crate::executor::room::{Room, Rooms};
use crate::executor::task::Task;
use crate::executor::{Executor, Stats};

/// Runs work on tokio's blocking threads, at most [`max_workers`](ThreadPoolBuilder::max_workers)
/// tasks at a time.
///
/// It starts no threads of its own: a worker is a place that a task takes on a thread of
/// [`spawn_blocking`](tokio::task::spawn_blocking), so the runtime's own settings (stack size,
/// keep-alive, the most threads) hold.
///
/// A thread cannot be killed: a task that was cancelled or ran out of its time goes on until its
/// function returns, and its place stays taken. [`worker::current`](crate::worker::current) lets
/// the function ask.
///
/// Dropping the executor refuses new work and finishes, in the background, what was submitted.
///
/// ```
/// use concurrent_futures::ThreadPoolExecutor;
///
/// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let pool = ThreadPoolExecutor::with_workers(2)?;
/// let greeting = String::from("hello");
/// let shout = pool.submit(move |name: &str| format!("{greeting}, {name}!").to_uppercase(), "world");
/// assert_eq!(shout.await?, "HELLO, WORLD!");
/// # Ok(()) }
/// ```
pub struct ThreadPoolExecutor {
    core: Arc<Core>,
}

struct Core {
    config: Config,
    rooms: Rooms,
    me: Weak<Core>,
    /// The runtime the executor was built in, for work that is submitted outside of one.
    runtime: Option<Handle>,
    state: Mutex<State>,
    /// Told whenever a seat is given back.
    seat_left: Notify,
}

#[derive(Default)]
struct State {
    backlog: Backlog<Waiting>,
    closed: bool,
    /// The taken seats, and the ticket and number of items each is running.
    seats: Vec<(u64, Option<(u64, usize)>)>,
    finished: u64,
    failed: u64,
    cancelled: usize,
}

/// A job in the backlog, and what ends its wait.
struct Waiting {
    job: Job,
    _expiry: Option<Alarm>,
}

impl Pending for Waiting {
    fn ticket(&self) -> &Ticket {
        self.job.work.ticket()
    }

    fn first_item(&self) -> u32 {
        0
    }

    fn items(&self) -> u32 {
        self.job.work.items()
    }
}

impl ThreadPoolExecutor {
    /// An executor with as many workers as the process may use CPUs.
    ///
    /// # Errors
    /// None with these settings; the builder's are checked.
    pub fn new() -> Result<Self, BuildError> {
        Self::builder().build()
    }

    /// An executor with so many workers.
    ///
    /// # Errors
    /// `is_invalid_setting()` if `max_workers` is 0.
    pub fn with_workers(max_workers: usize) -> Result<Self, BuildError> {
        Self::builder().max_workers(max_workers).build()
    }

    /// Starts to configure an executor.
    pub fn builder() -> ThreadPoolBuilder {
        ThreadPoolBuilder::new()
    }

    fn from_config(config: Config) -> Self {
        Self {
            core: Arc::new_cyclic(|me| Core {
                rooms: Rooms::new(config.queue_capacity),
                config,
                me: me.clone(),
                runtime: Handle::try_current().ok(),
                state: Mutex::default(),
                seat_left: Notify::new(),
            }),
        }
    }

    /// Submits a call and returns at once. Unlike
    /// [`ExecutorExt::submit`](crate::ExecutorExt::submit), it takes closures that capture and
    /// functions that can be called only once, and asks nothing of serde.
    ///
    /// # Errors
    /// The handle tells; see [`TaskError`].
    pub fn submit<F, A, M>(&self, function: F, args: A) -> JoinHandle<F::Output>
    where
        F: Task<A, M> + Send + 'static,
        F::Output: Send + 'static,
        A: Send + 'static,
        M: 'static,
    {
        self.submit_local(self.core.try_room(), None, function, args)
    }

    /// Like [`submit`](Self::submit), with options of its own.
    pub fn submit_with<F, A, M>(
        &self,
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
        self.submit_local(
            self.core.try_room(),
            Some(Arc::new(options.clone())),
            function,
            args,
        )
    }

    /// Submits if there is room in the queue, and hands the arguments back if not.
    ///
    /// # Errors
    /// The reason is `is_rejected()` if the queue is full, `is_shutdown()` after a shutdown.
    pub fn try_submit<F, A, M>(
        &self,
        function: F,
        args: A,
    ) -> Result<JoinHandle<F::Output>, TrySubmitError<A>>
    where
        F: Task<A, M> + Send + 'static,
        F::Output: Send + 'static,
        A: Send + 'static,
        M: 'static,
    {
        match self.core.try_room() {
            Ok(room) => Ok(self.submit_local(Ok(room), None, function, args)),
            Err(error) => Err(TrySubmitError::new(error, args)),
        }
    }

    fn submit_local<F, A, M>(
        &self,
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
        let cell = Arc::new(OutcomeCell::new(Ticket::new(
            std::any::type_name::<F>(),
            options,
        )));
        match room {
            Ok(room) => {
                let work = LocalCall::new(function, args, cell.clone());
                self.core.spawn_job(Job::new(Box::new(work), room));
            }
            Err(refusal) => cell.refuse(&refusal),
        }
        JoinHandle::new(cell)
    }
}

/// The executor is its core; the core alone is what a stream of `map` holds, so that the drop of
/// the executor is seen.
#[async_trait]
impl Executor for ThreadPoolExecutor {
    fn spawn_job(&self, job: Job) {
        self.core.spawn_job(job);
    }

    fn try_room(&self) -> Result<Room, TaskError> {
        self.core.try_room()
    }

    async fn room(&self) -> Result<Room, TaskError> {
        self.core.room().await
    }

    fn handle(&self) -> Arc<dyn Executor> {
        self.core.clone()
    }

    async fn shutdown_with(&self, how: Shutdown) -> ShutdownReport {
        self.core.shutdown_with(how).await
    }

    fn max_workers(&self) -> usize {
        self.core.max_workers()
    }

    fn stats(&self) -> Stats {
        self.core.stats()
    }
}

impl fmt::Debug for ThreadPoolExecutor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.core.fmt(f)
    }
}

impl Drop for ThreadPoolExecutor {
    fn drop(&mut self) {
        self.core.close();
    }
}

impl Core {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn shared(&self) -> Arc<Self> {
        self.me.upgrade().expect("whoever calls holds it")
    }

    fn close(&self) {
        self.lock().closed = true;
        self.rooms.close();
    }

    /// A job for a seat that has none, and what it did with the one before. Without a job the
    /// seat is given back.
    fn next_job(&self, seat: u64, tally: Tally) -> Option<Job> {
        let mut state = self.lock();
        state.finished += tally.finished as u64;
        state.failed += tally.failed as u64;
        let next = state.backlog.pop();
        let running = next
            .as_ref()
            .map(|next| (next.ticket().id(), next.items() as usize));
        match running {
            Some(_) => {
                if let Some((_, slot)) = state.seats.iter_mut().find(|(id, _)| *id == seat) {
                    *slot = running;
                }
            }
            None => self.leave(&mut state, seat),
        }
        next.map(|next| next.job)
    }

    fn leave(&self, state: &mut State, seat: u64) {
        state.seats.retain(|(id, _)| *id != seat);
        self.seat_left.notify_waiters();
    }

    fn has_no_seats(&self) -> bool {
        self.lock().seats.is_empty()
    }

    /// Fails all that waits.
    fn fail_pending(&self, cause: &Cause) -> usize {
        let pending = self.lock().backlog.drain();
        let mut count = 0;
        for waiting in pending {
            count += waiting.items() as usize;
            waiting.job.work.fail(cause);
        }
        count
    }

    /// A job has waited for `limit` and not left the backlog.
    fn expire(&self, ticket: &Ticket, limit: std::time::Duration) {
        let expired = self.lock().backlog.remove(ticket);
        for waiting in expired {
            waiting
                .job
                .work
                .fail(&Cause::Rejected(Rejection::WaitedTooLong { limit }));
        }
    }
}

/// The lowest number that no taken seat has.
fn free_seat(seats: &[(u64, Option<(u64, usize)>)]) -> u64 {
    (1..)
        .find(|id| seats.iter().all(|(taken, _)| taken != id))
        .expect("seats are few")
}

impl Owner for Core {
    fn abort(&self, ticket: &Ticket) -> bool {
        let removed = self.lock().backlog.remove(ticket);
        let cancelled = removed
            .iter()
            .map(|waiting| waiting.items() as usize)
            .sum::<usize>();
        self.lock().cancelled += cancelled;
        drop(removed); // Outside the lock: the arguments' destructors are user code.
        cancelled == 0
    }

    fn is_running(&self, ticket: &Ticket) -> bool {
        self.lock()
            .seats
            .iter()
            .any(|(_, running)| running.is_some_and(|(id, _)| id == ticket.id()))
    }
}

#[async_trait]
impl Executor for Core {
    fn spawn_job(&self, job: Job) {
        let ticket = job.work.ticket();
        ticket.accept(self.me.clone(), &self.config.task_options);
        let Some(runtime) = Handle::try_current().ok().or_else(|| self.runtime.clone()) else {
            return job.work.fail(&Cause::Rejected(Rejection::NoRuntime));
        };
        let expiry = ticket.queue_timeout().map(|limit| {
            let core = self.me.clone();
            let promise = job.work.promise();
            Alarm::set(&runtime, limit, move || {
                if let Some(core) = core.upgrade() {
                    core.expire(promise.ticket(), limit);
                }
            })
        });
        let mut state = self.lock();
        if state.closed {
            drop(state);
            return job.work.fail(&Cause::Shutdown);
        }
        state.backlog.push(Waiting {
            job,
            _expiry: expiry,
        });
        if state.seats.len() < self.config.max_workers {
            let id = free_seat(&state.seats);
            state.seats.push((id, None));
            drop(state);
            // If the runtime has ended, tokio drops the closure, and with it the seat.
            let seat = Seat::new(id, self.shared(), runtime.clone());
            drop(runtime.spawn_blocking(move || seat.serve()));
        }
    }

    fn try_room(&self) -> Result<Room, TaskError> {
        self.rooms.try_take()
    }

    async fn room(&self) -> Result<Room, TaskError> {
        self.rooms.take().await
    }

    fn handle(&self) -> Arc<dyn Executor> {
        self.shared()
    }

    async fn shutdown_with(&self, how: Shutdown) -> ShutdownReport {
        let deadline = how.ends_at();
        self.close();
        let finished = self.lock().finished;
        let mut cancelled = 0;
        if how.cancel_pending {
            cancelled += self.fail_pending(&Cause::Cancelled);
        }
        let ended = self.all_seats_left();
        let in_time = match deadline {
            None => {
                ended.await;
                true
            }
            Some(deadline) => tokio::time::timeout_at(deadline, ended).await.is_ok(),
        };
        if !in_time {
            cancelled += self.fail_pending(&Cause::Cancelled);
        }
        let state = self.lock();
        ShutdownReport {
            finished: (state.finished - finished) as usize,
            cancelled,
            killed: state
                .seats
                .iter()
                .filter_map(|(_, running)| *running)
                .map(|(_, items)| items)
                .sum(),
        }
    }

    fn max_workers(&self) -> usize {
        self.config.max_workers
    }

    fn stats(&self) -> Stats {
        let state = self.lock();
        Stats {
            queued: state.backlog.items(),
            running: state
                .seats
                .iter()
                .filter(|(_, running)| running.is_some())
                .count(),
            workers: state.seats.len(),
            finished: state.finished,
            failed: state.failed,
            ..Stats::default()
        }
    }
}

impl Core {
    async fn all_seats_left(&self) {
        loop {
            let left = self.seat_left.notified();
            if self.lock().seats.is_empty() {
                return;
            }
            left.await;
        }
    }
}

impl fmt::Debug for Core {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ThreadPoolExecutor")
            .field("max_workers", &self.config.max_workers)
            .field("stats", &self.stats())
            .finish()
    }
}
