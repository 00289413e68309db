//! Waiting for many handles at once. Each handle is polled once, a slice of them a poll. Pending ones
//! then move to a [`FuturesUnordered`], which polls only those that were woken.

use std::fmt;
use std::iter::Enumerate;
use std::pin::Pin;
use std::task::{self, Poll, ready};
use std::time::Duration;
use std::vec;

use futures::stream::{FusedStream, FuturesUnordered, Stream, StreamExt as _};
use tokio::task::coop;

use super::deadline::Deadline;
use super::error::{Cause, TaskError};
use super::options::TaskName;

/// When [`wait`] returns.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ReturnWhen {
    /// When any handle has its outcome.
    FirstCompleted,
    /// When any handle has an error, or all have their outcomes.
    FirstError,
    /// When all handles have their outcomes.
    AllCompleted,
}

/// Waits until `when` holds for the handles, and separates those that are done from the others.
///
/// A handle is a [`JoinHandle`](crate::JoinHandle), a `&mut` to one, or any other future with that
/// output. Without handles it returns at once.
///
/// ```
/// use concurrent_futures::{ReturnWhen, ThreadPoolExecutor, Waited, wait};
///
/// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let pool = ThreadPoolExecutor::new()?;
/// let handles = [1_u32, 0, 4].map(|n| pool.submit(|n| 12 / n, n));
/// let Waited { done, pending, .. } = wait(handles, ReturnWhen::AllCompleted).await;
/// assert_eq!(*done[0].as_ref().unwrap(), 12);
/// assert!(done[1].as_ref().unwrap_err().is_panic());
/// assert!(pending.is_empty());
/// # Ok(()) }
/// ```
///
/// # Cancel safety
/// Dropping a `Wait` drops its handles and the outcomes it has taken from them. With `&mut` handles,
/// the handles remain, but an outcome already taken is lost, and polling that `JoinHandle` panics. Use
/// `timeout` to look in between.
pub fn wait<F, T>(handles: impl IntoIterator<Item = F>, when: ReturnWhen) -> Wait<F>
where
    F: Future<Output = Result<T, TaskError>> + Unpin,
{
    let handles: Vec<F> = handles.into_iter().collect();
    Wait {
        when,
        deadline: Deadline::from_now(),
        unseen: handles.into_iter().enumerate(),
        pending: FuturesUnordered::new(),
        done: Vec::new(),
        failed: false,
        over: false,
    }
}

/// The future made by [`wait`].
///
/// # Panics
/// Polling it again after it returned its output panics.
#[must_use = "a wait does nothing until it is awaited"]
pub struct Wait<F: Future> {
    when: ReturnWhen,
    deadline: Deadline,
    unseen: Enumerate<vec::IntoIter<F>>,
    pending: FuturesUnordered<Numbered<F>>,
    done: Vec<(usize, F::Output)>,
    failed: bool,
    over: bool,
}

/// What [`wait`] found.
#[derive(Debug)]
#[non_exhaustive]
pub struct Waited<F, T> {
    /// The outcomes, in the order of the handles.
    pub done: Vec<Result<T, TaskError>>,
    /// The handles without an outcome, in their original order.
    pub pending: Vec<F>,
}

impl<F: Future> Wait<F> {
    /// Limits the wait, counted from the call of [`wait`]. At the timeout it returns the outcomes that
    /// are there, even if there are none.
    ///
    /// ```
    /// use std::time::Duration;
    /// use concurrent_futures::{ReturnWhen, ThreadPoolExecutor, wait};
    ///
    /// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let pool = ThreadPoolExecutor::new()?;
    /// let (release, gate) = std::sync::mpsc::channel::<()>();
    /// let handle = pool.submit(move || gate.recv().is_ok(), ());
    /// let waited = wait([handle], ReturnWhen::AllCompleted)
    ///     .timeout(Duration::from_millis(10))
    ///     .await;
    /// assert!(waited.done.is_empty());
    /// release.send(())?;
    /// for handle in waited.pending {
    ///     assert!(handle.await?);
    /// }
    /// # Ok(()) }
    /// ```
    pub fn timeout(mut self, limit: Duration) -> Self {
        self.deadline.set(limit);
        self
    }
}

/// What one poll may do before it yields to other tasks of the runtime: a number of handles, or fewer
/// if they use up tokio's budget of the task. (A handle without budget returns pending, even if it is
/// done.)
struct Slice(usize);

impl Slice {
    fn new() -> Self {
        Self(1024)
    }

    fn has_budget(&mut self) -> bool {
        self.0 = self.0.saturating_sub(1);
        self.0 > 0 && coop::has_budget_remaining()
    }
}

/// A handle and its position.
struct Numbered<F> {
    number: usize,
    handle: F,
}

impl<F: Future + Unpin> Future for Numbered<F> {
    type Output = (usize, F::Output);

    fn poll(mut self: Pin<&mut Self>, cx: &mut task::Context<'_>) -> Poll<Self::Output> {
        let outcome = ready!(Pin::new(&mut self.handle).poll(cx));
        Poll::Ready((self.number, outcome))
    }
}

impl<F, T> Wait<F>
where
    F: Future<Output = Result<T, TaskError>> + Unpin,
{
    /// Takes the outcomes that are there. Pending if there may be more.
    fn poll_done(&mut self, cx: &mut task::Context<'_>) -> Poll<()> {
        let mut slice = Slice::new();
        while slice.has_budget() {
            if let Some((number, mut handle)) = self.unseen.next() {
                match Pin::new(&mut handle).poll(cx) {
                    Poll::Ready(outcome) => self.take(number, outcome),
                    Poll::Pending => self.pending.push(Numbered { number, handle }),
                }
            } else if let Poll::Ready(Some((number, outcome))) = self.pending.poll_next_unpin(cx) {
                self.take(number, outcome);
            } else {
                return Poll::Ready(());
            }
        }
        // `FuturesUnordered` polls each new handle once: do that slice by slice, too.
        if let Poll::Ready(Some((number, outcome))) = self.pending.poll_next_unpin(cx) {
            self.take(number, outcome);
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    fn take(&mut self, number: usize, outcome: F::Output) {
        self.failed |= outcome.is_err();
        self.done.push((number, outcome));
    }

    fn is_enough(&self) -> bool {
        self.pending.is_empty()
            || match self.when {
                ReturnWhen::FirstCompleted => !self.done.is_empty(),
                ReturnWhen::FirstError => self.failed,
                ReturnWhen::AllCompleted => false,
            }
    }

    fn finish(&mut self) -> Waited<F, T> {
        self.over = true;
        let mut done = std::mem::take(&mut self.done);
        done.sort_unstable_by_key(|(number, _)| *number);
        let pending = std::mem::take(&mut self.pending);
        let mut pending: Vec<_> = pending.into_iter().collect();
        pending.sort_unstable_by_key(|handle| handle.number);
        Waited {
            done: done.into_iter().map(|(_, outcome)| outcome).collect(),
            pending: pending.into_iter().map(|handle| handle.handle).collect(),
        }
    }
}

impl<F, T> Future for Wait<F>
where
    F: Future<Output = Result<T, TaskError>> + Unpin,
{
    type Output = Waited<F, T>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut task::Context<'_>) -> Poll<Self::Output> {
        assert!(!self.over, "a Wait was polled after it returned its output");
        ready!(self.poll_done(cx));
        if self.is_enough() || self.deadline.poll_passed(cx).is_ready() {
            return Poll::Ready(self.finish());
        }
        Poll::Pending
    }
}

/// Nothing is pinned in place: the handles may move.
impl<F: Future> Unpin for Wait<F> {}

impl<F: Future> fmt::Debug for Wait<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Wait")
            .field("when", &self.when)
            .field("done", &self.done.len())
            .field("pending", &(self.pending.len() + self.unseen.len()))
            .finish_non_exhaustive()
    }
}

/// Yields the outcomes of the handles as they arrive.
///
/// ```
/// use concurrent_futures::{ThreadPoolExecutor, as_completed};
/// use futures::TryStreamExt as _;
///
/// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let pool = ThreadPoolExecutor::new()?;
/// let handles = [1_u32, 2, 4].map(|n| pool.submit(|n| 12 / n, n));
/// let sum = as_completed(handles).try_fold(0, |sum, n| async move { Ok(sum + n) }).await?;
/// assert_eq!(sum, 21);
/// # Ok(()) }
/// ```
///
/// # Cancel safety
/// Awaiting the next outcome is cancel safe. Dropping the stream drops its handles; pass `&mut`
/// handles to keep them.
pub fn as_completed<F, T>(handles: impl IntoIterator<Item = F>) -> AsCompleted<F>
where
    F: Future<Output = Result<T, TaskError>> + Unpin,
{
    let handles: Vec<F> = handles.into_iter().collect();
    AsCompleted {
        deadline: Deadline::from_now(),
        unseen: handles.into_iter(),
        pending: FuturesUnordered::new(),
        over: false,
    }
}

/// The stream made by [`as_completed`].
#[must_use = "a stream does nothing until it is polled"]
pub struct AsCompleted<F> {
    deadline: Deadline,
    unseen: vec::IntoIter<F>,
    pending: FuturesUnordered<F>,
    over: bool,
}

impl<F> AsCompleted<F> {
    /// Limits the wait, counted from the call of [`as_completed`]. At the timeout the stream yields the
    /// outcomes that are there, then one error, [`is_timeout`](TaskError::is_timeout). It drops the
    /// other handles and ends.
    ///
    /// ```
    /// use std::time::Duration;
    /// use concurrent_futures::{ThreadPoolExecutor, as_completed};
    /// use futures::StreamExt as _;
    ///
    /// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let pool = ThreadPoolExecutor::new()?;
    /// let (release, gate) = std::sync::mpsc::channel::<()>();
    /// let handle = pool.submit(move || gate.recv().is_ok(), ());
    /// let mut outcomes = as_completed([handle]).timeout(Duration::from_millis(10));
    /// assert!(outcomes.next().await.unwrap().unwrap_err().is_timeout());
    /// assert!(outcomes.next().await.is_none());
    /// # drop(release);
    /// # Ok(()) }
    /// ```
    pub fn timeout(mut self, limit: Duration) -> Self {
        self.deadline.set(limit);
        self
    }
}

impl<F, T> AsCompleted<F>
where
    F: Future<Output = Result<T, TaskError>> + Unpin,
{
    /// The next outcome that is there; `None` if no handle is left.
    fn poll_outcome(&mut self, cx: &mut task::Context<'_>) -> Poll<Option<F::Output>> {
        let mut slice = Slice::new();
        while slice.has_budget() {
            let Some(mut handle) = self.unseen.next() else {
                return self.pending.poll_next_unpin(cx);
            };
            match Pin::new(&mut handle).poll(cx) {
                Poll::Ready(outcome) => return Poll::Ready(Some(outcome)),
                Poll::Pending => self.pending.push(handle),
            }
        }
        // As in `Wait::poll_done`.
        if let Poll::Ready(Some(outcome)) = self.pending.poll_next_unpin(cx) {
            return Poll::Ready(Some(outcome));
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

impl<F, T> Stream for AsCompleted<F>
where
    F: Future<Output = Result<T, TaskError>> + Unpin,
{
    type Item = F::Output;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut task::Context<'_>) -> Poll<Option<Self::Item>> {
        if self.over {
            return Poll::Ready(None);
        }
        let turn = ready!(coop::poll_proceed(cx));
        if let Poll::Ready(outcome) = self.poll_outcome(cx) {
            turn.made_progress();
            self.over = outcome.is_none();
            return Poll::Ready(outcome);
        }
        if self.unseen.len() > 0 {
            return Poll::Pending; // Some may be done, and precede the timeout.
        }
        let limit = ready!(self.deadline.poll_passed(cx));
        self.over = true;
        self.pending.clear();
        let name = TaskName::Function("as_completed");
        Poll::Ready(Some(Err(TaskError::new(
            name,
            false,
            Cause::TimedOut { limit },
        ))))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = self.unseen.len() + self.pending.len();
        (0, Some(left + usize::from(!self.over)))
    }
}

impl<F, T> FusedStream for AsCompleted<F>
where
    F: Future<Output = Result<T, TaskError>> + Unpin,
{
    fn is_terminated(&self) -> bool {
        self.over
    }
}

impl<F> Unpin for AsCompleted<F> {}

impl<F> fmt::Debug for AsCompleted<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AsCompleted")
            .field("pending", &(self.pending.len() + self.unseen.len()))
            .field("over", &self.over)
            .finish_non_exhaustive()
    }
}
