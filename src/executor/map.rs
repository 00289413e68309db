//! Many calls as one stream. The stream itself drives them: each poll pulls from the source what
//! may be ahead of the consumer, sends it off in chunks, and takes what has come back.

use std::any::Any;
use std::collections::VecDeque;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{self, Poll, ready};
use std::time::Duration;
use std::vec;

use futures::future::BoxFuture;
use futures::stream::{FusedStream, SelectAll, Stream, StreamExt as _};
use tokio::task::coop;

use super::Executor;
use super::chunk::{Arrived, Outcomes};
use super::deadline::Deadline;
use super::error::{Cause, Rejection, TaskError};
use super::feed::{Calls, Feed};
use super::options::{TaskName, TaskOptions};
use super::progress::Progress;
use super::room::Room;
use super::task::{Arguments, Data, Task};
use crate::wire::MOST_ITEMS;

/// How many items one poll pulls at the most before it lets other tasks of the runtime go on.
const PULLS_A_POLL: usize = 1024;

/// The results of a function over many items, as a stream; made by
/// [`ExecutorExt::map`](crate::ExecutorExt::map) and
/// [`ExecutorExt::map_stream`](crate::ExecutorExt::map_stream).
///
/// Results come in the order of the items, unless [`unordered`](Self::unordered) is asked for. An
/// item that fails is an error in its place, and the stream goes on.
///
/// Nothing is pulled before the first poll, and never are more than
/// [`buffer_size`](Self::buffer_size) items pulled and not yet yielded, so the source may be
/// endless. Each chunk waits for room in a bounded queue; it is never refused for lack of it. The
/// source is polled by the task that polls the stream: one that blocks, blocks that task.
///
/// Dropping the stream cancels what it has submitted and not yielded, as
/// [`JoinHandle::abort`](crate::JoinHandle::abort) does. A stream that is kept and not polled may
/// hold one place in a bounded queue.
///
/// Settings count from the next poll on; give them before the first.
///
/// ```
/// use concurrent_futures::{ExecutorExt, ThreadPoolExecutor};
/// use futures::StreamExt as _;
///
/// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let pool = ThreadPoolExecutor::new()?;
/// let mut quotients = pool.map(|n: u32| 12 / n, [3, 0, 4]);
/// assert_eq!(quotients.next().await.unwrap()?, 4);
/// assert!(quotients.next().await.unwrap().unwrap_err().is_panic());
/// assert_eq!(quotients.next().await.unwrap()?, 3);
/// assert!(quotients.next().await.is_none());
/// # Ok(()) }
/// ```
///
/// # Errors
/// An item's own error tells what became of that item. These are told once, and end the stream:
/// `is_timeout()` at the end of [`timeout`](Self::timeout); `is_rejected()` for a setting of 0;
/// `is_shutdown()` when the executor was shut down or dropped before all items were submitted. In
/// the last case the results of the items before come first.
///
/// # Panics
/// A panic in the source reaches whoever polls the stream, after the results of the items that
/// were pulled before it. The stream has then ended. With a `timeout`, polling it outside of a
/// tokio runtime with timers panics.
///
/// # Cancel safety
/// Awaiting the next result is cancel safe: a result that was not yielded comes with the next poll.
#[must_use = "a map does nothing until it is polled"]
pub struct Map<R> {
    executor: Arc<dyn Executor>,
    function: &'static str,
    options: Option<Arc<TaskOptions>>,
    pace: Pace,
    deadline: Deadline,
    /// What has not been submitted; nothing when all of it has, or never will be.
    feed: Option<Box<dyn Feed<R>>>,
    /// The wait for the next chunk's place in the queue.
    room: Option<BoxFuture<'static, Result<Room, TaskError>>>,
    /// More is to be submitted, now or when whatever keeps it from being submitted wakes the task.
    pulling: bool,
    /// More is to be submitted when no more items than this are ahead.
    resume_at: usize,
    submitted: Submitted<R>,
    /// Outcomes that are to be yielded next.
    ready: vec::IntoIter<Result<R, TaskError>>,
    /// How many items are submitted and not yet yielded.
    ahead: usize,
    yielded: u64,
    /// What is told when all that was submitted has been yielded.
    last: Option<Last>,
    ended: bool,
}

/// How many items travel together, and how many may be ahead of the consumer.
struct Pace {
    chunk_size: Option<usize>,
    buffer_size: Option<usize>,
    workers: usize,
    /// How many items travel together if nobody says how many: as many as are quick.
    adapted: usize,
    /// How long an item runs: a running average.
    item_time: Option<Duration>,
}

/// The chunks that are not yet yielded in full.
enum Submitted<R> {
    InOrder(VecDeque<Outcomes<R>>),
    AsCompleted(SelectAll<Outcomes<R>>),
}

/// The last thing a stream tells, other than that it has ended.
enum Last {
    Error(TaskError),
    Panic(Box<dyn Any + Send>),
}

impl<R> Map<R> {
    pub(crate) fn new<F, S, M>(executor: Arc<dyn Executor>, function: F, source: S) -> Self
    where
        S: Stream + Send + 'static,
        S::Item: Arguments<M>,
        F: Task<S::Item, M, Output = R> + Copy + Send + Sync + 'static,
        R: Data,
        M: 'static,
    {
        Self {
            function: std::any::type_name::<F>(),
            options: None,
            pace: Pace::new(executor.max_workers()),
            pulling: true,
            resume_at: 0,
            deadline: Deadline::from_now(),
            feed: Some(Box::new(Calls::new(function, source))),
            room: None,
            submitted: Submitted::InOrder(VecDeque::new()),
            ready: Vec::new().into_iter(),
            ahead: 0,
            yielded: 0,
            last: None,
            ended: false,
            executor,
        }
    }

    /// How many items travel together at the most; a chunk takes one place in the executor's queue.
    /// Larger chunks cost less per item, smaller ones spread better. When the source is not ready to
    /// give more, what it has given goes as it is. A chunk is never larger than the buffer. The
    /// results are the same for every size.
    ///
    /// Default: as many as run in about a millisecond, by the measured time of the items before, and
    /// 8192 at the most; one to begin with, and when an item takes longer than that. A worker that is
    /// at a chunk for longer than 2 ms gives what it has not begun to workers that have nothing to do,
    /// whatever the size; so a slow item holds up no other for long.
    ///
    /// ```
    /// # use concurrent_futures::{ExecutorExt, ThreadPoolExecutor};
    /// # use futures::TryStreamExt as _;
    /// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let pool = ThreadPoolExecutor::new()?;
    /// let squares = pool.map(|x: u64| x * x, 0..10_000).chunk_size(500);
    /// assert_eq!(squares.try_collect::<Vec<_>>().await?[9_999], 99_980_001);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// With 0 the stream yields one error, for which `is_rejected()` holds, and ends.
    #[doc(alias = "chunksize")]
    pub fn chunk_size(mut self, items: usize) -> Self {
        self.pace.chunk_size = Some(items);
        self
    }

    /// How many items may be pulled from the source and not yet yielded: those that wait, run, or
    /// are done and wait to be yielded. Default: 32 items a worker, or four chunks a worker if that
    /// is more. A buffer that is given also bounds the chunks whose size is not: two for each worker
    /// fit into it.
    ///
    /// ```
    /// # use concurrent_futures::{ExecutorExt, ThreadPoolExecutor};
    /// # use futures::StreamExt as _;
    /// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let pool = ThreadPoolExecutor::new()?;
    /// let mut cubes = pool.map(|x: u64| x.pow(3), 0..).buffer_size(4); // The source is endless.
    /// assert_eq!(cubes.next().await.unwrap()?, 0);
    /// assert_eq!(cubes.next().await.unwrap()?, 1);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// With 0 the stream yields one error, for which `is_rejected()` holds, and ends.
    #[doc(alias = "buffersize")]
    pub fn buffer_size(mut self, items: usize) -> Self {
        self.pace.buffer_size = Some(items);
        self
    }

    /// How long the whole stream may take, counted from the call of `map`. Past it the stream
    /// yields one error, for which `is_timeout()` holds, and ends; what it had submitted is
    /// cancelled. Default: no limit.
    ///
    /// (A time-out for each item is among the [`options`](Self::options).)
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use concurrent_futures::{ExecutorExt, ThreadPoolExecutor};
    /// # use futures::StreamExt as _;
    /// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let pool = ThreadPoolExecutor::new()?;
    /// let results = pool.map(|x: u64| x + 1, 0..).timeout(Duration::from_millis(50));
    /// let last = results.collect::<Vec<_>>().await.pop().unwrap();
    /// assert!(last.unwrap_err().is_timeout());
    /// # Ok(()) }
    /// ```
    pub fn timeout(mut self, limit: Duration) -> Self {
        self.deadline.set(limit);
        self
    }

    /// Options for each item, as for [`submit_with`](crate::ExecutorExt::submit_with). The
    /// `queue_timeout` is that of a whole chunk.
    ///
    /// ```
    /// # use concurrent_futures::{ExecutorExt, TaskOptions, ThreadPoolExecutor};
    /// # use futures::StreamExt as _;
    /// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let pool = ThreadPoolExecutor::new()?;
    /// let mut results = pool
    ///     .map(|n: u32| 12 / n, [0])
    ///     .options(TaskOptions::new().name("divide").priority(-1));
    /// assert_eq!(results.next().await.unwrap().unwrap_err().task_name(), "divide");
    /// # Ok(()) }
    /// ```
    pub fn options(mut self, options: TaskOptions) -> Self {
        self.options = Some(Arc::new(options));
        self
    }

    /// Yields each result as soon as it is there, in no particular order, so that a slow item holds
    /// up no other.
    ///
    /// ```
    /// # use concurrent_futures::{ExecutorExt, ThreadPoolExecutor};
    /// # use futures::TryStreamExt as _;
    /// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let pool = ThreadPoolExecutor::new()?;
    /// let sum = pool
    ///     .map(|x: u64| x * x, 1..=4)
    ///     .unordered()
    ///     .try_fold(0, |sum, x| async move { Ok(sum + x) })
    ///     .await?;
    /// assert_eq!(sum, 30);
    /// # Ok(()) }
    /// ```
    #[doc(alias = "imap_unordered")]
    pub fn unordered(mut self) -> Self {
        if let Submitted::InOrder(chunks) = &mut self.submitted {
            self.submitted = Submitted::AsCompleted(chunks.drain(..).collect());
        }
        self
    }

    /// How far the stream is: how many items it has yielded, failed ones among them, and of how many. The
    /// total is 0 as long as it is not known: that is when the source's `size_hint` is not exact.
    ///
    /// ```
    /// # use concurrent_futures::{ExecutorExt, ThreadPoolExecutor};
    /// # use futures::StreamExt as _;
    /// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let pool = ThreadPoolExecutor::new()?;
    /// let mut squares = pool.map(|x: u64| x * x, 0..1000);
    /// while let Some(square) = squares.next().await {
    ///     square?;
    ///     let progress = squares.progress();
    ///     assert_eq!(progress.total, 1000);
    ///     if progress.done % 100 == 0 {
    ///         println!("{} of {}", progress.done, progress.total);
    ///     }
    /// }
    /// # Ok(()) }
    /// ```
    pub fn progress(&self) -> Progress {
        let left = self.feed.as_ref().map_or(Some(0), |feed| feed.left());
        Progress {
            done: self.yielded,
            total: left.map_or(0, |left| {
                self.yielded + self.ahead.saturating_add(left) as u64
            }),
        }
    }

    fn name(&self) -> TaskName {
        let given = self
            .options
            .as_ref()
            .and_then(|options| options.name.clone());
        given.map_or(TaskName::Function(self.function), TaskName::Given)
    }

    /// An error of the stream, not of one of its items.
    fn error(&self, cause: Cause) -> TaskError {
        TaskError::new(self.name(), false, cause)
    }

    /// Submits what may be submitted now. Whatever keeps it from submitting more will wake the
    /// task: the source, the wait for room, or an outcome.
    fn submit(&mut self, cx: &mut task::Context<'_>) {
        let mut pulls = PULLS_A_POLL;
        let chunk = self.pace.chunk();
        self.pulling = true;
        while let Some(feed) = &mut self.feed {
            let before = feed.gathered();
            let resume_at = self.pace.buffer().saturating_sub(chunk); // No chunk is larger.
            if before == 0 && self.ahead > resume_at {
                self.pulling = false;
                self.resume_at = resume_at;
                return; // A chunk is begun only if the buffer has room for all of it.
            }
            if pulls == 0 {
                cx.waker().wake_by_ref();
                return;
            }
            let upto = chunk.min(before + pulls);
            let mut dry = false;
            if before < upto && !feed.is_drained() {
                match catch_unwind(AssertUnwindSafe(|| feed.poll_gather(cx, upto))) {
                    Ok(pulled) => dry = pulled.is_pending(),
                    Err(panic) => self.last = Some(Last::Panic(panic)),
                }
            }
            let gathered = feed.gathered();
            pulls -= gathered - before;
            dry |= feed.is_drained();
            match gathered {
                0 if feed.is_drained() => self.feed = None,
                0 => return,
                _ if gathered < chunk && !dry => {} // The next poll pulls the rest.
                _ => match self.poll_room(cx) {
                    Poll::Ready(Ok(room)) => self.send(room),
                    Poll::Ready(Err(refusal)) => {
                        self.feed = None;
                        self.last = Some(Last::Error(refusal.renamed(self.name())));
                    }
                    Poll::Pending => return,
                },
            }
        }
    }

    fn poll_room(&mut self, cx: &mut task::Context<'_>) -> Poll<Result<Room, TaskError>> {
        let wait = self.room.get_or_insert_with(|| {
            let executor = self.executor.clone();
            Box::pin(async move { executor.room().await })
        });
        let room = ready!(wait.as_mut().poll(cx));
        self.room = None;
        Poll::Ready(room)
    }

    fn send(&mut self, room: Room) {
        let Some(feed) = &mut self.feed else { return };
        self.ahead += feed.gathered();
        let ordered = matches!(self.submitted, Submitted::InOrder(_));
        let (job, outcomes) = feed.job(room, ordered, self.options.clone());
        match &mut self.submitted {
            Submitted::InOrder(chunks) => chunks.push_back(outcomes),
            Submitted::AsCompleted(chunks) => chunks.push(outcomes),
        }
        self.executor.spawn_job(job);
    }

    /// The next result of those that are there, if nothing else is to be done before it is yielded.
    fn next_ready(&mut self) -> Option<Result<R, TaskError>> {
        let busy = self.deadline.is_set() || self.pulling && self.feed.is_some();
        if busy || !matches!(self.ready.as_slice().first(), Some(Ok(_))) {
            return None;
        }
        self.take_ready()
    }

    fn take_ready(&mut self) -> Option<Result<R, TaskError>> {
        let outcome = self.ready.next()?;
        self.ahead -= 1;
        self.yielded += 1;
        self.pulling |= self.ahead <= self.resume_at;
        Some(outcome)
    }

    /// The next outcome of all that was submitted; nothing if all have been yielded.
    fn poll_outcome(&mut self, cx: &mut task::Context<'_>) -> Poll<Option<Result<R, TaskError>>> {
        loop {
            if let Some(outcome) = self.take_ready() {
                return Poll::Ready(Some(outcome));
            }
            let turn = ready!(coop::poll_proceed(cx));
            let Some(arrived) = ready!(self.submitted.poll_arrived(cx)) else {
                return Poll::Ready(None);
            };
            turn.made_progress();
            if let Some((items, time)) = arrived.took {
                self.pace.measured(items, time);
            }
            self.ready = arrived.outcomes.into_iter();
        }
    }

    /// Ends the stream: lets go of the source, and cancels what was submitted.
    fn close(&mut self) {
        self.ended = true;
        self.feed = None;
        self.room = None;
        self.ready = Vec::new().into_iter();
        self.submitted.cancel();
    }
}

impl Pace {
    /// How long a chunk should run: many times as long as its way there and back takes.
    const CHUNK_TIME: Duration = Duration::from_millis(1);
    /// The most items of a chunk that nobody asked for, however quick they are.
    const MOST: usize = 8192;
    /// So many times larger than the one before may such a chunk be.
    const GROWTH: usize = 8;
    /// How many items a worker the buffer holds, unless it is told: enough that quick ones can be
    /// sent ahead of the answers.
    const ITEMS: usize = 32;
    /// How many chunks a worker it holds at the least.
    const CHUNKS: usize = 4;

    fn new(workers: usize) -> Self {
        Self {
            chunk_size: None,
            buffer_size: None,
            workers,
            adapted: 1,
            item_time: None,
        }
    }

    /// So many items that travelled together have run, for so long.
    fn measured(&mut self, items: u32, time: Duration) {
        let time = time / items.max(1);
        let average = self.item_time.map_or(time, |average| (average + time) / 2);
        self.item_time = Some(average);
        let fit = Self::CHUNK_TIME.as_nanos() / average.as_nanos().max(1);
        let fit = usize::try_from(fit).unwrap_or(usize::MAX);
        self.adapted = fit.min(self.adapted * Self::GROWTH).clamp(1, Self::MOST);
    }

    fn chunk(&self) -> usize {
        let asked = self.chunk_size.unwrap_or_else(|| match self.buffer_size {
            // A buffer is to have chunks for all workers, and more to follow.
            Some(buffer) => self.adapted.min(buffer / self.workers / 2).max(1),
            None => self.adapted,
        });
        asked.min(self.buffer()).min(MOST_ITEMS as usize - 1)
    }

    fn buffer(&self) -> usize {
        self.buffer_size.unwrap_or_else(|| {
            let chunk = self.chunk_size.unwrap_or(self.adapted);
            let items = chunk.saturating_mul(Self::CHUNKS).max(Self::ITEMS);
            self.workers.saturating_mul(items)
        })
    }

    fn invalid(&self) -> Option<&'static str> {
        if self.chunk_size == Some(0) {
            Some("chunk_size is 0; a chunk needs at least one item")
        } else if self.buffer_size == Some(0) {
            Some("buffer_size is 0; a map needs room for at least one item")
        } else {
            None
        }
    }
}

impl<R> Submitted<R> {
    fn poll_arrived(&mut self, cx: &mut task::Context<'_>) -> Poll<Option<Arrived<R>>> {
        match self {
            Self::AsCompleted(chunks) => chunks.poll_next_unpin(cx),
            Self::InOrder(chunks) => {
                while let Some(first) = chunks.front_mut() {
                    if let Some(arrived) = ready!(first.poll_next_unpin(cx)) {
                        return Poll::Ready(Some(arrived));
                    }
                    chunks.pop_front();
                }
                Poll::Ready(None)
            }
        }
    }

    /// Cancels all of it. No chunk starts because another one has left its worker: all are
    /// forgotten before the first is dropped.
    fn cancel(&mut self) {
        match self {
            Self::InOrder(chunks) => {
                for chunk in chunks.iter() {
                    chunk.forget();
                }
                chunks.clear();
            }
            Self::AsCompleted(chunks) => {
                for chunk in chunks.iter() {
                    chunk.forget();
                }
                chunks.clear();
            }
        }
    }
}

impl<R> Stream for Map<R> {
    type Item = Result<R, TaskError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut task::Context<'_>) -> Poll<Option<Self::Item>> {
        if let Some(outcome) = self.next_ready() {
            return Poll::Ready(Some(outcome));
        }
        if self.ended {
            return Poll::Ready(None);
        }
        if let Some(setting) = self.pace.invalid() {
            self.close();
            let refusal = self.error(Cause::Rejected(Rejection::InvalidSetting(setting.into())));
            return Poll::Ready(Some(Err(refusal)));
        }
        if let Poll::Ready(limit) = self.deadline.poll_passed(cx) {
            self.close();
            return Poll::Ready(Some(Err(self.error(Cause::TimedOut { limit }))));
        }
        self.submit(cx);
        while let Some(outcome) = ready!(self.poll_outcome(cx)) {
            match outcome {
                Err(error) if error.is_shutdown() && !error.was_started() => {
                    self.end_with_error(error)
                }
                outcome => return Poll::Ready(Some(outcome)),
            }
        }
        if self.feed.is_some() {
            return Poll::Pending; // Nothing is ahead: the source or the queue keeps it waiting.
        }
        self.close();
        match self.last.take() {
            None => Poll::Ready(None),
            Some(Last::Error(error)) => Poll::Ready(Some(Err(error))),
            Some(Last::Panic(panic)) => resume_unwind(panic),
        }
    }
}

impl<R> Map<R> {
    /// The executor was shut down after it had given room for a chunk, and ran nothing of it. One
    /// error stands for all items that were not run: in order, no later item was either; without
    /// order, what does end comes first.
    #[cold]
    fn end_with_error(&mut self, error: TaskError) {
        self.feed = None;
        if let Submitted::InOrder(_) = self.submitted {
            self.submitted.cancel();
            self.ready = Vec::new().into_iter();
        }
        self.last = Some(Last::Error(error));
    }
}

impl<R> FusedStream for Map<R> {
    fn is_terminated(&self) -> bool {
        self.ended
    }
}

/// Nothing is pinned in place: what needs to be is boxed.
impl<R> Unpin for Map<R> {}

impl<R> Drop for Map<R> {
    fn drop(&mut self) {
        self.close();
    }
}

impl<R> fmt::Debug for Map<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Map")
            .field("task", &self.name())
            .field("ahead", &self.ahead)
            .field("ended", &self.ended)
            .finish_non_exhaustive()
    }
}
