//! What `submit` returns: an awaitable handle to the one outcome of a task.

use std::collections::VecDeque;
use std::fmt;
use std::mem::needs_drop;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{self, Poll, Waker};

use super::context::Wanted;
use super::error::{Cause, TaskError};
use super::progress::{ProgressStream, Reports};
use super::promise::{Promise, PromiseOf, Ticket, TicketStage};
use super::token::{CallerToken, CancelTarget, TokenWatch};
use crate::home::{Home, call_back};
use crate::panic;

/// An owned right to await the outcome of a task.
///
/// Dropping it detaches the task, as in tokio; [`abort_on_drop`](Self::abort_on_drop) changes that.
/// A finished handle that is never polled blocks nothing.
///
/// ```
/// use concurrent_futures::ThreadPoolExecutor;
///
/// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let pool = ThreadPoolExecutor::new()?;
/// let handle = pool.submit(|| 6 * 7, ());
/// assert_eq!(handle.await?, 42);
/// # Ok(()) }
/// ```
///
/// # Errors
/// The [`TaskError`] says why there is no result; ask its predicates.
///
/// # Panics
/// Polling it again after it returned its outcome panics.
///
/// # Cancel safety
/// Awaiting `&mut handle` is cancel safe.
#[doc(alias("AsyncResult", "Future", "result"))]
#[must_use = "a dropped handle detaches its task; await it, or keep it to abort the task"]
pub struct JoinHandle<T> {
    cell: Arc<OutcomeCell<T>>,
    abort_on_drop: bool,
    /// The handle has returned its outcome.
    taken: bool,
}

/// A handle that can only cancel its task and query its state. Cheap to clone.
#[derive(Clone)]
pub struct AbortHandle(Arc<dyn Abort>);

/// Holds the outcome of one task. The outcome is put in once and taken once.
pub(crate) struct OutcomeCell<T> {
    ticket: Ticket,
    state: Mutex<CellState<T>>,
}

struct CellState<T> {
    outcome: CellOutcome<T>,
    waker: Option<Waker>,
    /// A box, because few tasks have any extras.
    extras: Option<Box<CellExtras<T>>>,
}

/// What few tasks have besides an outcome. Dropped at the end of the task.
struct CellExtras<T> {
    callbacks: Option<Callbacks<T>>,
    /// Its progress reports.
    reports: Option<Reports>,
    /// Each cancels the task when a token of the user is cancelled.
    tokens: Vec<TokenWatch>,
    /// Wakes the thread that drives the task's future.
    future_waker: Option<Waker>,
}

/// Callbacks that wait for the outcome.
struct Callbacks<T> {
    cell: Weak<OutcomeCell<T>>,
    /// Calls them with the outcome, then publishes it.
    call: fn(Arc<OutcomeCell<T>>, Result<T, TaskError>),
    waiting: VecDeque<Callback<T>>,
}

type Callback<T> = Box<dyn FnOnce(&Result<T, TaskError>) + Send>;

impl<T> Default for CellExtras<T> {
    fn default() -> Self {
        Self {
            callbacks: None,
            reports: None,
            tokens: Vec::new(),
            future_waker: None,
        }
    }
}

enum CellOutcome<T> {
    Pending,
    /// The handle was dropped: no caller can take the outcome.
    Unwanted,
    Ready(Result<T, TaskError>),
    /// The outcome is there, and callbacks borrow it. A late callback receives it too.
    Lent,
    /// The outcome was taken, or dropped on arrival.
    Taken,
}

impl<T> OutcomeCell<T> {
    pub(crate) fn new(ticket: Ticket) -> Self {
        let state = CellState {
            outcome: CellOutcome::Pending,
            waker: None,
            extras: None,
        };
        Self {
            ticket,
            state: Mutex::new(state),
        }
    }

    /// Puts the outcome in, unless there is one, or another thread is putting one in. Returns an outcome that no handle
    /// can take, for the caller to drop: its destructor is user code.
    #[must_use = "its destructor may panic"]
    pub(super) fn resolve(&self, outcome: Result<T, TaskError>) -> Option<Result<T, TaskError>> {
        match self.ticket.end() {
            TicketStage::Open => self.put(outcome),
            TicketStage::Aborting => self.put_cancelled(outcome),
            TicketStage::Closed => Some(outcome),
        }
    }

    /// Resolves a task that the caller cancelled. The error records whether the task started. Returns the task's
    /// result, which is not wanted.
    #[cold]
    fn put_cancelled(&self, outcome: Result<T, TaskError>) -> Option<Result<T, TaskError>> {
        let (unwanted, error) = match outcome {
            Ok(value) => (Some(Ok(value)), self.ticket.error(true, Cause::Cancelled)),
            Err(error) => (None, error.into_cancelled()),
        };
        drop(self.put(Err(error))); // An error runs no user code when it is dropped.
        unwanted
    }

    /// Ends an abort that waits for the executor's answer, if there is one.
    pub(super) fn end_abort(&self, started: bool) {
        if self.ticket.is_aborting() {
            self.resolve_error(self.ticket.error(started, Cause::Cancelled));
        }
    }

    /// Puts the outcome in, or returns it if no handle can take it. Only the thread that closed the ticket may call
    /// this. Callbacks receive the outcome first.
    fn put(&self, outcome: Result<T, TaskError>) -> Option<Result<T, TaskError>> {
        let outcome = outcome.map_err(|error| error.of_rerun(self.ticket.losses()));
        let kind = outcome.as_ref().map_or_else(TaskError::kind, |_| "ok");
        self.ticket.count(kind, 1);
        self.ticket.trace().end(kind);
        let state = self.lock();
        let Some((cell, call)) = state.callbacks() else {
            return self.publish(state, outcome);
        };
        drop(state);
        call(cell, outcome);
        None
    }

    /// Calls the callbacks, including those that are added meanwhile. No callback is left when the returned lock is
    /// held.
    fn call_waiting(&self, outcome: &Result<T, TaskError>) -> MutexGuard<'_, CellState<T>> {
        loop {
            let mut state = self.lock();
            let Some(callback) = state.next_callback() else {
                return state;
            };
            drop(state); // A callback may use the handle.
            panic::contain_panic(|| callback(outcome));
        }
    }

    /// Makes the outcome visible, and wakes its waiter. Returns it if no handle can take it.
    fn publish(
        &self,
        mut state: MutexGuard<'_, CellState<T>>,
        outcome: Result<T, TaskError>,
    ) -> Option<Result<T, TaskError>> {
        let unwanted = match state.outcome {
            CellOutcome::Unwanted => {
                state.outcome = CellOutcome::Taken;
                Some(outcome)
            }
            _ => {
                state.outcome = CellOutcome::Ready(outcome);
                None
            }
        };
        self.answer(state);
        unwanted
    }

    /// Wakes the task that waits for the outcome.
    fn answer(&self, mut state: MutexGuard<'_, CellState<T>>) {
        let waker = state.waker.take();
        let extras = state.extras.as_mut().map(|extras| {
            let tokens = std::mem::take(&mut extras.tokens);
            (extras.reports.clone(), tokens, extras.future_waker.take())
        });
        drop(state); // User code runs below: a waker may use this handle.
        let (reports, tokens, future_waker) = extras.unwrap_or_default();
        drop(tokens);
        if let Some(waker) = future_waker {
            waker.wake(); // The future is no longer wanted.
        }
        if let Some(reports) = reports {
            reports.end();
        }
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Fails the task, unless it has an outcome.
    fn resolve_error(&self, error: TaskError) {
        drop(self.resolve(Err(error))); // An error runs no user code when it is dropped.
    }

    /// Called when the handle is dropped: drops the outcome, and any that comes later. Otherwise the outcome would be
    /// dropped on whichever thread has the last reference to the cell.
    fn detach(&self) {
        let mut state = self.lock();
        let next = match state.outcome {
            CellOutcome::Pending | CellOutcome::Unwanted => CellOutcome::Unwanted,
            CellOutcome::Ready(_) | CellOutcome::Lent | CellOutcome::Taken => CellOutcome::Taken,
        };
        let waker = state.waker.take();
        let outcome = std::mem::replace(&mut state.outcome, next);
        drop(state);
        drop(waker);
        panic::contain_drop(outcome);
    }

    /// Fails the task: the executor has no room for it.
    pub(crate) fn refuse(&self, refusal: &TaskError) {
        self.resolve_error(refusal.renamed(self.ticket.name()));
    }

    /// Whether the outcome is there. The ticket closes a moment earlier.
    fn is_finished(&self) -> bool {
        let is_finished = {
            let state = self.lock();
            !matches!(state.outcome, CellOutcome::Pending | CellOutcome::Unwanted)
        };
        if !is_finished {
            self.ticket.note_caller(); // The caller may poll this until it is true.
        }
        is_finished
    }

    /// The progress reports, created at the first use. Called outside the lock, because reports wake tasks.
    fn reports(&self) -> Reports {
        let mut state = self.lock();
        let extras = state.extras.get_or_insert_default();
        extras.reports.get_or_insert_default().clone()
    }

    fn lock(&self) -> MutexGuard<'_, CellState<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(feature = "process")]
impl<T> OutcomeCell<T> {
    /// If no handle can take the result, records that there was one, and returns true. The result then need not be
    /// decoded.
    pub(super) fn resolve_unwanted(&self) -> bool {
        let is_unwanted = {
            let state = self.lock();
            matches!(state.outcome, CellOutcome::Unwanted) && state.callbacks().is_none()
        };
        if is_unwanted && self.ticket.close() {
            self.ticket.count("ok", 1);
            self.ticket.trace().end("ok");
            let mut state = self.lock();
            state.outcome = CellOutcome::Taken;
            self.answer(state);
        }
        is_unwanted
    }
}

impl<T> CellState<T> {
    /// The cell and the function that calls its callbacks, if it has any.
    #[expect(clippy::type_complexity, reason = "the parts of `Callbacks`")]
    fn callbacks(
        &self,
    ) -> Option<(
        Arc<OutcomeCell<T>>,
        fn(Arc<OutcomeCell<T>>, Result<T, TaskError>),
    )> {
        let callbacks = self.extras.as_ref()?.callbacks.as_ref()?;
        Some((callbacks.cell.upgrade()?, callbacks.call))
    }

    /// Takes the next callback out.
    fn next_callback(&mut self) -> Option<Callback<T>> {
        let callbacks = &mut self.extras.as_mut()?.callbacks;
        let next = callbacks.as_mut()?.waiting.pop_front();
        if next.is_none() {
            *callbacks = None;
        }
        next
    }
}

impl<T: Send + 'static> OutcomeCell<T> {
    fn add_callback(self: &Arc<Self>, state: &mut CellState<T>, callback: Callback<T>) {
        let extras = state.extras.get_or_insert_default();
        let callbacks = extras.callbacks.get_or_insert_with(|| Callbacks {
            cell: Arc::downgrade(self),
            call: Self::call_then_publish,
            waiting: VecDeque::new(),
        });
        callbacks.waiting.push_back(callback);
    }

    fn call_then_publish(self: Arc<Self>, outcome: Result<T, TaskError>) {
        call_back(move || {
            let state = self.call_waiting(&outcome);
            if let Some(unwanted) = self.publish(state, outcome) {
                panic::contain_drop(unwanted);
            }
        });
    }

    /// Cancels the task when the token is cancelled; at once if it already is.
    pub(super) fn watch(self: &Arc<Self>, token: &CallerToken) {
        self.ticket.note_token();
        let me: Weak<Self> = Arc::downgrade(self);
        let Some(watch) = token.watch(me) else {
            return self.cancel();
        };
        let mut state = self.lock();
        if let CellOutcome::Pending | CellOutcome::Unwanted = state.outcome {
            let extras = state.extras.get_or_insert_default();
            extras.tokens.push(watch);
        }
    }

    /// Watches the token among the options in force, if there is one. Call it once an executor has the task.
    pub(super) fn watch_option(self: &Arc<Self>) {
        if self.ticket.has_token()
            && let Some(token) = self.ticket.options().cancel_token
        {
            self.watch(token);
        }
    }
}

impl<T: Send> CancelTarget for OutcomeCell<T> {
    fn cancel(&self) {
        self.cancel();
    }
}

impl<T: Send> Wanted for OutcomeCell<T> {
    fn is_wanted(&self, _: u64) -> bool {
        !self.ticket.is_closed()
    }

    fn wake_if_unwanted(&self, _: u64, waker: Option<Waker>) {
        let mut state = self.lock();
        let extras = state.extras.get_or_insert_default();
        let before = std::mem::replace(&mut extras.future_waker, waker);
        drop(state);
        drop(before);
    }

    fn report(&self, _: u64, done: u64, total: u64) {
        if !self.ticket.is_closed() {
            self.reports().put(done, total);
        }
    }
}

impl<T: Send> Promise for OutcomeCell<T> {
    fn ticket(&self) -> &Ticket {
        &self.ticket
    }

    fn fail(&self, _: u32, error: TaskError) {
        self.resolve_error(error);
    }

    #[cfg(feature = "process")]
    fn runs_again(&self, _: u32, losses: u32) {
        self.ticket.note_losses(losses);
    }

    fn is_revoked(&self) -> bool {
        self.ticket.has_token() && (self.ticket.is_revoked() || self.a_watch_is_over())
    }
}

impl<T: Send> PromiseOf<T> for OutcomeCell<T> {
    fn fulfil(&self, _: u32, value: T) {
        if let Some(unwanted) = self.resolve(Ok(value)) {
            panic::contain_drop(unwanted);
        }
    }
}

/// What an abort handle needs, for any type of outcome.
trait Abort: Promise {
    fn abort(&self);
    fn is_finished(&self) -> bool;
}

impl<T: Send> Abort for OutcomeCell<T> {
    fn abort(&self) {
        self.cancel();
    }

    fn is_finished(&self) -> bool {
        self.is_finished()
    }
}

impl<T> OutcomeCell<T> {
    /// Whether a token that the task watches is cancelled.
    #[cold]
    fn a_watch_is_over(&self) -> bool {
        let state = self.lock();
        let extras = state.extras.as_ref();
        extras.is_some_and(|extras| extras.tokens.iter().any(TokenWatch::is_cancelled))
    }

    /// Closes the ticket first, then removes the job from its executor. A worker that takes the job in between sees the
    /// closed ticket and drops the job. The executor knows whether the job has started, or finds out.
    fn cancel(&self) {
        if self.ticket.is_closed() {
            return;
        }
        let owner = self.ticket.owner();
        if let Some(owner) = owner.as_ref().filter(|owner| owner.answers_late()) {
            if self.ticket.begin_abort() {
                owner.abort(&self.ticket, &mut |begun| self.end_abort(begun));
            }
        } else if self.ticket.close() {
            let mut answer =
                |begun| drop(self.put(Err(self.ticket.error(begun, Cause::Cancelled))));
            match owner {
                Some(owner) => owner.abort(&self.ticket, &mut answer),
                None => answer(false),
            }
        }
    }
}

impl<T> JoinHandle<T> {
    pub(crate) fn new(cell: Arc<OutcomeCell<T>>) -> Self {
        Self {
            cell,
            abort_on_drop: false,
            taken: false,
        }
    }

    #[cfg(feature = "cluster")]
    pub(crate) fn ticket(&self) -> &Ticket {
        &self.cell.ticket
    }

    /// Returns whether the outcome is there.
    #[doc(alias = "done")]
    pub fn is_finished(&self) -> bool {
        self.cell.is_finished()
    }

    /// Returns whether a worker is running the task right now.
    pub fn is_running(&self) -> bool {
        is_running(&self.cell.ticket)
    }

    /// Returns a number that is unique in this process.
    pub fn id(&self) -> u64 {
        self.cell.ticket.id()
    }

    /// Calls `callback` with the outcome, before the handle yields it: at once if the outcome is already there. The
    /// callbacks of one handle run in order, also if the handle was dropped. They run on the thread that found the
    /// outcome, so they should be short: one that blocks a thread of a runtime delays the other tasks of that runtime.
    /// The crate's own thread, which drives pools that several runtimes use, passes callbacks to another thread.
    ///
    /// ```
    /// use concurrent_futures::ThreadPoolExecutor;
    ///
    /// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let pool = ThreadPoolExecutor::new()?;
    /// let handle = pool.submit(|n: u32| 12 / n, 0);
    /// handle.on_done(|outcome| {
    ///     if let Err(error) = outcome {
    ///         eprintln!("{error}");
    ///     }
    /// });
    /// assert!(handle.await.is_err());
    /// # Ok(()) }
    /// ```
    ///
    /// # Panics
    /// If the handle has returned its outcome. A panic of `callback` is caught and dropped.
    #[doc(alias = "add_done_callback")]
    pub fn on_done(&self, callback: impl FnOnce(&Result<T, TaskError>) + Send + 'static)
    where
        T: Send + 'static,
    {
        let mut state = self.cell.lock();
        let outcome = match &mut state.outcome {
            CellOutcome::Taken => {
                drop(state);
                panic!("a JoinHandle got a callback after it returned its outcome");
            }
            ready @ CellOutcome::Ready(_) => std::mem::replace(ready, CellOutcome::Lent),
            _ => return self.cell.add_callback(&mut state, Box::new(callback)),
        };
        // The callback is late. Callbacks that are added while it runs are called here, too.
        self.cell.add_callback(&mut state, Box::new(callback));
        drop(state);
        if let CellOutcome::Ready(outcome) = outcome {
            let mut state = self.cell.call_waiting(&outcome);
            state.outcome = CellOutcome::Ready(outcome);
        }
    }

    /// Returns the task's [progress reports](crate::worker::Context::report_progress) as a stream: the
    /// latest report, if there is one, and each later one that is not replaced before it is read. The
    /// stream ends with the task. It does not borrow the handle.
    ///
    /// ```
    /// use concurrent_futures::{ThreadPoolExecutor, worker};
    /// use futures::StreamExt as _;
    ///
    /// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let pool = ThreadPoolExecutor::new()?;
    /// let handle = pool.submit(|| worker::current().unwrap().report_progress(1, 4), ());
    /// let mut progress = handle.progress();
    /// while let Some(report) = progress.next().await {
    ///     println!("{} of {}", report.done, report.total);
    /// }
    /// handle.await?;
    /// # Ok(()) }
    /// ```
    pub fn progress(&self) -> ProgressStream {
        let reports = self.cell.reports();
        let stream = reports.watch(self.cell.ticket.home().cloned());
        // An outcome that arrived before the reports existed has not ended them; a later outcome does.
        if self.cell.is_finished() {
            reports.end();
        }
        stream
    }

    /// Cancels the task when the token is cancelled.
    pub(super) fn watch(&self, token: &CallerToken)
    where
        T: Send + 'static,
    {
        self.cell.watch(token);
    }

    /// Cancels the task. Awaiting the handle returns an error at once: [`is_cancelled`](TaskError::is_cancelled). A
    /// task that has not started never runs. One that runs in a process is killed after its [grace
    /// period](crate::TaskOptions::grace_period), and its worker is replaced. One that runs on a thread occupies the
    /// thread until it returns. A finished task is not affected.
    #[doc(alias = "cancel")]
    pub fn abort(&self) {
        self.cell.cancel();
    }

    /// Returns another handle, which can only abort.
    pub fn abort_handle(&self) -> AbortHandle
    where
        T: Send + 'static,
    {
        AbortHandle(self.cell.clone())
    }

    /// Makes dropping this handle cancel the task instead of detaching it.
    ///
    /// ```
    /// # use concurrent_futures::ThreadPoolExecutor;
    /// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let pool = ThreadPoolExecutor::new()?;
    /// // A request handler that is dropped when its client disconnects cancels its task.
    /// let digest = pool.submit(|| 42, ()).abort_on_drop().await?;
    /// # Ok(()) }
    /// ```
    pub fn abort_on_drop(mut self) -> Self {
        self.abort_on_drop = true;
        self
    }
}

impl<T> Drop for JoinHandle<T> {
    fn drop(&mut self) {
        if self.abort_on_drop {
            self.cell.cancel();
        }
        if !self.taken && needs_drop::<T>() {
            self.cell.detach();
        }
    }
}

impl AbortHandle {
    /// Cancels the task, as [`JoinHandle::abort`] does.
    pub fn abort(&self) {
        self.0.abort();
    }

    /// Returns whether the outcome is there.
    pub fn is_finished(&self) -> bool {
        self.0.is_finished()
    }

    /// Returns whether a worker is running the task right now.
    pub fn is_running(&self) -> bool {
        is_running(self.0.ticket())
    }

    /// Returns the number of the [`JoinHandle`].
    pub fn id(&self) -> u64 {
        self.0.ticket().id()
    }
}

impl AbortHandle {
    /// Where the executor that has the task runs its background tasks.
    pub(super) fn home(&self) -> Option<&Arc<Home>> {
        self.0.ticket().home()
    }
}

fn is_running(ticket: &Ticket) -> bool {
    !ticket.is_closed() && ticket.owner().is_some_and(|owner| owner.is_running(ticket))
}

impl<T> Future for JoinHandle<T> {
    type Output = Result<T, TaskError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut task::Context<'_>) -> Poll<Self::Output> {
        let mut state = self.cell.lock();
        match std::mem::replace(&mut state.outcome, CellOutcome::Taken) {
            CellOutcome::Ready(outcome) => {
                drop(state);
                self.taken = true;
                Poll::Ready(outcome)
            }
            CellOutcome::Pending => {
                state.outcome = CellOutcome::Pending;
                match &mut state.waker {
                    Some(waker) => waker.clone_from(cx.waker()),
                    none => *none = Some(cx.waker().clone()),
                }
                drop(state);
                // Once for each poll: a different runtime may wait for it now.
                self.cell.ticket.note_caller();
                Poll::Pending
            }
            CellOutcome::Unwanted | CellOutcome::Lent | CellOutcome::Taken => {
                panic!("a JoinHandle was polled after it returned its outcome")
            }
        }
    }
}

impl<T> fmt::Debug for JoinHandle<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        debug("JoinHandle", &self.cell.ticket, f)
    }
}

impl fmt::Debug for AbortHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        debug("AbortHandle", self.0.ticket(), f)
    }
}

fn debug(name: &str, ticket: &Ticket, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    f.debug_struct(name)
        .field("id", &ticket.id())
        .field("task", &ticket.name())
        .field("finished", &(ticket.is_closed() && !ticket.is_aborting()))
        .finish()
}
