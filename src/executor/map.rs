//! Many calls as one stream. The stream itself drives them: each poll pulls items from the source,
//! sends them in chunks, and takes the outcomes that have arrived.

use std::any::Any;
use std::collections::VecDeque;
use std::fmt;
use std::panic::resume_unwind;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{self, Poll, ready};
use std::time::Duration;

use futures::future::BoxFuture;
use futures::stream::{FusedStream, SelectAll, Stream, StreamExt as _};
use tokio::task::coop;

use super::chunk::{Arrived, Forgotten, Outcomes};
use super::chunk_wait::ChunkWait;
use super::deadline::Deadline;
use super::error::{Cause, Rejection, TaskError};
use super::feed::Feed;
use super::item_outcomes::{ItemOutcome, ItemOutcomes};
use super::options::{TaskName, TaskOptions};
use super::progress::Progress;
use super::room::Room;
use super::spares::Spares;
use super::token::{CallerToken, TokenWatch};
use crate::panic;

/// The most items of a chunk, whatever chunk size is set.
pub(super) const MOST_ITEMS: usize = (1 << 24) - 1;

/// The most items that one poll pulls before it yields to other tasks of the runtime.
const PULLS_A_POLL: usize = 1024;

/// The results of a function over many items, as a stream. Made by
/// [`ThreadPoolExecutor::map`](crate::ThreadPoolExecutor::map) and
/// [`map_stream`](crate::ThreadPoolExecutor::map_stream), and by the methods of the same names of
/// [`ExecutorExt`](crate::ExecutorExt).
///
/// Results have the order of the items, unless [`unordered`](Self::unordered) is set. An item that fails is an error in
/// its place, and the stream continues. Results of quick items arrive together; none waits for a slow item for more
/// than about 2 ms.
///
/// The stream pulls nothing before the first poll. At most [`buffer_size`](Self::buffer_size) items are pulled and not
/// yet yielded, so the source may be endless. Each chunk waits for room in a bounded queue and is never refused. The
/// task that polls the stream also polls the source: if the source blocks, it blocks that task.
///
/// Dropping the stream cancels what it submitted and did not yield, as [`JoinHandle::abort`](crate::JoinHandle::abort)
/// does. A stream that is kept and not polled may occupy one place in a bounded queue.
///
/// Settings apply from the next poll; set them before the first.
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
/// The error of an item says why that item has no result, and [which item](TaskError::index) it is. The following
/// errors come once and end the stream: `is_timeout()` at the end of [`timeout`](Self::timeout); `is_cancelled()` once
/// the token among the [`options`](Self::options) is cancelled; `is_rejected()` for a setting of 0; `is_shutdown()` if
/// the executor was shut down or dropped before all items were submitted. In the last case the results of earlier items
/// come first.
///
/// # Panics
/// A panic in the source reaches the task that polls the stream, after the results of the items pulled before it. The
/// stream then has ended.
///
/// # Cancel safety
/// Awaiting the next result is cancel safe: a result not yet yielded comes with the next poll.
#[must_use = "a map does nothing until it is polled"]
pub struct Map<R> {
    function: &'static str,
    options: Option<Arc<TaskOptions>>,
    pace: Pace,
    deadline: Deadline,
    /// The wait for the token among the options.
    token: Option<TokenWatch>,
    /// The items that are not submitted; `None` once all are, or none will be.
    feed: Option<Box<dyn Feed<R>>>,
    /// The wait for room for the next chunk.
    room: Option<BoxFuture<'static, Result<Room, TaskError>>>,
    /// Whether the next poll should submit more.
    pulling: bool,
    /// Submitting resumes once at most this many items are ahead.
    resume_at: usize,
    submitted: Submitted<R>,
    /// The wait for the next outcomes.
    chunk_wait: ChunkWait,
    /// Outcomes to yield next.
    ready: ItemOutcomes<R>,
    /// The buffers of outcomes that were yielded.
    spares: Spares<Result<R, TaskError>>,
    /// How many items are submitted.
    sent: usize,
    /// How many items are submitted and not yet yielded.
    ahead: usize,
    yielded: u64,
    /// What the stream yields after all outcomes.
    last: Option<Last>,
    ended: bool,
}

/// How many items travel together, and how many may be ahead of the consumer.
struct Pace {
    chunk_size: Option<usize>,
    buffer_size: Option<usize>,
    workers: usize,
    /// How long a chunk should run.
    chunk_time: Duration,
    /// The chunk size if none is set: larger for quicker items.
    adapted: usize,
    /// How long an item runs, as a running average.
    item_time: Option<Duration>,
}

/// The chunks that are not fully yielded.
enum Submitted<R> {
    InOrder(VecDeque<Outcomes<R>>),
    AsCompleted(SelectAll<Outcomes<R>>),
}

/// The last item of a stream, if it is not an outcome.
enum Last {
    Error(TaskError),
    Panic(Box<dyn Any + Send>),
}

impl<R> Map<R> {
    /// A map whose chunks go to an executor with `workers` workers, and should run for `chunk_time`.
    pub(crate) fn new(workers: usize, chunk_time: Duration, feed: impl Feed<R> + 'static) -> Self {
        Self {
            function: feed.function(),
            options: None,
            pace: Pace::new(workers, chunk_time),
            pulling: true,
            resume_at: 0,
            deadline: Deadline::from_now(),
            token: None,
            feed: Some(Box::new(feed)),
            room: None,
            submitted: Submitted::InOrder(VecDeque::new()),
            chunk_wait: ChunkWait::default(),
            ready: ItemOutcomes::none(),
            spares: Spares::default(),
            sent: 0,
            ahead: 0,
            yielded: 0,
            last: None,
            ended: false,
        }
    }

    /// Sets the most items that travel together. A chunk takes one place in the executor's queue. Larger chunks cost
    /// less per item; smaller ones spread better over the workers. If the source is not ready, the chunk is sent with
    /// the items that it has. A chunk is never larger than the buffer. The results are the same for every size.
    ///
    /// Default: as many items as run in about a millisecond, by the measured time of earlier items, and
    /// at most 8192. The first chunk has one item, and so has each chunk of items that take longer.
    /// A worker that spends more than 2 ms on a chunk gives the rest to idle workers, whatever the
    /// size; so a slow item delays no other for long.
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
    /// With 0 the stream yields one error, `is_rejected()`, and ends.
    #[doc(alias = "chunksize")]
    pub fn chunk_size(mut self, items: usize) -> Self {
        self.pace.chunk_size = Some(items);
        self
    }

    /// Sets how many items may be pulled from the source and not yet yielded: those that wait, run, or are done.
    /// Default: 32 items for each worker, or four chunks for each worker if that is more. A buffer size also bounds the
    /// chunk size, unless that is set: the buffer holds two chunks for each worker.
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
    /// With 0 the stream yields one error, `is_rejected()`, and ends.
    #[doc(alias = "buffersize")]
    pub fn buffer_size(mut self, items: usize) -> Self {
        self.pace.buffer_size = Some(items);
        self
    }

    /// Limits the time of the whole stream, counted from the call of `map`. After that time the stream yields one
    /// error, `is_timeout()`, and ends; submitted items are cancelled. Default: no limit.
    ///
    /// To limit the time of each item, set a timeout in the [`options`](Self::options).
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

    /// Sets the options of each item. The `queue_timeout` applies to a whole chunk.
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
        self.token = options.cancel_token.as_ref().map(CallerToken::wait);
        self.options = Some(Arc::new(options));
        self
    }

    /// Yields each result as soon as it arrives, in any order, so that a slow item delays no other.
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

    /// Returns how many items the stream has yielded, including failed ones, and of how many. The total is 0 while it
    /// is unknown: the source's `size_hint` is not exact.
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

    /// An error of the stream itself, not of an item.
    fn error(&self, cause: Cause) -> TaskError {
        TaskError::new(self.name(), false, cause)
    }

    /// Submits as much as it currently may. Whatever stops it wakes the task later: the source, the wait for room, or
    /// an outcome.
    fn submit(&mut self, cx: &mut task::Context<'_>) {
        let mut pulls = PULLS_A_POLL;
        let chunk = self.pace.chunk();
        self.pulling = true;
        while let Some(feed) = &mut self.feed {
            let before = feed.gathered();
            let resume_at = self.pace.buffer().saturating_sub(chunk); // No chunk is larger than this.
            if before == 0 && self.ahead > resume_at {
                self.pulling = false;
                self.resume_at = resume_at;
                return; // A chunk begins only if all of it fits the buffer.
            }
            if pulls == 0 {
                cx.waker().wake_by_ref();
                return;
            }
            let upto = chunk.min(before + pulls);
            let mut dry = false;
            if before < upto && !feed.is_drained() {
                match feed.poll_gather(cx, upto) {
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
        let room = match (&mut self.room, &self.feed) {
            (Some(room), _) => room,
            (none, Some(feed)) => none.insert(feed.room()),
            (None, None) => return Poll::Pending, // There is nothing to send.
        };
        let room = ready!(room.as_mut().poll(cx));
        self.room = None;
        Poll::Ready(room)
    }

    fn send(&mut self, room: Room) {
        let Some(feed) = &mut self.feed else { return };
        let first = self.sent;
        self.ahead += feed.gathered();
        self.sent += feed.gathered();
        let ordered = matches!(self.submitted, Submitted::InOrder(_));
        let submitted = &mut self.submitted;
        feed.send(
            room,
            first,
            ordered,
            self.options.clone(),
            &self.spares,
            &mut |outcomes| match submitted {
                Submitted::InOrder(chunks) => chunks.push_back(outcomes),
                Submitted::AsCompleted(chunks) => chunks.push(outcomes),
            },
        );
    }

    /// The next result that has arrived, if nothing else must happen before it is yielded.
    #[inline]
    fn next_ready(&mut self) -> Option<ItemOutcome<R>> {
        let busy =
            self.deadline.is_set() || self.token.is_some() || self.pulling && self.feed.is_some();
        if busy || !matches!(self.ready.peek(), Some(Ok(_))) {
            return None;
        }
        self.take_ready()
    }

    #[inline]
    fn take_ready(&mut self) -> Option<ItemOutcome<R>> {
        let item = self.ready.next()?;
        self.ahead -= 1;
        self.yielded += 1;
        self.pulling |= self.ahead <= self.resume_at;
        Some(item)
    }

    /// The next outcome; `None` once all are yielded.
    fn poll_outcome(&mut self, cx: &mut task::Context<'_>) -> Poll<Option<ItemOutcome<R>>> {
        loop {
            if let Some(outcome) = self.take_ready() {
                return Poll::Ready(Some(outcome));
            }
            let turn = ready!(coop::poll_proceed(cx));
            let arrived = match self.submitted.poll_arrived(cx) {
                Poll::Ready(Some(arrived)) => arrived,
                Poll::Ready(None) => return Poll::Ready(None),
                Poll::Pending if self.submitted.is_urgent() => return Poll::Pending,
                Poll::Pending => {
                    ready!(self.chunk_wait.poll_over(cx));
                    self.submitted.hurry();
                    continue;
                }
            };
            turn.made_progress();
            self.chunk_wait.renew();
            if let Some((items, time)) = arrived.took {
                self.pace.measured(items, time);
            }
            let arrived = ItemOutcomes::new(arrived.outcomes, arrived.first, arrived.numbers);
            let yielded = std::mem::replace(&mut self.ready, arrived);
            self.spares.keep(yielded.into_buffer());
        }
    }

    /// Ends the stream: cancels what was submitted, then drops the source, the function and the outcomes.
    fn close(&mut self) {
        self.ended = true;
        self.room = None;
        self.token = None;
        let forgotten = self.submitted.cancel();
        self.feed = None;
        panic::contain_drops(self.ready.drain());
        drop(forgotten);
    }
}

impl Pace {
    /// The most items of a chunk whose size is not set.
    const MOST: usize = 8192;
    /// The factor by which a chunk may exceed the one before.
    const GROWTH: usize = 8;
    /// How many items the buffer holds for each worker by default: enough to send quick ones ahead of the outcomes.
    const ITEMS: usize = 32;
    /// The least number of chunks that the buffer holds for each worker.
    const CHUNKS: usize = 4;

    fn new(workers: usize, chunk_time: Duration) -> Self {
        Self {
            chunk_size: None,
            buffer_size: None,
            workers,
            chunk_time,
            adapted: 1,
            item_time: None,
        }
    }

    /// Adapts the chunk size: `items` items of one chunk ran for `time` in all.
    fn measured(&mut self, items: u32, time: Duration) {
        let time = time / items.max(1);
        let average = self.item_time.map_or(time, |average| (average + time) / 2);
        self.item_time = Some(average);
        let fit = self.chunk_time.as_nanos() / average.as_nanos().max(1);
        let fit = usize::try_from(fit).unwrap_or(usize::MAX);
        self.adapted = fit.min(self.adapted * Self::GROWTH).clamp(1, Self::MOST);
    }

    fn chunk(&self) -> usize {
        let asked = self.chunk_size.unwrap_or_else(|| match self.buffer_size {
            // The buffer must hold one chunk that runs and one that follows it for each worker.
            Some(buffer) => self.adapted.min(buffer / self.workers / 2).max(1),
            None => self.adapted,
        });
        asked.min(self.buffer()).min(MOST_ITEMS)
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

    /// Whether each outcome arrives as soon as it is available.
    fn is_urgent(&self) -> bool {
        match self {
            Self::InOrder(chunks) => chunks.front().is_none_or(Outcomes::is_urgent),
            Self::AsCompleted(chunks) => chunks.iter().all(Outcomes::is_urgent),
        }
    }

    /// Requests each outcome that the stream waits for.
    fn hurry(&mut self) {
        match self {
            Self::InOrder(chunks) => chunks.front().into_iter().for_each(Outcomes::hurry),
            Self::AsCompleted(chunks) => chunks.iter().for_each(Outcomes::hurry),
        }
    }

    /// Cancels all chunks. All are forgotten before the first is dropped, so no chunk starts on a worker
    /// that another one frees.
    /// Returns the outcomes that the stream has not yielded.
    fn cancel(&mut self) -> Vec<Forgotten<R>> {
        match self {
            Self::InOrder(chunks) => {
                let forgotten = chunks.iter().map(Outcomes::forget).collect();
                chunks.clear();
                forgotten
            }
            Self::AsCompleted(chunks) => {
                let forgotten = chunks.iter().map(Outcomes::forget).collect();
                chunks.clear();
                forgotten
            }
        }
    }
}

impl<R> Map<R> {
    /// The next outcome of an item, or the error of the stream itself.
    pub(super) fn poll_item(
        &mut self,
        cx: &mut task::Context<'_>,
    ) -> Poll<Option<Result<ItemOutcome<R>, TaskError>>> {
        if let Some(item) = self.next_ready() {
            return Poll::Ready(Some(Ok(item)));
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
        if let Some(token) = &mut self.token
            && token.poll_cancelled(cx).is_ready()
        {
            self.close();
            return Poll::Ready(Some(Err(self.error(Cause::Cancelled))));
        }
        self.submit(cx);
        while let Some(ItemOutcome { index, outcome }) = ready!(self.poll_outcome(cx)) {
            let outcome = match outcome {
                Err(error) if error.is_shutdown() && !error.was_started() => {
                    self.end_with_error(error);
                    continue;
                }
                outcome => outcome.map_err(|error| error.at(index)),
            };
            return Poll::Ready(Some(Ok(ItemOutcome { index, outcome })));
        }
        if self.feed.is_some() {
            return Poll::Pending; // No item is ahead: the stream waits for the source or the queue.
        }
        self.close();
        match self.last.take() {
            None => Poll::Ready(None),
            Some(Last::Error(error)) => Poll::Ready(Some(Err(error))),
            Some(Last::Panic(panic)) => resume_unwind(panic),
        }
    }
}

impl<R> Stream for Map<R> {
    type Item = Result<R, TaskError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut task::Context<'_>) -> Poll<Option<Self::Item>> {
        let item = ready!(self.poll_item(cx));
        Poll::Ready(item.map(|item| item.and_then(|item| item.outcome)))
    }
}

impl<R> Map<R> {
    /// The executor was shut down after it gave room for a chunk and before it ran any of it. One
    /// error stands for all items that did not run. In order, no later item ran either; without
    /// order, the outcomes of others come first.
    #[cold]
    fn end_with_error(&mut self, error: TaskError) {
        self.feed = None;
        if let Submitted::InOrder(_) = self.submitted {
            drop(self.submitted.cancel());
            panic::contain_drops(self.ready.drain());
        }
        self.last = Some(Last::Error(error));
    }
}

impl<R> FusedStream for Map<R> {
    fn is_terminated(&self) -> bool {
        self.ended
    }
}

/// No field is pinned in place: what must be pinned is boxed.
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

#[cfg(all(test, not(properties)))]
mod tests {
    use super::*;

    #[test]
    fn a_chunk_has_as_many_items_as_run_in_the_time_of_its_executor() {
        for (chunk_time, items) in [(1, 10), (20, 200)] {
            let mut pace = Pace::new(4, Duration::from_millis(chunk_time));
            for _ in 0..4 {
                pace.measured(1, Duration::from_micros(100));
            }
            assert_eq!(pace.chunk(), items);
        }
    }
}
