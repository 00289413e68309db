//! The seats of an executor: which are taken, and what each does. It counts the seats that are starting to look for
//! work, so that no seat is started for a job that another is about to find.

use std::sync::Arc;
use std::thread::Thread;

use super::runtimes::SubmitterRuntime;
use crate::executor::error::Cause;
use crate::executor::promise::{Promise, Ticket};
use crate::executor::run::SharedChunk;

/// A seat, as its thread knows it.
#[derive(Clone, Copy, Debug)]
pub(super) struct SeatKey {
    /// Seats have numbers from 1.
    pub(super) id: u64,
    pub(super) thread: SeatThread,
}

/// What kind of thread a seat has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SeatThread {
    /// A blocking thread of the first runtime.
    Runtimes,
    /// A thread of the crate's own.
    Own,
}

/// A chunk that a seat runs, and others may share.
pub(super) struct RunningChunk {
    pub(super) chunk: Arc<dyn SharedChunk>,
    pub(super) runtime: SubmitterRuntime,
}

/// A running item that is async: failing it ends it.
#[derive(Clone)]
pub(super) enum RunningFuture {
    One(Arc<dyn Promise>),
    OfChunk(Arc<dyn SharedChunk>),
}

impl RunningFuture {
    /// Fails it. The thread that drives it drops it then.
    pub(super) fn fail(&self, cause: &Cause) {
        match self {
            Self::One(promise) => promise.fail(0, promise.ticket().error(true, cause.clone())),
            Self::OfChunk(chunk) => chunk.fail_running(cause),
        }
    }
}

/// The first free seat is taken first.
#[derive(Default)]
pub(super) struct Seats {
    seats: Vec<SeatState>,
    counts: SeatCounts,
    /// The seat that rests for the shortest time is on top: its caches are the warmest.
    resting: Vec<u64>,
}

#[derive(Default)]
pub(super) enum SeatState {
    #[default]
    Free,
    /// Waits for a thread.
    Hired,
    /// Called, or awake and looking for work.
    Coming,
    Running {
        task: u64,
        work: RunningWork,
    },
    /// Its thread is parked.
    Resting(Thread),
}

/// How many seats are in each state.
#[derive(Default)]
struct SeatCounts {
    free: usize,
    hired: usize,
    coming: usize,
    running: usize,
    resting: usize,
}

impl SeatCounts {
    #[inline]
    fn of(&mut self, state: &SeatState) -> &mut usize {
        match state {
            SeatState::Free => &mut self.free,
            SeatState::Hired => &mut self.hired,
            SeatState::Coming => &mut self.coming,
            SeatState::Running { .. } => &mut self.running,
            SeatState::Resting(_) => &mut self.resting,
        }
    }

    fn taken(&self) -> usize {
        self.hired + self.coming + self.running + self.resting
    }
}

/// What a seat runs, as far as others need to know.
#[derive(Default)]
pub(super) enum RunningWork {
    #[default]
    Plain,
    /// Boxed, since most work is no chunk.
    Chunk(Box<RunningChunk>),
    /// A single task that is async. Boxed, since few are, and the state of a seat changes twice for each task.
    Future(Box<RunningFuture>),
}

/// How one more seat comes to work.
#[must_use = "a seat comes only if it is woken or hired"]
pub(super) enum ThreadSource {
    /// Unpark this thread.
    Wake(Thread),
    /// Start this new seat on a thread.
    Hire(u64),
}

impl Seats {
    /// Calls one more seat, up to `most`, unless one is coming already. That one calls the next, if there
    /// is more work.
    #[inline]
    pub(super) fn call(&mut self, most: usize) -> Option<ThreadSource> {
        if self.counts.coming > 0 {
            return None;
        }
        self.call_one(most)
    }

    #[inline]
    fn call_one(&mut self, most: usize) -> Option<ThreadSource> {
        if let Some(id) = self.resting.pop() {
            return match self.set(id, SeatState::Coming) {
                SeatState::Resting(thread) => Some(ThreadSource::Wake(thread)),
                _ => None,
            };
        }
        let may_hire = self.counts.hired == 0 && self.counts.taken() < most;
        may_hire.then(|| ThreadSource::Hire(self.take()))
    }

    fn take(&mut self) -> u64 {
        let free = |seat: &SeatState| matches!(seat, SeatState::Free);
        let at = self.seats.iter().position(free).unwrap_or_else(|| {
            self.seats.push(SeatState::Free);
            self.counts.free += 1;
            self.seats.len() - 1
        });
        let id = at as u64 + 1;
        self.set(id, SeatState::Hired);
        id
    }

    /// Calls all resting seats.
    pub(super) fn call_all(&mut self) -> Vec<Thread> {
        let calls = std::iter::from_fn(|| self.call_one(0));
        let threads = calls.filter_map(|call| match call {
            ThreadSource::Wake(thread) => Some(thread),
            ThreadSource::Hire(_) => None,
        });
        threads.collect()
    }

    /// Frees the seats that wait for a thread. Those threads find that their seats are not theirs.
    pub(super) fn abandon_hired(&mut self) {
        for id in 1..=self.seats.len() as u64 {
            if let SeatState::Hired = self.seats[id as usize - 1] {
                self.set(id, SeatState::Free);
            }
        }
    }

    /// The seat runs a task from now on.
    #[inline]
    pub(super) fn run(&mut self, id: u64, task: u64, work: RunningWork) {
        self.set(id, SeatState::Running { task, work });
    }

    /// The seat looks for work. Returns its state before; the caller drops it outside the lock, since it may have the
    /// last reference to the work that it ran.
    #[inline]
    pub(super) fn start_search(&mut self, id: u64) -> SeatState {
        self.set(id, SeatState::Coming)
    }

    /// The running items that are async.
    pub(super) fn futures(&self) -> Vec<RunningFuture> {
        let futures = self.running_work().filter_map(|work| match work {
            RunningWork::Future(future) => Some((**future).clone()),
            RunningWork::Chunk(running) if running.chunk.ticket().is_async() => {
                Some(RunningFuture::OfChunk(running.chunk.clone()))
            }
            RunningWork::Chunk(_) | RunningWork::Plain => None,
        });
        futures.collect()
    }

    pub(super) fn rest(&mut self, id: u64, thread: Thread) {
        self.set(id, SeatState::Resting(thread));
        self.resting.push(id);
    }

    pub(super) fn is_resting(&self, id: u64) -> bool {
        self.resting.contains(&id)
    }

    /// A resting seat looks for work without a call.
    pub(super) fn wake_up(&mut self, id: u64) {
        self.resting.retain(|resting| *resting != id);
        self.set(id, SeatState::Coming);
    }

    pub(super) fn leave(&mut self, id: u64) {
        self.resting.retain(|resting| *resting != id);
        self.set(id, SeatState::Free);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.counts.taken() == 0
    }

    pub(super) fn coming(&self) -> usize {
        self.counts.coming
    }

    /// How many seats run a task.
    pub(super) fn running(&self) -> usize {
        self.counts.running
    }

    pub(super) fn is_running(&self, ticket: &Ticket) -> bool {
        let runs = |seat: &SeatState| matches!(seat, SeatState::Running { task, .. } if *task == ticket.id());
        self.seats.iter().any(runs)
    }

    /// Whether a running chunk has items left.
    pub(super) fn have_parts(&self) -> bool {
        self.chunks().any(|chunk| chunk.unstarted() > 0)
    }

    /// The running chunks.
    pub(super) fn chunks(&self) -> impl Iterator<Item = &Arc<dyn SharedChunk>> {
        self.running_chunks().map(|running| &running.chunk)
    }

    /// Splits a part off a running chunk.
    pub(super) fn split(&self) -> Option<RunningChunk> {
        self.running_chunks().find_map(|running| {
            Some(RunningChunk {
                chunk: running.chunk.split()?,
                runtime: running.runtime.clone(),
            })
        })
    }

    fn running_chunks(&self) -> impl Iterator<Item = &RunningChunk> {
        self.running_work().filter_map(|work| match work {
            RunningWork::Chunk(running) => Some(&**running),
            RunningWork::Future(_) | RunningWork::Plain => None,
        })
    }

    fn running_work(&self) -> impl Iterator<Item = &RunningWork> {
        self.seats.iter().filter_map(|seat| match seat {
            SeatState::Running { work, .. } => Some(work),
            _ => None,
        })
    }

    #[inline]
    fn set(&mut self, id: u64, seat: SeatState) -> SeatState {
        *self.counts.of(&seat) += 1;
        let before = std::mem::replace(&mut self.seats[id as usize - 1], seat);
        *self.counts.of(&before) -= 1;
        before
    }
}
