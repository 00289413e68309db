//! A future whose output carries a key: which input an outcome belongs to.

use std::fmt;
use std::pin::Pin;
use std::task::{self, Poll, ready};

use super::handle::JoinHandle;

/// A future with a key: its output is the key and the output of the future. Made by
/// [`JoinHandle::with`], or for any other future by [`Keyed::new`].
///
/// [`as_completed`](crate::as_completed) and [`wait`](crate::wait()) take it as they take a handle.
///
/// ```
/// use concurrent_futures::ThreadPoolExecutor;
///
/// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let pool = ThreadPoolExecutor::new()?;
/// let (word, length) = pool.submit(str::len, "apple").with("apple").await;
/// assert_eq!((word, length?), ("apple", 5));
/// # Ok(()) }
/// ```
///
/// # Panics
/// Polling it again after it returned its output panics, as do [`key`](Self::key) and [`into_parts`](Self::into_parts)
/// then.
///
/// # Cancel safety
/// As its future's: awaiting `&mut` to a keyed handle is cancel safe.
#[must_use = "a dropped handle detaches its task; await it, or keep it to abort the task"]
pub struct Keyed<K, F> {
    /// `None` once it has returned its output.
    key: Option<K>,
    future: F,
}

const OVER: &str = "a Keyed future was used after it returned its key and output";

impl<K, F> Keyed<K, F> {
    /// Gives a future a key.
    ///
    /// ```
    /// use concurrent_futures::{Keyed, ReturnWhen, TaskError, wait};
    ///
    /// # #[tokio::main] async fn main() {
    /// let ready = Keyed::new("one", std::future::ready(Ok::<_, TaskError>(1)));
    /// let waited = wait([ready], ReturnWhen::AllCompleted).await;
    /// assert_eq!(waited.done[0].0, "one");
    /// # }
    /// ```
    pub fn new(key: K, future: F) -> Self {
        let key = Some(key);
        Self { key, future }
    }

    /// Returns the key.
    pub fn key(&self) -> &K {
        self.key.as_ref().expect(OVER)
    }

    /// Returns the future: a handle, to abort its task or to ask for its state.
    ///
    /// ```
    /// use concurrent_futures::ThreadPoolExecutor;
    ///
    /// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let pool = ThreadPoolExecutor::new()?;
    /// let (release, gate) = std::sync::mpsc::channel::<()>();
    /// let keyed = pool.submit(move || drop(gate.recv()), ()).with("slow");
    /// keyed.get_ref().abort();
    /// assert!(keyed.await.1.unwrap_err().is_cancelled());
    /// # drop(release);
    /// # Ok(()) }
    /// ```
    pub fn get_ref(&self) -> &F {
        &self.future
    }

    /// Separates key and future.
    pub fn into_parts(self) -> (K, F) {
        (self.key.expect(OVER), self.future)
    }
}

impl<T> JoinHandle<T> {
    /// Gives the handle a key, so that its outcome says which input it belongs to. The key stays in this process, so it
    /// may have any type.
    ///
    /// ```
    /// use concurrent_futures::{ThreadPoolExecutor, as_completed};
    /// use futures::StreamExt as _;
    ///
    /// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let pool = ThreadPoolExecutor::new()?;
    /// let words = ["apple", "fig"];
    /// let handles = words.map(|word| pool.submit(str::len, word).with(word));
    /// let mut lengths = as_completed(handles);
    /// while let Some((word, length)) = lengths.next().await {
    ///     assert_eq!(length?, word.len());
    /// }
    /// # Ok(()) }
    /// ```
    pub fn with<K>(self, key: K) -> Keyed<K, Self> {
        Keyed::new(key, self)
    }
}

impl<K, F: Future + Unpin> Future for Keyed<K, F> {
    type Output = (K, F::Output);

    fn poll(mut self: Pin<&mut Self>, cx: &mut task::Context<'_>) -> Poll<Self::Output> {
        let output = ready!(Pin::new(&mut self.future).poll(cx));
        let key = self.key.take().expect(OVER);
        Poll::Ready((key, output))
    }
}

/// The key is never pinned, so it need not be `Unpin`.
impl<K, F: Unpin> Unpin for Keyed<K, F> {}

impl<K: fmt::Debug, F: fmt::Debug> fmt::Debug for Keyed<K, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keyed")
            .field("key", &self.key)
            .field("future", &self.future)
            .finish()
    }
}
