//! Work that waits for a worker: by priority, then in the order of submission. Cancelled work leaves
//! at once. The backlog has no bound of its own: each entry brings its [`Room`](crate::Room).

use std::cmp::Reverse;
use std::collections::{BTreeMap, VecDeque};

use crate::executor::promise::Ticket;

/// What can wait in a backlog.
pub(crate) trait Pending {
    fn ticket(&self) -> &Ticket;

    /// The number of its first item within its ticket.
    fn first_item(&self) -> u32;

    fn items(&self) -> u32;
}

/// An entry that leaves, with facts that cost no access to its memory, which another thread may have
/// in its cache.
pub(crate) struct Popped<T> {
    pub(crate) ticket: u64,
    pub(crate) items: u32,
    pub(crate) entry: T,
}

#[derive(Debug)]
pub(crate) struct Backlog<T> {
    /// A lane for each priority with waiting entries, the most urgent first.
    lanes: BTreeMap<Reverse<i32>, PriorityLane<T>>,
    /// The last lane that became empty, kept for its memory: most backlogs fill and empty one lane all
    /// the time.
    spare: PriorityLane<T>,
    len: usize,
    items: usize,
}

impl<T> Default for Backlog<T> {
    fn default() -> Self {
        Self {
            lanes: BTreeMap::new(),
            spare: PriorityLane::default(),
            len: 0,
            items: 0,
        }
    }
}

impl<T: Pending> Backlog<T> {
    /// Adds an entry. An entry whose worker died before it started gets its former place again.
    pub(crate) fn push(&mut self, entry: T) {
        let (ticket, items) = (entry.ticket(), entry.items());
        let number = (ticket.id(), entry.first_item());
        self.len += 1;
        self.items += items as usize;
        let spare = || std::mem::take(&mut self.spare);
        let priority = Reverse(ticket.priority());
        let lane = self.lanes.entry(priority).or_insert_with(spare);
        lane.push(number, items, entry);
    }

    pub(crate) fn pop(&mut self) -> Option<Popped<T>> {
        let mut first = self.lanes.first_entry()?;
        let popped = first.get_mut().pop()?;
        if first.get().is_empty() {
            self.spare = first.remove();
        }
        self.len -= 1;
        self.items -= popped.items as usize;
        Some(popped)
    }

    /// Takes out all entries of a ticket.
    pub(crate) fn remove(&mut self, ticket: &Ticket) -> Vec<T> {
        let priority = Reverse(ticket.priority());
        let Some(lane) = self.lanes.get_mut(&priority) else {
            return Vec::new();
        };
        let removed = lane.remove(ticket.id());
        if lane.is_empty() {
            self.lanes.remove(&priority);
        }
        self.len -= removed.len();
        self.items -= removed
            .iter()
            .map(|entry| entry.items() as usize)
            .sum::<usize>();
        removed
    }

    /// Takes everything out, in order.
    pub(crate) fn drain(&mut self) -> Vec<T> {
        let lanes = std::mem::take(self).lanes.into_values();
        let places = lanes.flat_map(|lane| lane.places);
        places.filter_map(|place| place.entry).collect()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many entries wait.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// How many items wait: a chunk of a `map` counts as many as it has.
    pub(crate) fn items(&self) -> usize {
        self.items
    }
}

/// Entries in the order of their numbers, ticket first, then item. They arrive nearly sorted and leave
/// from the front. A cancelled entry leaves a gap. Neither end is a gap, and at most half of the places
/// are gaps, so the cost of a step does not depend on the length.
#[derive(Debug)]
struct PriorityLane<T> {
    places: VecDeque<BacklogPlace<T>>,
    gaps: usize,
}

#[derive(Debug)]
struct BacklogPlace<T> {
    number: Number,
    items: u32,
    entry: Option<T>,
}

/// The number of a ticket, and of the first item within it.
type Number = (u64, u32);

/// A lane with more places than this frees memory that it no longer needs.
const LARGE: usize = 1024;

impl<T> Default for PriorityLane<T> {
    fn default() -> Self {
        Self {
            places: VecDeque::new(),
            gaps: 0,
        }
    }
}

impl<T> PriorityLane<T> {
    fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    fn push(&mut self, number: Number, items: u32, entry: T) {
        let place = BacklogPlace {
            number,
            items,
            entry: Some(entry),
        };
        if self.places.back().is_none_or(|last| last.number < number) {
            return self.places.push_back(place);
        }
        // Two were submitted at the same time, or one comes back. Its place is near an end.
        let at = self.places.partition_point(|place| place.number < number);
        match &mut self.places[at] {
            gap if gap.number == number && gap.entry.is_none() => {
                *gap = place;
                self.gaps -= 1;
            }
            _ => self.places.insert(at, place),
        }
    }

    fn pop(&mut self) -> Option<Popped<T>> {
        let first = self.places.pop_front()?;
        self.sweep();
        Some(Popped {
            ticket: first.number.0,
            items: first.items,
            entry: first.entry?,
        })
    }

    /// Takes out the entries of a ticket.
    fn remove(&mut self, ticket: u64) -> Vec<T> {
        let start = self.places.partition_point(|place| place.number.0 < ticket);
        let places = self.places.range_mut(start..);
        let removed: Vec<T> = places
            .take_while(|place| place.number.0 == ticket)
            .filter_map(|place| place.entry.take())
            .collect();
        self.gaps += removed.len();
        self.sweep();
        removed
    }

    /// Removes gaps at the ends, all gaps if there are many, and memory that is no longer needed.
    fn sweep(&mut self) {
        let is_gap =
            |place: Option<&BacklogPlace<T>>| place.is_some_and(|place| place.entry.is_none());
        while is_gap(self.places.front()) {
            self.places.pop_front();
            self.gaps -= 1;
        }
        while is_gap(self.places.back()) {
            self.places.pop_back();
            self.gaps -= 1;
        }
        if self.gaps > self.places.len() / 2 {
            self.places.retain(|place| place.entry.is_some());
            self.gaps = 0;
        }
        let capacity = self.places.capacity();
        if capacity > LARGE && self.places.len() < capacity / 8 {
            self.places.shrink_to(capacity / 4);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use proptest::prelude::*;

    use super::*;
    use crate::TaskOptions;

    /// Some items of a ticket, and something that tells when it is dropped.
    #[derive(Clone)]
    struct TestEntry(Arc<Ticket>, u32, u32);

    impl Pending for TestEntry {
        fn ticket(&self) -> &Ticket {
            &self.0
        }

        fn first_item(&self) -> u32 {
            self.1
        }

        fn items(&self) -> u32 {
            self.2
        }
    }

    fn ticket(priority: i32) -> Arc<Ticket> {
        let options = TaskOptions::new().priority(priority);
        Arc::new(Ticket::new("test", Some(Arc::new(options))))
    }

    /// What the backlog is held against: all that waits, in order.
    #[derive(Default)]
    struct Model(Vec<TestEntry>);

    impl Model {
        fn push(&mut self, entry: TestEntry) {
            self.0.push(entry);
            self.0.sort_by_key(|TestEntry(ticket, first, _)| {
                (Reverse(ticket.priority()), ticket.id(), *first)
            });
        }

        fn remove(&mut self, ticket: &Ticket) -> usize {
            let before = self.0.len();
            self.0.retain(|entry| entry.0.id() != ticket.id());
            before - self.0.len()
        }
    }

    #[derive(Clone, Debug)]
    enum BacklogStep {
        Push { ticket: usize, items: u32 },
        Pop,
        GiveBack(usize),
        Remove(usize),
    }

    fn step() -> impl Strategy<Value = BacklogStep> {
        prop_oneof![
            6 => (0_usize..64, 1_u32..4).prop_map(|(ticket, items)| BacklogStep::Push { ticket, items }),
            3 => Just(BacklogStep::Pop),
            1 => (0_usize..64).prop_map(BacklogStep::GiveBack),
            2 => (0_usize..64).prop_map(BacklogStep::Remove),
        ]
    }

    proptest! {
        #[test]
        fn entries_leave_by_priority_then_in_order_and_cancelled_ones_never(
            priorities in prop::collection::vec(-1_i32..2, 64),
            steps in prop::collection::vec(step(), 0..256),
        ) {
            let tickets: Vec<_> = priorities.into_iter().map(ticket).collect();
            let mut next_item = [0; 64];
            let (mut backlog, mut model) = (Backlog::default(), Model::default());
            let mut popped: Vec<TestEntry> = Vec::new();
            for step in steps {
                match step {
                    BacklogStep::Push { ticket, items } => {
                        let entry = TestEntry(tickets[ticket].clone(), next_item[ticket], items);
                        next_item[ticket] += items;
                        backlog.push(entry.clone());
                        model.push(entry);
                    }
                    BacklogStep::Pop => {
                        let entry = backlog.pop().map(|popped| popped.entry);
                        let expected = (!model.0.is_empty()).then(|| model.0.remove(0));
                        let number = |entry: &TestEntry| (entry.0.id(), entry.1);
                        prop_assert_eq!(entry.as_ref().map(number), expected.as_ref().map(number));
                        popped.extend(entry);
                    }
                    BacklogStep::GiveBack(which) if !popped.is_empty() => {
                        let entry = popped.swap_remove(which % popped.len());
                        backlog.push(entry.clone());
                        model.push(entry);
                    }
                    BacklogStep::GiveBack(_) => {}
                    BacklogStep::Remove(ticket) => {
                        let removed = backlog.remove(&tickets[ticket]);
                        prop_assert!(removed.iter().all(|entry| entry.0.id() == tickets[ticket].id()));
                        prop_assert!(removed.is_sorted_by_key(|entry| entry.1));
                        prop_assert_eq!(removed.len(), model.remove(&tickets[ticket]));
                    }
                }
                prop_assert_eq!(backlog.len(), model.0.len());
                prop_assert_eq!(backlog.is_empty(), model.0.is_empty());
                prop_assert_eq!(backlog.items(), model.0.iter().map(|entry| entry.2 as usize).sum::<usize>());
            }
            let left = backlog.drain();
            prop_assert!(left.iter().map(|entry| (entry.0.id(), entry.1)).eq(model.0.iter().map(|entry| (entry.0.id(), entry.1))));
            prop_assert!(backlog.is_empty() && backlog.items() == 0 && backlog.pop().is_none());
        }
    }

    /// Whatever order they are cancelled in, gaps are few.
    #[test]
    fn what_is_cancelled_leaves_neither_itself_nor_a_place_behind() {
        let tickets: Vec<_> = (0..8 * LARGE).map(|_| ticket(0)).collect();
        let mut backlog = Backlog::default();
        for ticket in &tickets {
            backlog.push(TestEntry(ticket.clone(), 0, 1));
        }
        let odd_then_even = (1..tickets.len())
            .step_by(2)
            .chain((0..tickets.len()).step_by(2));
        for (done, at) in (1..).zip(odd_then_even) {
            assert_eq!(backlog.remove(&tickets[at]).len(), 1);
            assert_eq!(Arc::strong_count(&tickets[at]), 1, "it is gone");
            let places: usize = backlog.lanes.values().map(|lane| lane.places.len()).sum();
            assert!(places <= 2 * (tickets.len() - done) + 1);
            let memory: usize = backlog
                .lanes
                .values()
                .map(|lane| lane.places.capacity())
                .sum();
            assert!(memory <= LARGE.max(32 * (tickets.len() - done)));
        }
        assert!(backlog.lanes.is_empty());
    }
}
