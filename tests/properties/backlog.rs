use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::TaskOptions;

/// Some items of a ticket, and a value that reports when it is dropped.
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

/// The model of the backlog: everything that waits, in order.
#[derive(Default)]
struct Model(Vec<TestEntry>);

impl Model {
    fn push(&mut self, entry: TestEntry) {
        self.0.push(entry);
        self.0.sort_by_key(|TestEntry(ticket, first, _)| {
            (Reverse(ticket.options().priority), ticket.id(), *first)
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

/// In whatever order entries are cancelled, there are few gaps.
#[test]
fn a_cancelled_task_leaves_no_entry_and_no_place_behind() {
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
        assert_eq!(Arc::strong_count(&tickets[at]), 1, "it is dropped");
        let lanes = || std::iter::once(&backlog.top).chain(backlog.lower.values());
        let places: usize = lanes().map(|lane| lane.places.len()).sum();
        assert!(places <= 2 * (tickets.len() - done) + 1);
        let memory: usize = lanes().map(|lane| lane.places.capacity()).sum();
        assert!(memory <= LARGE.max(32 * (tickets.len() - done)));
    }
    assert!(backlog.top.is_empty() && backlog.lower.is_empty());
}
