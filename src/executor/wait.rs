//! Waiting for many handles at once. Each handle is polled once, one slice of the handles in each poll. Pending ones
//! then move to a [`FuturesUnordered`], which polls only those that were woken.

use std::fmt;
use std::iter::Enumerate;
use std::pin::Pin;
use std::task::{self, Poll, ready};
use std::time::Duration;
use std::vec;

use futures::stream::{FuturesUnordered, StreamExt as _};

use super::deadline::Deadline;
use super::waitable::{Outcome, Slice};

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
/// A handle is a [`JoinHandle`](crate::JoinHandle), one [with a key](crate::JoinHandle::with), a `&mut`
/// to either, or any other future with such an [`Outcome`]. Without handles it returns at once.
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
/// Dropping a `Wait` drops its handles and the outcomes it has taken from them. With `&mut` handles, the handles
/// remain, but an outcome already taken is lost, and polling that `JoinHandle` panics. To check intermediate results,
/// use `timeout` instead.
pub fn wait<F>(handles: impl IntoIterator<Item = F>, when: ReturnWhen) -> Wait<F>
where
    F: Future<Output: Outcome> + Unpin,
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
pub struct Waited<F: Future> {
    /// The outcomes, in the order of the handles.
    pub done: Vec<F::Output>,
    /// The handles without an outcome, in their original order.
    pub pending: Vec<F>,
}

impl<F: Future> Wait<F> {
    /// Limits the wait, counted from the call of [`wait`]. At the timeout it returns the available outcomes, even if
    /// there are none.
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

impl<F> Wait<F>
where
    F: Future<Output: Outcome> + Unpin,
{
    /// Takes the available outcomes. Pending if there may be more.
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
        // `FuturesUnordered` polls each new handle once, so this also proceeds slice by slice.
        if let Poll::Ready(Some((number, outcome))) = self.pending.poll_next_unpin(cx) {
            self.take(number, outcome);
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    fn take(&mut self, number: usize, outcome: F::Output) {
        self.failed |= outcome.error().is_some();
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

    fn finish(&mut self) -> Waited<F> {
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

impl<F> Future for Wait<F>
where
    F: Future<Output: Outcome> + Unpin,
{
    type Output = Waited<F>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut task::Context<'_>) -> Poll<Self::Output> {
        assert!(!self.over, "a Wait was polled after it returned its output");
        ready!(self.poll_done(cx));
        if self.is_enough() || self.deadline.poll_passed(cx).is_ready() {
            return Poll::Ready(self.finish());
        }
        Poll::Pending
    }
}

/// No field is pinned in place: the handles may move.
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
