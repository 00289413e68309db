//! [`Barrier`]: waiting for each other.

use std::error::Error;
use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::meeting::{BarrierPlace, MOST, Meeting, RoundOutcome, bytes};
use super::robust::{RobustGuard, RobustLock};
use super::shared::SharedObject;
use crate::sys::ProcessIdentity;

/// Lets tasks and threads pass when so many have come, in whatever processes; then so many again.
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
/// assert_ne!(leads, other.await??.is_leader(), "one of them is told that it was the last");
/// # Ok(())
/// # }
/// ```
///
/// # When a process ends
/// If it waits here, the barrier breaks: everybody who waits gets [`BrokenBarrier`], and everybody who comes,
/// until a [`reset`](Self::reset). Of one that has not come yet the barrier knows nothing: it is
/// waited for.
///
/// # What it costs
/// Two descriptors in each process that has it, and memory: a page for each 250 that take part. To come and
/// not to be the last takes a descriptor, and another for each process that waits here too.
/// A process that comes first of its own wakes those who wait, who then watch it.
#[derive(Clone)]
pub struct Barrier(Arc<BarrierInner>);

struct BarrierInner {
    shared: SharedObject,
    robust: RobustLock,
}

/// What tells one of those who have passed a [`Barrier`] together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BarrierWaitResult {
    is_leader: bool,
}

impl BarrierWaitResult {
    /// Whether it was the last to come. One of them was.
    pub fn is_leader(&self) -> bool {
        self.is_leader
    }
}

/// Not everybody will come to the [`Barrier`]: a process has ended that waited there, or somebody has
/// aborted or reset it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct BrokenBarrier;

impl fmt::Display for BrokenBarrier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            "the barrier is broken: a process has ended that waited there, or it was aborted or reset",
        )
    }
}

impl Error for BrokenBarrier {}

impl Barrier {
    /// So many can take part at the most.
    pub const MAX_PARTIES: usize = MOST;

    /// A barrier that so many pass together.
    ///
    /// # Errors
    /// There is no descriptor or no memory left, or `parties` is 0 or more than
    /// [`MAX_PARTIES`](Self::MAX_PARTIES).
    pub fn new(parties: usize) -> io::Result<Self> {
        if parties == 0 || parties > MOST {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                format!("{parties} cannot pass a barrier together: 1 to {MOST} can"),
            ));
        }
        let new = Self::of(SharedObject::new(bytes(MOST), bytes(parties))?);
        new.meeting().begin(parties);
        Ok(new)
    }

    fn of(shared: SharedObject) -> Self {
        let robust = shared.robust();
        Self(Arc::new(BarrierInner { shared, robust }))
    }

    fn meeting(&self) -> Meeting<'_> {
        Meeting(self.0.shared.memory())
    }

    /// Waits until so many have come that all may pass.
    ///
    /// # Errors
    /// The barrier is broken, or breaks meanwhile.
    ///
    /// # Panics
    /// If it has to wait outside of a tokio runtime, or in one without an I/O driver (`enable_io`).
    ///
    /// # Cancel safety
    /// A future that is dropped has not come, unless the others have passed by then.
    pub async fn wait(&self) -> Result<BarrierWaitResult, BrokenBarrier> {
        let mut visit = Visit::new(self);
        self.0.robust.wait_until(|held| visit.look(held)).await
    }

    /// As [`wait`](Self::wait), for a thread.
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
    /// As [`wait`](Self::wait).
    ///
    /// # Panics
    /// If it has to wait in an asynchronous task.
    pub fn blocking_wait(&self) -> Result<BarrierWaitResult, BrokenBarrier> {
        let mut visit = Visit::new(self);
        let outcome = self
            .0
            .robust
            .blocking_wait_until(None, |held| visit.look(held));
        outcome.expect("without a time-out it does not give up")
    }

    /// As [`blocking_wait`](Self::blocking_wait); gives up, and gives nothing, after `timeout`: then it has
    /// not come. (Python's would break the barrier: [`blocking_abort`](Self::blocking_abort) does.)
    ///
    /// # Errors
    /// As [`wait`](Self::wait).
    ///
    /// # Panics
    /// If it has to wait in an asynchronous task.
    pub fn blocking_wait_timeout(
        &self,
        timeout: Duration,
    ) -> Option<Result<BarrierWaitResult, BrokenBarrier>> {
        let mut visit = Visit::new(self);
        let look = |held: &mut RobustGuard<'_>| visit.look(held);
        self.0.robust.blocking_wait_until(Some(timeout), look)
    }

    /// Breaks the barrier, until it is reset.
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
    /// As [`wait`](Self::wait), if another is at the barrier in this very moment.
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub async fn abort(&self) {
        self.break_under(&mut self.0.robust.lock().await);
    }

    /// As [`abort`](Self::abort), for a thread.
    ///
    /// # Panics
    /// In an asynchronous task, if another is at the barrier in this very moment.
    pub fn blocking_abort(&self) {
        let held = self.0.robust.blocking_lock(None);
        self.break_under(&mut held.expect("without a time-out it does not give up"));
    }

    /// Makes it as new: whoever waits gets [`BrokenBarrier`], whoever comes then may pass with others.
    ///
    /// # Panics
    /// As [`abort`](Self::abort).
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub async fn reset(&self) {
        self.reset_under(&mut self.0.robust.lock().await);
    }

    /// As [`reset`](Self::reset), for a thread.
    ///
    /// # Panics
    /// As [`blocking_abort`](Self::blocking_abort).
    pub fn blocking_reset(&self) {
        let held = self.0.robust.blocking_lock(None);
        self.reset_under(&mut held.expect("without a time-out it does not give up"));
    }

    fn break_under(&self, held: &mut RobustGuard<'_>) {
        held.announce();
        self.meeting().break_round();
    }

    fn reset_under(&self, held: &mut RobustGuard<'_>) {
        held.announce();
        self.meeting().reset();
    }

    /// How many pass together.
    pub fn parties(&self) -> usize {
        self.meeting().parties()
    }

    /// How many wait at this moment.
    pub fn waiting(&self) -> usize {
        self.meeting().waiting().count()
    }

    /// Whether it is broken.
    pub fn is_broken(&self) -> bool {
        self.meeting().round().broken
    }
}

/// One who comes to a barrier. Dropping it leaves.
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

    fn look(&mut self, held: &mut RobustGuard<'_>) -> Option<VisitResult> {
        match self.place {
            None => self.enter(held),
            Some(place) => self.stay(held, place),
        }
    }

    fn enter(&mut self, held: &mut RobustGuard<'_>) -> Option<VisitResult> {
        let (meeting, own) = (self.barrier.meeting(), ProcessIdentity::own());
        if meeting.round().broken {
            return Some(Err(BrokenBarrier));
        }
        let is_last = meeting.waiting().count() + 1 >= meeting.parties();
        if is_last {
            // Else they would pass with one who has ended just now.
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
        if let Some(ended) = held.ended() {
            meeting.release_dead(ended);
        }
        let Some(place) = meeting.free_place() else {
            meeting.kept().for_each(|owner| held.watch(owner));
            return None;
        };
        if meeting.waiting().all(|other| other != own) {
            held.announce(); // Those who wait are to watch this process.
        }
        self.place = Some(meeting.take_place(place));
        None
    }

    fn stay(&mut self, held: &mut RobustGuard<'_>, place: BarrierPlace) -> Option<VisitResult> {
        let meeting = self.barrier.meeting();
        match meeting.outcome(place) {
            Some(RoundOutcome::Passed) => return Some(Ok(BarrierWaitResult { is_leader: false })),
            Some(RoundOutcome::Broken) => return Some(Err(BrokenBarrier)),
            None => {}
        }
        let ended = held.ended();
        if meeting.waiting().any(|other| Some(other) == ended) {
            self.barrier.break_under(held);
            return Some(Err(BrokenBarrier));
        }
        meeting.waiting().for_each(|other| held.watch(other));
        None
    }
}

impl Drop for Visit<'_> {
    fn drop(&mut self) {
        if let Some(place) = self.place
            && self.barrier.meeting().leave(place)
        {
            self.barrier.0.robust.announce();
        }
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

/// To a process only: anywhere else it is an error that says so.
impl Serialize for Barrier {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.shared.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Barrier {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        SharedObject::receive(deserializer, bytes(MOST)).map(Self::of)
    }
}
