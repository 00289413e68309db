//! Work that waits for a worker, by priority and then in the order of submission. Cancelled work leaves at
//! once. The backlog has no limit of its own: each entry holds its [`Room`](crate::Room).

use std::cmp::{Ordering, Reverse};
use std::collections::{BTreeMap, VecDeque};
use std::mem;

use crate::executor::promise::Ticket;

/// An entry of a backlog.
pub(crate) trait Pending {
    fn ticket(&self) -> &Ticket;

    /// The number of the entry's first item within its ticket.
    fn first_item(&self) -> u32;

    fn items(&self) -> u32;
}

/// An entry that leaves. The number and count are copied beside it, because its own memory may be in another thread's
/// cache.
pub(crate) struct Popped<T> {
    pub(crate) ticket: u64,
    pub(crate) items: u32,
    pub(crate) entry: T,
}

#[derive(Debug)]
pub(crate) struct Backlog<T> {
    /// The most urgent entries. It is empty only if the backlog is. Most backlogs have this lane alone, which fills and
    /// empties all the time.
    top: PriorityLane<T>,
    top_priority: i32,
    /// A lane for each other priority that has entries, the most urgent first.
    lower: BTreeMap<Reverse<i32>, PriorityLane<T>>,
    /// The last lane that another replaced, kept for its memory.
    spare: PriorityLane<T>,
    len: usize,
    items: usize,
}

impl<T> Default for Backlog<T> {
    fn default() -> Self {
        Self {
            top: PriorityLane::default(),
            top_priority: 0,
            lower: BTreeMap::new(),
            spare: PriorityLane::default(),
            len: 0,
            items: 0,
        }
    }
}

impl<T: Pending> Backlog<T> {
    /// Adds an entry. An entry whose worker died before it started gets its former place again.
    #[inline]
    pub(crate) fn push(&mut self, entry: T) {
        let (ticket, items) = (entry.ticket(), entry.items());
        self.len += 1;
        self.items += items as usize;
        let (ticket, priority) = (ticket.id(), ticket.options().priority);
        self.lane(priority).push(BacklogPlace {
            ticket,
            first_item: entry.first_item(),
            items,
            entry: Some(entry),
        });
    }

    /// The lane that an entry of this priority joins.
    #[inline]
    fn lane(&mut self, priority: i32) -> &mut PriorityLane<T> {
        if self.top.is_empty() {
            self.top_priority = priority;
        }
        let mut spare = || mem::take(&mut self.spare);
        match priority.cmp(&self.top_priority) {
            Ordering::Equal => {}
            Ordering::Greater => {
                let before = mem::replace(&mut self.top_priority, priority);
                let lane = mem::replace(&mut self.top, spare());
                self.lower.insert(Reverse(before), lane);
            }
            Ordering::Less => {
                let lane = self.lower.entry(Reverse(priority));
                return lane.or_insert_with(spare);
            }
        }
        &mut self.top
    }

    /// Makes the next lane the top one if that is empty.
    #[inline]
    fn refill(&mut self) {
        if self.top.is_empty()
            && let Some((Reverse(priority), next)) = self.lower.pop_first()
        {
            self.spare = mem::replace(&mut self.top, next);
            self.top_priority = priority;
        }
    }

    /// The priority of the entry that is next, if there is one.
    #[cfg(feature = "process")]
    pub(crate) fn top_priority(&self) -> Option<i32> {
        (self.len > 0).then_some(self.top_priority)
    }

    #[inline]
    pub(crate) fn pop(&mut self) -> Option<Popped<T>> {
        let popped = self.top.pop()?;
        self.refill();
        self.len -= 1;
        self.items -= popped.items as usize;
        Some(popped)
    }

    /// Takes out all entries of a ticket.
    pub(crate) fn remove(&mut self, ticket: &Ticket) -> Vec<T> {
        let priority = ticket.options().priority;
        let lane = match priority == self.top_priority {
            true => Some(&mut self.top),
            false => self.lower.get_mut(&Reverse(priority)),
        };
        let Some(lane) = lane else {
            return Vec::new();
        };
        let removed = lane.remove(ticket.id());
        if lane.is_empty() {
            self.lower.remove(&Reverse(priority));
        }
        self.refill();
        self.len -= removed.len();
        self.items -= removed
            .iter()
            .map(|entry| entry.items() as usize)
            .sum::<usize>();
        removed
    }

    /// Removes all entries, in order.
    pub(crate) fn drain(&mut self) -> Vec<T> {
        let Self { top, lower, .. } = mem::take(self);
        let lanes = std::iter::once(top).chain(lower.into_values());
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

    /// How many items wait. A chunk of a `map` counts as its number of items.
    pub(crate) fn items(&self) -> usize {
        self.items
    }
}

/// Entries in the order of their numbers: ticket first, then item. They arrive nearly sorted, and leave
/// from the front. A cancelled entry leaves a gap. Neither end is a gap, and at most half of the places are
/// gaps, so the cost of a step does not grow with the number of entries.
#[derive(Debug)]
struct PriorityLane<T> {
    places: VecDeque<BacklogPlace<T>>,
    gaps: usize,
}

#[derive(Debug)]
struct BacklogPlace<T> {
    ticket: u64,
    /// The number of the first item within the ticket.
    first_item: u32,
    items: u32,
    entry: Option<T>,
}

impl<T> BacklogPlace<T> {
    fn number(&self) -> (u64, u32) {
        (self.ticket, self.first_item)
    }
}

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

    #[inline]
    fn push(&mut self, place: BacklogPlace<T>) {
        let number = place.number();
        if self.places.back().is_none_or(|last| last.number() < number) {
            return self.places.push_back(place);
        }
        self.insert(place);
    }

    #[cold]
    fn insert(&mut self, place: BacklogPlace<T>) {
        let number = place.number();
        // The two entries were submitted at the same time, or this one returns. Its position is near an end.
        let at = self.places.partition_point(|place| place.number() < number);
        match &mut self.places[at] {
            gap if gap.number() == number && gap.entry.is_none() => {
                *gap = place;
                self.gaps -= 1;
            }
            _ => self.places.insert(at, place),
        }
    }

    #[inline]
    fn pop(&mut self) -> Option<Popped<T>> {
        let first = self.places.pop_front()?;
        self.sweep();
        Some(Popped {
            ticket: first.ticket,
            items: first.items,
            entry: first.entry?,
        })
    }

    /// Takes out the entries of a ticket.
    fn remove(&mut self, ticket: u64) -> Vec<T> {
        let start = self.places.partition_point(|place| place.ticket < ticket);
        let places = self.places.range_mut(start..);
        let removed: Vec<T> = places
            .take_while(|place| place.ticket == ticket)
            .filter_map(|place| place.entry.take())
            .collect();
        self.gaps += removed.len();
        self.sweep();
        removed
    }

    /// Removes gaps at the ends, all gaps if there are many, and memory that is no longer needed.
    #[inline]
    fn sweep(&mut self) {
        if self.gaps > 0 {
            self.sweep_gaps();
        }
        let capacity = self.places.capacity();
        if capacity > LARGE && self.places.len() < capacity / 8 {
            self.places.shrink_to(capacity / 4);
        }
    }

    #[cold]
    fn sweep_gaps(&mut self) {
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
    }
}

#[cfg(all(test, properties))]
#[path = "../tests/properties/backlog.rs"]
mod tests;
