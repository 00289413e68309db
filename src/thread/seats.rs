//! The seats of an executor: which are taken, and what each does. How many are on their way to work
//! is known, so that nobody is called for a job that another is about to find.

use std::sync::Arc;
use std::thread::Thread;

use crate::executor::promise::Ticket;
use crate::executor::run::Shared;

/// Numbered from 1: a seat that is taken is the first that was free.
#[derive(Default)]
pub(super) struct Seats {
    seats: Vec<Seat>,
    taken: usize,
    hired: usize,
    coming: usize,
    /// The one that rests for the shortest time, whose thread is the warmest, on top.
    resting: Vec<u64>,
}

#[derive(Default)]
enum Seat {
    #[default]
    Free,
    /// Waits for its runtime to give it a thread.
    Hired,
    /// On its way to work: called, or awake and looking for something to do.
    Coming,
    Running {
        task: u64,
        /// The chunk of which others may take a part.
        chunk: Option<Arc<dyn Shared>>,
    },
    /// Its thread is parked.
    Resting(Thread),
}

impl Seat {
    fn into_chunk(self) -> Option<Arc<dyn Shared>> {
        match self {
            Self::Running { chunk, .. } => chunk,
            _ => None,
        }
    }
}

/// How one more seat comes to work.
#[must_use = "nobody comes by himself"]
pub(super) enum Call {
    /// To be unparked.
    Wake(Thread),
    /// This one is new, and needs a thread.
    Hire(u64),
}

impl Seats {
    /// Calls one more, of so many at the most, unless one is coming already: that one calls the next,
    /// if something is left for it.
    pub(super) fn call(&mut self, most: usize) -> Option<Call> {
        if self.coming > 0 {
            return None;
        }
        self.call_one(most)
    }

    /// Whether one more, of so many at the most, could be called now.
    pub(super) fn can_call(&self, most: usize) -> bool {
        !self.resting.is_empty() || self.hired == 0 && self.taken < most
    }

    fn call_one(&mut self, most: usize) -> Option<Call> {
        if let Some(id) = self.resting.pop() {
            return match self.set(id, Seat::Coming) {
                Seat::Resting(thread) => Some(Call::Wake(thread)),
                _ => None,
            };
        }
        (self.hired == 0 && self.taken < most).then(|| Call::Hire(self.take()))
    }

    fn take(&mut self) -> u64 {
        let free = |seat: &Seat| matches!(seat, Seat::Free);
        let at = self.seats.iter().position(free).unwrap_or_else(|| {
            self.seats.push(Seat::Free);
            self.seats.len() - 1
        });
        let id = at as u64 + 1;
        self.set(id, Seat::Hired);
        id
    }

    /// All that rest are to look around.
    pub(super) fn call_all(&mut self) -> Vec<Thread> {
        let calls = std::iter::from_fn(|| self.call_one(0));
        let threads = calls.filter_map(|call| match call {
            Call::Wake(thread) => Some(thread),
            Call::Hire(_) => None,
        });
        threads.collect()
    }

    /// It runs a task from now on. Gives the chunk that it ran before, if it did.
    pub(super) fn run(
        &mut self,
        id: u64,
        task: u64,
        chunk: Option<Arc<dyn Shared>>,
    ) -> Option<Arc<dyn Shared>> {
        // From one task to the next, as most often, nothing else changes.
        let now = Seat::Running { task, chunk };
        match &mut self.seats[id as usize - 1] {
            before @ Seat::Running { .. } => std::mem::replace(before, now),
            _ => self.set(id, now),
        }
        .into_chunk()
    }

    /// It looks for something to do. Gives the chunk that it ran.
    pub(super) fn look(&mut self, id: u64) -> Option<Arc<dyn Shared>> {
        self.set(id, Seat::Coming).into_chunk()
    }

    pub(super) fn rest(&mut self, id: u64, thread: Thread) {
        self.set(id, Seat::Resting(thread));
        self.resting.push(id);
    }

    pub(super) fn is_resting(&self, id: u64) -> bool {
        self.resting.contains(&id)
    }

    /// One that rests looks for something to do, though nobody called it.
    pub(super) fn rise(&mut self, id: u64) {
        self.resting.retain(|resting| *resting != id);
        self.set(id, Seat::Coming);
    }

    pub(super) fn leave(&mut self, id: u64) {
        self.resting.retain(|resting| *resting != id);
        self.set(id, Seat::Free);
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
        let runs = |seat: &Seat| matches!(seat, Seat::Running { task, .. } if *task == ticket.id());
        self.seats.iter().any(runs)
    }

    /// Whether there is a chunk of which something is left.
    pub(super) fn have_parts(&self) -> bool {
        self.chunks().any(|chunk| chunk.unbegun() > 0)
    }

    /// The chunks that are being run.
    pub(super) fn chunks(&self) -> impl Iterator<Item = &Arc<dyn Shared>> {
        self.seats.iter().filter_map(|seat| match seat {
            Seat::Running { chunk, .. } => chunk.as_ref(),
            _ => None,
        })
    }

    fn set(&mut self, id: u64, seat: Seat) -> Seat {
        let place = &mut self.seats[id as usize - 1];
        let before = std::mem::replace(place, seat);
        let count = |total: usize, counts: fn(&Seat) -> bool| {
            total + usize::from(counts(place)) - usize::from(counts(&before))
        };
        self.taken = count(self.taken, |seat| !matches!(seat, Seat::Free));
        self.hired = count(self.hired, |seat| matches!(seat, Seat::Hired));
        self.coming = count(self.coming, |seat| matches!(seat, Seat::Coming));
        before
    }
}
