//! A map whose results come with the keys of their items. The keys stay in this process: `tap` takes them off the
//! source and keeps them, in the order of the items, until the results arrive.

use std::collections::VecDeque;
use std::fmt;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{self, Poll, ready};
use std::time::Duration;

use futures::stream::{FusedStream, Stream, StreamExt as _};

use super::error::TaskError;
use super::map::Map;
use super::options::TaskOptions;
use super::progress::Progress;

/// The results of a function over many items, each with the key of its item. Made by
/// [`map_keyed`](crate::ExecutorExt::map_keyed) of any executor.
///
/// It is a stream as [`Map`] is, with the same order, back-pressure, errors, panics and cancel safety. What it
/// yields has two layers:
///
/// - `Ok((key, outcome))` for each item, including failed ones;
/// - `Err(error)` once, at the end, if the stream itself ends early: at its timeout, after a shutdown, or for an
///   invalid setting. This error belongs to no item.
///
/// So [`try_next`](futures::TryStreamExt::try_next) with `?` yields one `(key, outcome)` after another.
///
/// ```
/// use concurrent_futures::{ExecutorExt, ThreadPoolExecutor};
/// use futures::TryStreamExt as _;
///
/// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let pool = ThreadPoolExecutor::new()?;
/// let inputs = [3_u32, 0, 4];
/// let mut quotients = pool.map_keyed(|n| 12 / n, inputs.map(|n| (n, n))).unordered();
/// while let Some((n, quotient)) = quotients.try_next().await? {
///     match quotient {
///         Ok(quotient) => assert_eq!(quotient * n, 12),
///         Err(error) => assert!(n == 0 && error.is_panic()),
///     }
/// }
/// # Ok(()) }
/// ```
#[must_use = "a map does nothing until it is polled"]
pub struct KeyedMap<K, R> {
    map: Map<R>,
    keys: ItemKeys<K>,
}

impl<K, R> KeyedMap<K, R> {
    /// A map over the second value that [`tap`] returns; `keys` is the first.
    pub(crate) fn new(keys: ItemKeys<K>, map: Map<R>) -> Self {
        Self { map, keys }
    }

    /// As [`Map::chunk_size`].
    pub fn chunk_size(self, items: usize) -> Self {
        self.with(|map| map.chunk_size(items))
    }

    /// As [`Map::buffer_size`].
    pub fn buffer_size(self, items: usize) -> Self {
        self.with(|map| map.buffer_size(items))
    }

    /// As [`Map::timeout`].
    pub fn timeout(self, limit: Duration) -> Self {
        self.with(|map| map.timeout(limit))
    }

    /// As [`Map::options`].
    pub fn options(self, options: TaskOptions) -> Self {
        self.with(|map| map.options(options))
    }

    /// As [`Map::unordered`].
    pub fn unordered(self) -> Self {
        self.with(Map::unordered)
    }

    /// As [`Map::progress`].
    pub fn progress(&self) -> Progress {
        self.map.progress()
    }

    fn with(self, change: impl FnOnce(Map<R>) -> Map<R>) -> Self {
        let Self { map, keys } = self;
        let map = change(map);
        Self { map, keys }
    }
}

impl<K, R> Stream for KeyedMap<K, R> {
    type Item = Result<(K, Result<R, TaskError>), TaskError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut task::Context<'_>) -> Poll<Option<Self::Item>> {
        let item = ready!(self.map.poll_item(cx));
        let keyed = item.map(|item| item.map(|item| (self.keys.take(item.index), item.outcome)));
        Poll::Ready(keyed)
    }
}

impl<K, R> FusedStream for KeyedMap<K, R> {
    fn is_terminated(&self) -> bool {
        self.map.is_terminated()
    }
}

/// No field is pinned in place.
impl<K, R> Unpin for KeyedMap<K, R> {}

impl<K, R> fmt::Debug for KeyedMap<K, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyedMap").field("map", &self.map).finish()
    }
}

/// The keys of the items that a map has pulled and not yet yielded.
pub(crate) struct ItemKeys<K>(Arc<Mutex<KeyWindow<K>>>);

struct KeyWindow<K> {
    /// The position of the first key in the source.
    first: usize,
    /// `None` where a key was taken before an earlier one.
    keys: VecDeque<Option<K>>,
}

/// Keeps the keys of a source, and passes its items on.
pub(crate) fn tap<K, A, S>(source: S) -> (ItemKeys<K>, impl Stream<Item = A> + Send + 'static)
where
    K: Send + 'static,
    A: 'static,
    S: Stream<Item = (K, A)> + Send + 'static,
{
    let window = KeyWindow {
        first: 0,
        keys: VecDeque::new(),
    };
    let keys = ItemKeys(Arc::new(Mutex::new(window)));
    let tapped = ItemKeys(keys.0.clone());
    let items = source.map(move |(key, item)| {
        tapped.lock().keys.push_back(Some(key));
        item
    });
    (keys, items)
}

impl<K> ItemKeys<K> {
    fn lock(&self) -> MutexGuard<'_, KeyWindow<K>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes the key of an item. Each is taken once.
    fn take(&self, index: usize) -> K {
        let mut window = self.lock();
        let place = index - window.first;
        let key = window.keys[place].take();
        while let Some(None) = window.keys.front() {
            window.keys.pop_front();
            window.first += 1;
        }
        key.expect("an item has one outcome")
    }
}
