//! The seats of an executor: which are taken, and what each does. How many are on their way to work
//! is known, so that nobody is called for a job that another is about to find.

use std::sync::Arc;
use std::thread::Thread;

use crate::executor::promise::Ticket;
use crate::executor::run::SharedChunk;

/// Numbered from 1: a seat that is taken is the first that was free.
#[derive(Default)]
pub(super) struct Seats {
    seats: Vec<SeatState>,
    taken: usize,
    hired: usize,
    coming: usize,
    /// The one that rests for the shortest time, whose thread is the warmest, on top.
    resting: Vec<u64>,
}

#[derive(Default)]
enum SeatState {
    #[default]
    Free,
    /// Waits for its runtime to give it a thread.
    Hired,
    /// On its way to work: called, or awake and looking for something to do.
    Coming,
    Running {
        task: u64,
        /// The chunk of which others may take a part.
        chunk: Option<Arc<dyn SharedChunk>>,
    },
    /// Its thread is parked.
    Resting(Thread),
}

/// How one more seat comes to work.
#[must_use = "nobody comes by himself"]
pub(super) enum ThreadSource {
    /// To be unparked.
    Wake(Thread),
    /// This one is new, and needs a thread.
    Hire(u64),
}

impl Seats {
    /// Calls one more, of so many at the most, unless one is coming already: that one calls the next,
    /// if something is left for it.
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

    /// All that rest are to look around.
    pub(super) fn call_all(&mut self) -> Vec<Thread> {
        let calls = std::iter::from_fn(|| self.call_one(0));
        let threads = calls.filter_map(|call| match call {
            ThreadSource::Wake(thread) => Some(thread),
            ThreadSource::Hire(_) => None,
        });
        threads.collect()
    }

    /// It runs a task from now on.
    pub(super) fn run(&mut self, id: u64, task: u64, chunk: Option<Arc<dyn SharedChunk>>) {
        self.set(id, SeatState::Running { task, chunk });
    }

    /// It looks for something to do. Gives the chunk that it ran, of which it may hold the last part:
    /// that is not to be dropped under the lock.
    pub(super) fn look(&mut self, id: u64) -> Option<Arc<dyn SharedChunk>> {
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

    /// One that rests looks for something to do, though nobody called it.
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

    /// How many run something.
    pub(super) fn running(&self) -> usize {
        self.taken - self.hired - self.coming - self.resting.len()
    }

    pub(super) fn is_running(&self, ticket: &Ticket) -> bool {
        let runs = |seat: &SeatState| matches!(seat, SeatState::Running { task, .. } if *task == ticket.id());
        self.seats.iter().any(runs)
    }

    /// Whether there is a chunk of which something is left.
    pub(super) fn have_parts(&self) -> bool {
        self.chunks().any(|chunk| chunk.unstarted() > 0)
    }

    /// The chunks that are being run.
    pub(super) fn chunks(&self) -> impl Iterator<Item = &Arc<dyn SharedChunk>> {
        self.seats.iter().filter_map(|seat| match seat {
            SeatState::Running { chunk, .. } => chunk.as_ref(),
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
