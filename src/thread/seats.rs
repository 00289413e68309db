//! The seats of an executor: which are taken, and what each does. It counts the seats that are coming
//! for work, so that none is called for a job that another is about to find.

use std::sync::Arc;
use std::thread::Thread;

use super::runtimes::SubmitterRuntime;
use crate::executor::promise::Ticket;
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

/// The first free seat is taken first.
#[derive(Default)]
pub(super) struct Seats {
    seats: Vec<SeatState>,
    taken: usize,
    hired: usize,
    coming: usize,
    /// The seat that rests for the shortest time is on top: its caches are the warmest.
    resting: Vec<u64>,
}

#[derive(Default)]
enum SeatState {
    #[default]
    Free,
    /// Waits for a thread.
    Hired,
    /// Called, or awake and looking for work.
    Coming,
    Running {
        task: u64,
        /// One pointer, since most tasks are no chunks.
        chunk: Option<Box<RunningChunk>>,
    },
    /// Its thread is parked.
    Resting(Thread),
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
    pub(super) fn call(&mut self, most: usize) -> Option<ThreadSource> {
        if self.coming > 0 {
            return None;
        }
        self.call_one(most)
    }

    fn call_one(&mut self, most: usize) -> Option<ThreadSource> {
        if let Some(id) = self.resting.pop() {
            return match self.set(id, SeatState::Coming) {
                SeatState::Resting(thread) => Some(ThreadSource::Wake(thread)),
                _ => None,
            };
        }
        (self.hired == 0 && self.taken < most).then(|| ThreadSource::Hire(self.take()))
    }

    fn take(&mut self) -> u64 {
        let free = |seat: &SeatState| matches!(seat, SeatState::Free);
        let at = self.seats.iter().position(free).unwrap_or_else(|| {
            self.seats.push(SeatState::Free);
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
    pub(super) fn run(&mut self, id: u64, task: u64, chunk: Option<Box<RunningChunk>>) {
        self.set(id, SeatState::Running { task, chunk });
    }

    /// The seat looks for work. Returns the chunk that it ran; the caller drops it outside the lock, since
    /// it may be the last reference.
    pub(super) fn look(&mut self, id: u64) -> Option<Box<RunningChunk>> {
        match self.set(id, SeatState::Coming) {
            SeatState::Running { chunk, .. } => chunk,
            _ => None,
        }
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
        self.taken == 0
    }

    pub(super) fn coming(&self) -> usize {
        self.coming
    }

    /// How many seats run a task.
    pub(super) fn running(&self) -> usize {
        self.taken - self.hired - self.coming - self.resting.len()
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
        self.seats.iter().filter_map(|seat| match seat {
            SeatState::Running { chunk, .. } => chunk.as_deref(),
            _ => None,
        })
    }

    fn set(&mut self, id: u64, seat: SeatState) -> SeatState {
        let place = &mut self.seats[id as usize - 1];
        let before = std::mem::replace(place, seat);
        let count = |total: usize, counts: fn(&SeatState) -> bool| {
            total + usize::from(counts(place)) - usize::from(counts(&before))
        };
        self.taken = count(self.taken, |seat| !matches!(seat, SeatState::Free));
        self.hired = count(self.hired, |seat| matches!(seat, SeatState::Hired));
        self.coming = count(self.coming, |seat| matches!(seat, SeatState::Coming));
        before
    }
}
