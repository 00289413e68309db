//! Tasks wait for each other. Each round is a separate object, so a waiter always receives the outcome of its own
//! round.

use std::error::Error;
use std::fmt;
use std::mem;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::task::coop::cooperative;

use super::block::{block_on, block_on_timeout};

/// Lets tasks and threads pass once a fixed number of them have arrived, again and again.
///
/// ```
/// use std::sync::Arc;
/// use concurrent_futures::sync::Barrier;
///
/// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let barrier = Arc::new(Barrier::new(2));
/// let other = barrier.clone();
/// let other = tokio::spawn(async move { other.wait().await });
/// let leads = barrier.wait().await?.is_leader();
/// assert_ne!(leads, other.await??.is_leader(), "exactly one is the leader");
/// # Ok(()) }
/// ```
///
/// In place of Python's `action`, the leader of a round acts, and a second wait then lets all continue.
pub struct Barrier {
    parties: usize,
    current: Mutex<CurrentRound>,
}

struct CurrentRound {
    round: Arc<BarrierRound>,
    /// The parties that wait in the round. 0 if it has ended.
    waiting: usize,
}

#[derive(Default)]
struct BarrierRound {
    /// Set once, when the round ends.
    outcome: OnceLock<Result<(), BrokenBarrier>>,
    ended: Notify,
}

/// Returned to each party that passes a [`Barrier`]. For an example see there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BarrierWaitResult {
    is_leader: bool,
}

/// The [`Barrier`] is broken: a call of [`abort`](Barrier::abort) or [`reset`](Barrier::reset) ended the round.
///
/// ```
/// let barrier = concurrent_futures::sync::Barrier::new(2);
/// barrier.abort();
/// assert!(barrier.blocking_wait().is_err());
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct BrokenBarrier;

impl Barrier {
    /// Creates a barrier for `parties` parties.
    ///
    /// ```
    /// assert_eq!(concurrent_futures::sync::Barrier::new(2).parties(), 2);
    /// ```
    ///
    /// # Panics
    /// If `parties` is 0.
    #[track_caller]
    pub fn new(parties: usize) -> Self {
        assert!(
            parties > 0,
            "the number of parties of a barrier is 0; it must be at least 1"
        );
        Self {
            parties,
            current: Mutex::new(CurrentRound {
                round: Arc::default(),
                waiting: 0,
            }),
        }
    }

    /// Waits until all parties have arrived. To bound the wait, wrap it in [`tokio::time::timeout`].
    ///
    /// ```
    /// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let barrier = concurrent_futures::sync::Barrier::new(2);
    /// let (one, other) = tokio::join!(barrier.wait(), barrier.wait());
    /// assert!(one?.is_leader() != other?.is_leader());
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// The barrier is broken, or breaks during the wait.
    ///
    /// # Cancel safety
    /// Dropping the future takes this party's arrival back, unless the others have already passed.
    pub async fn wait(&self) -> Result<BarrierWaitResult, BrokenBarrier> {
        let arrival = self.arrive();
        // Waiting on a `Notify` alone would let no other task run.
        cooperative(async {
            let arrival = match arrival {
                Ok(arrival) => arrival,
                Err(outcome) => return outcome,
            };
            let passed = arrival.outcome().await;
            passed.map(|()| BarrierWaitResult { is_leader: false })
        })
        .await
    }

    /// Like [`wait`](Self::wait), for a thread that may block.
    ///
    /// ```
    /// let barrier = concurrent_futures::sync::Barrier::new(2);
    /// std::thread::scope(|scope| {
    ///     scope.spawn(|| barrier.blocking_wait());
    ///     assert!(barrier.blocking_wait().is_ok());
    /// });
    /// ```
    ///
    /// # Errors
    /// Like [`wait`](Self::wait).
    ///
    /// # Panics
    /// On a thread that drives async code.
    #[track_caller]
    pub fn blocking_wait(&self) -> Result<BarrierWaitResult, BrokenBarrier> {
        block_on(self.wait())
    }

    /// Like [`blocking_wait`](Self::blocking_wait), but returns `None` after `timeout` and takes this party's arrival
    /// back. (Python breaks the barrier then. Call [`abort`](Self::abort) for that.)
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// let barrier = concurrent_futures::sync::Barrier::new(2);
    /// assert!(barrier.blocking_wait_timeout(Duration::from_millis(1)).is_none());
    /// assert_eq!(barrier.waiting(), 0);
    /// ```
    ///
    /// # Errors
    /// Like [`wait`](Self::wait).
    ///
    /// # Panics
    /// On a thread that drives async code.
    #[track_caller]
    pub fn blocking_wait_timeout(
        &self,
        timeout: Duration,
    ) -> Option<Result<BarrierWaitResult, BrokenBarrier>> {
        block_on_timeout(self.wait(), timeout)
    }

    /// Breaks the barrier until it is reset: current waiters and later arrivals return [`BrokenBarrier`].
    ///
    /// ```
    /// # #[tokio::main] async fn main() {
    /// let barrier = concurrent_futures::sync::Barrier::new(2);
    /// barrier.abort();
    /// assert!(barrier.wait().await.is_err());
    /// barrier.reset();
    /// assert!(!barrier.is_broken());
    /// # }
    /// ```
    pub fn abort(&self) {
        let mut current = self.current();
        current.waiting = 0;
        let round = current.round.clone();
        let is_first = round.end(Err(BrokenBarrier));
        drop(current); // A waker is code of another crate.
        if is_first {
            round.ended.notify_waiters();
        }
    }

    /// Starts a new round: current waiters return [`BrokenBarrier`], and later arrivals can pass again.
    ///
    /// ```
    /// # #[tokio::main] async fn main() {
    /// let barrier = concurrent_futures::sync::Barrier::new(1);
    /// barrier.abort();
    /// barrier.reset();
    /// assert!(barrier.wait().await.is_ok());
    /// # }
    /// ```
    pub fn reset(&self) {
        let round = self.current().next();
        if round.end(Err(BrokenBarrier)) {
            round.ended.notify_waiters();
        }
    }

    /// The number of parties that pass together.
    ///
    /// ```
    /// assert_eq!(concurrent_futures::sync::Barrier::new(2).parties(), 2);
    /// ```
    pub fn parties(&self) -> usize {
        self.parties
    }

    /// The number of parties that wait at this moment.
    ///
    /// ```
    /// let barrier = concurrent_futures::sync::Barrier::new(2);
    /// assert_eq!(barrier.waiting(), 0);
    /// ```
    pub fn waiting(&self) -> usize {
        self.current().waiting
    }

    /// Whether the barrier is broken.
    ///
    /// ```
    /// let barrier = concurrent_futures::sync::Barrier::new(2);
    /// barrier.abort();
    /// assert!(barrier.is_broken());
    /// ```
    pub fn is_broken(&self) -> bool {
        self.current().round.is_broken()
    }

    /// Counts the caller. `Err` if its wait is already over: it is the last party, or the barrier is broken.
    fn arrive(&self) -> Result<Arrival<'_>, Result<BarrierWaitResult, BrokenBarrier>> {
        let mut current = self.current();
        if current.round.is_broken() {
            return Err(Err(BrokenBarrier));
        }
        if current.waiting + 1 < self.parties {
            current.waiting += 1;
            return Ok(Arrival {
                barrier: self,
                round: current.round.clone(),
            });
        }
        let round = current.next();
        round.end(Ok(()));
        drop(current); // A waker is code of another crate.
        round.ended.notify_waiters();
        Err(Ok(BarrierWaitResult { is_leader: true }))
    }

    fn current(&self) -> MutexGuard<'_, CurrentRound> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl CurrentRound {
    /// Starts the next round. Returns the one before.
    fn next(&mut self) -> Arc<BarrierRound> {
        self.waiting = 0;
        mem::take(&mut self.round)
    }
}

impl BarrierRound {
    /// Ends the round, unless it has ended. Returns whether this call did.
    fn end(&self, outcome: Result<(), BrokenBarrier>) -> bool {
        self.outcome.set(outcome).is_ok()
    }

    fn is_broken(&self) -> bool {
        self.outcome.get().is_some_and(Result::is_err)
    }
}

/// A party that has arrived. Dropping it takes the arrival back if its round has not ended.
struct Arrival<'a> {
    barrier: &'a Barrier,
    round: Arc<BarrierRound>,
}

impl Arrival<'_> {
    async fn outcome(self) -> Result<(), BrokenBarrier> {
        loop {
            // From here on it receives the end of the round. If the round ended earlier, the outcome is already stored.
            let ended = self.round.ended.notified();
            if let Some(outcome) = self.round.outcome.get() {
                return *outcome;
            }
            ended.await;
        }
    }
}

impl Drop for Arrival<'_> {
    fn drop(&mut self) {
        if self.round.outcome.get().is_some() {
            return;
        }
        // Under the lock, because the round may end right now.
        let mut current = self.barrier.current();
        if self.round.outcome.get().is_none() && Arc::ptr_eq(&current.round, &self.round) {
            current.waiting -= 1;
        }
    }
}

impl BarrierWaitResult {
    /// Whether this party was the last to arrive. Each round has exactly one leader.
    pub fn is_leader(&self) -> bool {
        self.is_leader
    }
}

impl fmt::Debug for Barrier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Barrier")
            .field("parties", &self.parties())
            .field("waiting", &self.waiting())
            .field("is_broken", &self.is_broken())
            .finish()
    }
}

impl fmt::Display for BrokenBarrier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the barrier is broken: it was aborted or reset; `reset` makes it usable again")
    }
}

impl Error for BrokenBarrier {}
