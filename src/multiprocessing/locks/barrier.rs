//! [`Barrier`]: processes wait for each other.

use std::error::Error;
use std::fmt;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use super::meeting::{BarrierPlace, MOST, Meeting, RoundOutcome, bytes};
use crate::multiprocessing::handle::shared_handle;
use crate::multiprocessing::robust::lock::{RobustGuard, RobustLock};
use crate::multiprocessing::robust::shared::SharedObject;
use crate::multiprocessing::waiting::driver::{InTask, InThread, forever};
use crate::multiprocessing::waiting::wait::WatchedProcesses;
use crate::sys::ProcessIdentity;

/// Lets tasks and threads of all processes pass once a fixed number of them have arrived, again and again.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use concurrent_futures::multiprocessing::Barrier;
///
/// let barrier = Barrier::new(2)?;
/// let other = barrier.clone();
/// let other = tokio::spawn(async move { other.wait().await });
/// let leads = barrier.wait().await?.is_leader();
/// assert_ne!(leads, other.await??.is_leader(), "exactly one is the leader");
/// # Ok(())
/// # }
/// ```
///
/// # When a process ends
/// If it waits at the barrier, the barrier breaks: every waiter returns [`BrokenBarrier`], and so does every
/// later call, until a [`reset`](Self::reset). The barrier knows nothing of a process that has not arrived yet:
/// the others wait for it.
///
/// A process that misuses the memory can keep, release or spoil the barrier, and no more: see
/// [hostile processes](crate::multiprocessing#hostile-processes).
///
/// A process that is forked by other means than this crate has not arrived with its parent: dropping the copy of a
/// future in it has no effect.
///
/// # Cost
/// Two descriptors in each process that has it, and one page of memory for each 250 parties. The waiting tasks of one
/// runtime use one descriptor together, and one for each other process that waits. A waiting thread uses the same
/// number alone. The first arrival of a process wakes the other processes, which then watch that process.
///
/// # Platform
/// Linux.
#[derive(Clone)]
pub struct Barrier(Arc<BarrierInner>);

struct BarrierInner {
    shared: SharedObject,
    robust: RobustLock,
    /// The place that this process took last. The search for the next one starts there.
    last_place: AtomicUsize,
}

/// Returned to each party that passes a [`Barrier`]. For an example see there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BarrierWaitResult {
    is_leader: bool,
}

impl BarrierWaitResult {
    /// Whether this party was the last to arrive. Each round has exactly one leader.
    pub fn is_leader(&self) -> bool {
        self.is_leader
    }
}

/// The [`Barrier`] is broken: a waiting process ended, or a call of `abort` or `reset` ended the round.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct BrokenBarrier;

impl fmt::Display for BrokenBarrier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            "the barrier is broken: a waiting process ended, or it was aborted or reset; \
             `reset` makes it usable again",
        )
    }
}

impl Error for BrokenBarrier {}

impl Barrier {
    /// The maximal number of parties: 65536.
    pub const MAX_PARTIES: usize = MOST;

    /// Creates a barrier for `parties` parties.
    ///
    /// ```
    /// # use concurrent_futures::multiprocessing::Barrier;
    /// assert_eq!(Barrier::new(2)?.parties(), 2);
    /// assert!(Barrier::new(0).is_err());
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    /// No descriptor or no memory is left, or `parties` is 0 or exceeds [`MAX_PARTIES`](Self::MAX_PARTIES).
    pub fn new(parties: usize) -> io::Result<Self> {
        if parties == 0 || parties > MOST {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                format!("a barrier cannot have {parties} parties; use 1 to {MOST}"),
            ));
        }
        let new = Self::of(SharedObject::new(bytes(MOST), bytes(parties))?);
        new.meeting().begin(parties);
        Ok(new)
    }

    fn of(shared: SharedObject) -> Self {
        let make = |shared: SharedObject| BarrierInner {
            robust: shared.robust(),
            shared,
            last_place: AtomicUsize::new(0),
        };
        Self(shared.recognised(make, |inner| &inner.shared))
    }

    fn meeting(&self) -> Meeting<'_> {
        Meeting(self.0.shared.memory())
    }

    /// Waits until all parties have arrived.
    ///
    /// ```
    /// # use concurrent_futures::multiprocessing::Barrier;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let barrier = Barrier::new(2)?;
    /// let (one, other) = tokio::join!(barrier.wait(), barrier.wait());
    /// assert_ne!(one?.is_leader(), other?.is_leader());
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// The barrier is broken, or breaks during the wait.
    ///
    /// # Panics
    /// If it has to wait outside of a tokio runtime, or in one without an I/O driver (`enable_io`).
    ///
    /// # Cancel safety
    /// Dropping the future takes this party's arrival back, unless the others have passed by then.
    pub async fn wait(&self) -> Result<BarrierWaitResult, BrokenBarrier> {
        let mut visit = Visit::new(self);
        let check =
            |held: &mut RobustGuard<'_>, watched: &mut WatchedProcesses| visit.check(held, watched);
        forever(self.0.robust.wait_until(&InTask, check).await)
    }

    /// Like [`wait`](Self::wait), for a thread that may block.
    ///
    /// ```
    /// # fn main() -> std::io::Result<()> {
    /// let barrier = concurrent_futures::multiprocessing::Barrier::new(2)?;
    /// std::thread::scope(|scope| {
    ///     scope.spawn(|| barrier.blocking_wait());
    ///     assert!(barrier.blocking_wait().is_ok());
    /// });
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// Like [`wait`](Self::wait).
    ///
    /// # Panics
    /// On a thread that drives async code.
    pub fn blocking_wait(&self) -> Result<BarrierWaitResult, BrokenBarrier> {
        forever(Visit::new(self).blocking_wait(None))
    }

    /// Like [`blocking_wait`](Self::blocking_wait), but returns `None` after `timeout` and takes this party's
    /// arrival back. (Python breaks the barrier then. Call [`blocking_abort`](Self::blocking_abort) for that.)
    ///
    /// ```
    /// # use concurrent_futures::multiprocessing::Barrier;
    /// # use std::time::Duration;
    /// let barrier = Barrier::new(2)?;
    /// assert!(barrier.blocking_wait_timeout(Duration::from_millis(1)).is_none());
    /// assert_eq!(barrier.waiting(), 0);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    /// Like [`wait`](Self::wait).
    ///
    /// # Panics
    /// On a thread that drives async code.
    pub fn blocking_wait_timeout(
        &self,
        timeout: Duration,
    ) -> Option<Result<BarrierWaitResult, BrokenBarrier>> {
        Visit::new(self).blocking_wait(Some(timeout))
    }

    /// Breaks the barrier until it is reset.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> std::io::Result<()> {
    /// # let barrier = concurrent_futures::multiprocessing::Barrier::new(2)?;
    /// barrier.abort().await;
    /// assert!(barrier.wait().await.is_err());
    /// barrier.reset().await;
    /// assert!(!barrier.is_broken());
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Panics
    /// Like [`wait`](Self::wait), if it has to wait for another call on the barrier.
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub async fn abort(&self) {
        self.break_under(&mut self.0.robust.lock().await);
    }

    /// Like [`abort`](Self::abort), for a thread that may block.
    ///
    /// ```
    /// # use concurrent_futures::multiprocessing::Barrier;
    /// let barrier = Barrier::new(2)?;
    /// barrier.blocking_abort();
    /// assert!(barrier.blocking_wait().is_err());
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Panics
    /// On a thread that drives async code.
    pub fn blocking_abort(&self) {
        let held = self.0.robust.blocking_lock(None);
        self.break_under(&mut held.expect("a wait without a timeout always has a result"));
    }

    /// Starts a new round: current waiters return [`BrokenBarrier`], and later arrivals can pass again.
    ///
    /// ```
    /// # use concurrent_futures::multiprocessing::Barrier;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let barrier = Barrier::new(1)?;
    /// barrier.abort().await;
    /// barrier.reset().await;
    /// assert!(barrier.wait().await.is_ok());
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Panics
    /// Like [`abort`](Self::abort).
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub async fn reset(&self) {
        self.reset_under(&mut self.0.robust.lock().await);
    }

    /// Like [`reset`](Self::reset), for a thread that may block.
    ///
    /// ```
    /// # use concurrent_futures::multiprocessing::Barrier;
    /// let barrier = Barrier::new(1)?;
    /// barrier.blocking_abort();
    /// barrier.blocking_reset();
    /// assert!(barrier.blocking_wait().is_ok());
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Panics
    /// Like [`blocking_abort`](Self::blocking_abort).
    pub fn blocking_reset(&self) {
        let held = self.0.robust.blocking_lock(None);
        self.reset_under(&mut held.expect("a wait without a timeout always has a result"));
    }

    fn break_under(&self, held: &mut RobustGuard<'_>) {
        held.announce();
        self.meeting().break_round();
    }

    fn reset_under(&self, held: &mut RobustGuard<'_>) {
        held.announce();
        self.meeting().reset();
    }

    /// The number of parties that pass together.
    pub fn parties(&self) -> usize {
        self.meeting().parties()
    }

    /// The number of parties that wait at this moment.
    pub fn waiting(&self) -> usize {
        self.meeting().waiting().count()
    }

    /// Whether the barrier is broken.
    ///
    /// ```
    /// # use concurrent_futures::multiprocessing::Barrier;
    /// let barrier = Barrier::new(2)?;
    /// assert!(!barrier.is_broken());
    /// barrier.blocking_abort();
    /// assert!(barrier.is_broken());
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn is_broken(&self) -> bool {
        self.meeting().round().broken
    }
}

/// One party's call of `wait`. Dropping it takes the arrival back.
struct Visit<'a> {
    barrier: &'a Barrier,
    place: Option<BarrierPlace>,
}

type VisitResult = Result<BarrierWaitResult, BrokenBarrier>;

impl<'a> Visit<'a> {
    fn new(barrier: &'a Barrier) -> Self {
        let place = None;
        Self { barrier, place }
    }

    fn blocking_wait(&mut self, timeout: Option<Duration>) -> Option<VisitResult> {
        let (driver, robust) = (InThread::within(timeout), &self.barrier.0.robust);
        InThread::run(robust.wait_until(&driver, |held, watched| self.check(held, watched)))
    }

    fn check(
        &mut self,
        held: &mut RobustGuard<'_>,
        watched: &mut WatchedProcesses,
    ) -> Option<VisitResult> {
        match self.place {
            None => self.enter(held, watched),
            Some(place) => self.stay(held, watched, place),
        }
    }

    fn enter(
        &mut self,
        held: &mut RobustGuard<'_>,
        watched: &mut WatchedProcesses,
    ) -> Option<VisitResult> {
        let (meeting, own) = (self.barrier.meeting(), ProcessIdentity::own());
        if meeting.round().broken {
            return Some(Err(BrokenBarrier));
        }
        if meeting.is_next_the_last() {
            // A dead process must not count: otherwise the others would pass together with a process that has just
            // ended.
            let mut others: Vec<_> = meeting.waiting().collect();
            others.sort();
            others.dedup();
            held.announce();
            if others.into_iter().any(ProcessIdentity::has_ended) {
                meeting.break_round();
                return Some(Err(BrokenBarrier));
            }
            meeting.pass();
            return Some(Ok(BarrierWaitResult { is_leader: true }));
        }
        if let Some(ended) = watched.ended {
            meeting.release_dead(ended);
        }
        let last = self.barrier.0.last_place.load(Ordering::Relaxed);
        let Some(place) = meeting.free_place(last + 1) else {
            meeting.kept().for_each(|owner| watched.watch(owner));
            return None;
        };
        if !meeting.has_arrived(own, last) {
            held.announce(); // The waiters must watch this process.
        }
        self.place = Some(meeting.take_place(place));
        self.barrier.0.last_place.store(place, Ordering::Relaxed);
        self.watch_others(watched);
        None
    }

    fn stay(
        &mut self,
        held: &mut RobustGuard<'_>,
        watched: &mut WatchedProcesses,
        place: BarrierPlace,
    ) -> Option<VisitResult> {
        let meeting = self.barrier.meeting();
        match meeting.outcome(place) {
            Some(RoundOutcome::Passed) => return Some(Ok(BarrierWaitResult { is_leader: false })),
            Some(RoundOutcome::Broken) => return Some(Err(BrokenBarrier)),
            None => {}
        }
        if let Some(ended) = watched.ended
            && meeting.waiting().any(|other| other == ended)
        {
            self.barrier.break_under(held);
            return Some(Err(BrokenBarrier));
        }
        self.watch_others(watched);
        None
    }

    /// One task of a runtime watches for all others, because this takes long with many parties.
    fn watch_others(&self, watched: &mut WatchedProcesses) {
        if watched.leads {
            let others = self.barrier.meeting().waiting();
            others.for_each(|other| watched.watch(other));
        }
    }
}

impl Drop for Visit<'_> {
    fn drop(&mut self) {
        if let Some(place) = self.place.filter(BarrierPlace::is_own)
            && self.barrier.meeting().leave(place)
        {
            self.barrier.0.robust.announce();
        }
    }
}

shared_handle! {
    Barrier as barrier;
    sends barrier.0.shared;
    receives deserializer => SharedObject::receive(deserializer, bytes(MOST)).map(Self::of);
    shows {
        parties: barrier.parties(),
        waiting: barrier.waiting(),
        is_broken: barrier.is_broken(),
    }
}
