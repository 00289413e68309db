//! Work that waits for a worker: by priority, then in the order of submission. What is cancelled
//! leaves at once. (How much may wait is not decided here: each entry brings its
//! [`Room`](crate::Room).)

use std::cmp::Reverse;
use std::collections::BTreeMap;

use crate::executor::promise::Ticket;

/// The place of an entry: high priorities first, then early tickets, then early items of a ticket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Place(Reverse<i32>, u64, u32);

/// What can wait in a backlog.
pub(crate) trait Pending {
    fn ticket(&self) -> &Ticket;

    /// The number of its first item within its ticket.
    fn first_item(&self) -> u32;

    fn items(&self) -> u32;
}

#[derive(Debug)]
pub(crate) struct Backlog<T> {
    entries: BTreeMap<Place, T>,
    items: usize,
}

impl<T> Default for Backlog<T> {
    fn default() -> Self {
        Self {
            entries: BTreeMap::new(),
            items: 0,
        }
    }
}

impl<T: Pending> Backlog<T> {
    /// Adds an entry. One that comes back, because its worker died before it started it, gets its
    /// old place again.
    pub(crate) fn push(&mut self, entry: T) {
        self.items += entry.items() as usize;
        let ticket = entry.ticket();
        let place = Place(Reverse(ticket.priority()), ticket.id(), entry.first_item());
        self.entries.insert(place, entry);
    }

    pub(crate) fn pop(&mut self) -> Option<T> {
        let (_, entry) = self.entries.pop_first()?;
        self.items -= entry.items() as usize;
        Some(entry)
    }

    /// Takes out all that waits under a ticket.
    pub(crate) fn remove(&mut self, ticket: &Ticket) -> Vec<T> {
        let priority = Reverse(ticket.priority());
        let places = Place(priority, ticket.id(), 0)..=Place(priority, ticket.id(), u32::MAX);
        let places: Vec<Place> = self
            .entries
            .range(places)
            .map(|(place, _)| *place)
            .collect();
        places.iter().filter_map(|place| self.take(place)).collect()
    }

    fn take(&mut self, place: &Place) -> Option<T> {
        let entry = self.entries.remove(place)?;
        self.items -= entry.items() as usize;
        Some(entry)
    }

    /// Takes everything out, in order.
    pub(crate) fn drain(&mut self) -> Vec<T> {
        self.items = 0;
        std::mem::take(&mut self.entries).into_values().collect()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// How many entries wait.
    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    /// How many items wait: a chunk of a `map` counts as many as it has.
    pub(crate) fn items(&self) -> usize {
        self.items
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use proptest::prelude::*;

    use super::*;
    use crate::TaskOptions;

    struct Entry(Ticket, u32);

    impl Pending for Entry {
        fn ticket(&self) -> &Ticket {
            &self.0
        }

        fn first_item(&self) -> u32 {
            0
        }

        fn items(&self) -> u32 {
            self.1
        }
    }

    fn entry(priority: i32, items: u32) -> Entry {
        Entry(
            Ticket::new(
                "test",
                Some(Arc::new(TaskOptions::new().priority(priority))),
            ),
            items,
        )
    }

    proptest! {
        #[test]
        fn entries_leave_by_priority_then_in_order_and_cancelled_ones_never(
            entries in prop::collection::vec((-2_i32..3, 1_u32..4, any::<bool>()), 0..64),
        ) {
            let mut backlog = Backlog::default();
            let mut expected = Vec::new();
            let mut cancelled = Vec::new();
            for (priority, items, cancel) in entries {
                let entry = entry(priority, items);
                if cancel { cancelled.push((entry.0.id(), priority)) } else { expected.push((priority, entry.0.id(), items)) }
                backlog.push(entry);
            }
            for (id, priority) in cancelled {
                let place = Place(Reverse(priority), id, 0);
                let ticket = backlog.take(&place).expect("it waits").0;
                prop_assert!(backlog.remove(&ticket).is_empty(), "it left already");
            }
            expected.sort_by_key(|(priority, id, _)| (Reverse(*priority), *id));
            prop_assert_eq!(backlog.len(), expected.len());
            prop_assert_eq!(backlog.items(), expected.iter().map(|(.., items)| *items as usize).sum::<usize>());
            for (_, id, _) in expected {
                prop_assert_eq!(backlog.pop().expect("it waits").0.id(), id);
            }
            prop_assert!(backlog.is_empty() && backlog.items() == 0);
        }
    }
}
