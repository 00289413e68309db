//! The outcomes of many handles as a stream, each as soon as it is available. As in `wait`, each handle is polled once,
//! and then only when it is woken.

use std::fmt;
use std::pin::Pin;
use std::task::{self, Poll, ready};
use std::time::Duration;
use std::vec;

use futures::stream::{FusedStream, FuturesUnordered, Stream, StreamExt as _};
use tokio::task::coop;

use super::deadline::Deadline;
use super::error::{Cause, TaskError};
use super::options::TaskName;
use super::waitable::{Slice, Waitable};

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
/// Handles [with a key](crate::JoinHandle::with) say which one it was:
///
/// ```
/// use concurrent_futures::{ThreadPoolExecutor, as_completed};
/// use futures::StreamExt as _;
///
/// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let pool = ThreadPoolExecutor::new()?;
/// let handles = [1_u32, 0, 4].map(|n| pool.submit(|n| 12 / n, n).with(n));
/// let mut outcomes = as_completed(handles);
/// while let Some((n, outcome)) = outcomes.next().await {
///     match outcome {
///         Ok(quotient) => assert_eq!(quotient * n, 12),
///         Err(error) => assert_eq!(n, 0, "{error}"),
///     }
/// }
/// # Ok(()) }
/// ```
///
/// # Cancel safety
/// Awaiting the next outcome is cancel safe. Dropping the stream drops its handles; pass `&mut`
/// handles to keep them.
pub fn as_completed<F: Waitable>(handles: impl IntoIterator<Item = F>) -> AsCompleted<F> {
    let handles: Vec<F> = handles.into_iter().collect();
    AsCompleted {
        deadline: Deadline::from_now(),
        unseen: handles.into_iter(),
        pending: FuturesUnordered::new(),
        phase: AsCompletedPhase::InTime,
    }
}

/// The stream made by [`as_completed`].
#[must_use = "a stream does nothing until it is polled"]
pub struct AsCompleted<F: Future> {
    deadline: Deadline,
    unseen: vec::IntoIter<F>,
    pending: FuturesUnordered<F>,
    phase: AsCompletedPhase<F::Output>,
}

/// How far an [`AsCompleted`] is.
enum AsCompletedPhase<O> {
    /// It waits for its handles.
    InTime,
    /// Its timeout has passed: it yields these errors.
    Late(vec::IntoIter<O>),
    Ended,
}

impl<F: Future> AsCompleted<F> {
    /// Limits the wait, counted from the call of [`as_completed`]. At the timeout the stream yields the outcomes that
    /// are available, drops the other handles, yields one error, and ends. The error
    /// [`is_timeout`](TaskError::is_timeout). If the handles have keys, it yields one error for each remaining key.
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

impl<F: Waitable> AsCompleted<F> {
    /// The next available outcome; `None` if no handle is left.
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
        // Polls within the slice, as in `Wait::poll_done`.
        if let Poll::Ready(Some(outcome)) = self.pending.poll_next_unpin(cx) {
            return Poll::Ready(Some(outcome));
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// The next error after the timeout. The stream ends after the last one.
    fn next_late(&mut self) -> Option<F::Output> {
        let AsCompletedPhase::Late(late) = &mut self.phase else {
            return None;
        };
        let error = late.next();
        if late.len() == 0 {
            self.phase = AsCompletedPhase::Ended;
        }
        error
    }
}

impl<F: Waitable> Stream for AsCompleted<F> {
    type Item = F::Output;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut task::Context<'_>) -> Poll<Option<Self::Item>> {
        match &mut self.phase {
            AsCompletedPhase::InTime => {}
            AsCompletedPhase::Late(_) => return Poll::Ready(self.next_late()),
            AsCompletedPhase::Ended => return Poll::Ready(None),
        }
        let turn = ready!(coop::poll_proceed(cx));
        if let Poll::Ready(outcome) = self.poll_outcome(cx) {
            turn.made_progress();
            if outcome.is_none() {
                self.phase = AsCompletedPhase::Ended;
            }
            return Poll::Ready(outcome);
        }
        if self.unseen.len() > 0 {
            return Poll::Pending; // Handles that are done come before the timeout.
        }
        let limit = ready!(self.deadline.poll_passed(cx));
        let name = TaskName::Function("as_completed");
        let error = TaskError::new(name, false, Cause::TimedOut { limit });
        let late = F::expire(std::mem::take(&mut self.pending), &error);
        self.phase = AsCompletedPhase::Late(late.into_iter());
        Poll::Ready(self.next_late())
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let most = match &self.phase {
            AsCompletedPhase::InTime => self.unseen.len() + self.pending.len() + 1,
            AsCompletedPhase::Late(late) => late.len(),
            AsCompletedPhase::Ended => 0,
        };
        (0, Some(most))
    }
}

impl<F: Waitable> FusedStream for AsCompleted<F> {
    fn is_terminated(&self) -> bool {
        matches!(self.phase, AsCompletedPhase::Ended)
    }
}

impl<F: Future> Unpin for AsCompleted<F> {}

impl<F: Future> fmt::Debug for AsCompleted<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AsCompleted")
            .field("pending", &(self.pending.len() + self.unseen.len()))
            .field("ended", &matches!(self.phase, AsCompletedPhase::Ended))
            .finish_non_exhaustive()
    }
}
