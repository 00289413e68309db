//! Processes take permits and add them, and some are killed. Each waiter gets a permit, if there is one.

use std::sync::atomic as standard;

use loom::sync::Arc;
use loom::thread;

use super::atomic::{AtomicU64, explore};
use super::mark::Mark;
use super::slot::{PermitSlot, Taken};
use super::system::System;

/// What a process does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Process {
    /// Waits for a permit, and releases it.
    Uses,
    /// Waits for a permit, and is killed while it holds it.
    DiesWithIt,
    /// Waits for a permit, releases it, and is killed before it rings.
    DiesAfterIt,
    /// Takes a permit and makes it absent.
    Forgets,
    /// Adds a permit.
    Adds,
    /// Is killed after it has started to add a permit, and before it rings.
    DiesBeforeItRings,
    /// Is killed after it has started to add a permit, and has rung.
    DiesBeforeItAdds,
    /// Is killed after it has added a permit, and before it rings again.
    DiesAfterItAdded,
}

use Process::{
    Adds, DiesAfterIt, DiesAfterItAdded, DiesBeforeItAdds, DiesBeforeItRings, DiesWithIt, Forgets,
    Uses,
};

/// A process that has ended long ago.
const DEAD: u64 = 8;

struct Semaphore {
    slots: Vec<AtomicU64>,
    waiting: AtomicU64,
    /// How many hold a permit, and how many may.
    users: standard::AtomicUsize,
    most: usize,
    system: System,
}

impl Semaphore {
    fn new(slots: usize, free: usize, most: usize) -> Arc<Self> {
        let semaphore = Self {
            slots: (0..slots).map(|_| AtomicU64::new(0)).collect(),
            waiting: AtomicU64::new(0),
            users: standard::AtomicUsize::new(0),
            most,
            system: System::new(),
        };
        for slot in 0..free {
            assert!(semaphore.slot(slot).begin_to_add(9));
            semaphore.slot(slot).add(9);
        }
        // A process that has ended was about to add the rest.
        for slot in free..slots {
            assert!(semaphore.slot(slot).begin_to_add(DEAD));
        }
        semaphore.system.end(DEAD);
        Arc::new(semaphore)
    }

    fn slot(&self, slot: usize) -> PermitSlot<'_> {
        PermitSlot(&self.slots[slot])
    }

    fn ring(&self) {
        Mark(&self.waiting).answer(|| self.system.ring());
    }

    /// Checks all slots once, as in `permits.rs`.
    fn check_all(&self, own: u64, ended: Option<u64>, watched: &mut Vec<u64>) -> Option<usize> {
        (0..self.slots.len()).find(|slot| self.check_slot(self.slot(*slot), own, ended, watched))
    }

    fn check_slot(
        &self,
        slot: PermitSlot<'_>,
        own: u64,
        ended: Option<u64>,
        watched: &mut Vec<u64>,
    ) -> bool {
        loop {
            match slot.read() {
                None if slot.take(own) => return true,
                None => {}
                Some(Taken::Absent) => return false,
                Some(Taken::Adder(adder)) if Some(adder) == ended => slot.undo(adder),
                Some(Taken::Holder(holder)) if Some(holder) == ended => {
                    let is_ours = slot.seize(holder, own);
                    if is_ours {
                        return true;
                    }
                }
                Some(Taken::Adder(other) | Taken::Holder(other)) => {
                    watched.push(other);
                    return false;
                }
            }
        }
    }

    fn acquire(&self, own: u64) -> usize {
        let free = |slot: &usize| self.slot(*slot).take(own);
        if let Some(slot) = (0..self.slots.len()).find(free) {
            return slot;
        }
        let (mut listener, mut ended) = (self.system.listen(), None);
        loop {
            Mark(&self.waiting).raise();
            let mut watched = Vec::new();
            if let Some(slot) = self.check_all(own, ended, &mut watched) {
                return slot;
            }
            ended = listener.wait(&watched);
        }
    }

    fn begin_to_add(&self, own: u64) -> usize {
        let begun = |slot: &usize| self.begin_to_add_at(self.slot(*slot), own);
        (0..self.slots.len())
            .find(begun)
            .expect("there is one for each who adds")
    }

    /// As in `permits.rs`.
    fn begin_to_add_at(&self, slot: PermitSlot<'_>, own: u64) -> bool {
        loop {
            let begun = match slot.read() {
                Some(Taken::Absent) => slot.begin_to_add(own),
                Some(Taken::Adder(DEAD)) => slot.take_over(DEAD, own),
                _ => return false,
            };
            if begun {
                return true;
            }
        }
    }

    fn run(&self, own: u64, process: Process) {
        match process {
            Uses | DiesWithIt | DiesAfterIt | Forgets => {
                let slot = self.acquire(own);
                let others = self.users.fetch_add(1, standard::Ordering::Relaxed);
                assert!(others < self.most, "there are more users than permits");
                self.users.fetch_sub(1, standard::Ordering::Relaxed);
                match process {
                    Forgets => self.slot(slot).forget(own),
                    DiesWithIt => {}
                    _ => assert!(self.slot(slot).give_back(own)),
                }
            }
            _ => {
                let slot = self.begin_to_add(own);
                if process != DiesBeforeItRings {
                    self.ring();
                    if process != DiesBeforeItAdds {
                        self.slot(slot).add(own);
                    }
                }
            }
        }
        match process {
            Uses | Adds => self.ring(),
            Forgets => {}
            _ => self.system.end(own),
        }
    }
}

/// `slots` slots, `free` of which have a permit at first. At most `most` may be taken at one time.
fn in_every_order(
    preemptions: usize,
    (slots, free, most): (usize, usize, usize),
    processes: &'static [Process],
) {
    explore(preemptions, move || {
        let semaphore = Semaphore::new(slots, free, most);
        let others = processes.iter().enumerate().skip(1);
        let others = others.map(|(number, process)| {
            let semaphore = semaphore.clone();
            thread::spawn(move || semaphore.run(number as u64 + 1, *process))
        });
        let others: Vec<_> = others.collect();
        semaphore.run(1, processes[0]);
        for process in others {
            process.join().unwrap(); // Each ends, or loom finds it waiting forever.
        }
    });
}

#[test]
fn the_permits_of_the_dead_come_back() {
    in_every_order(3, (1, 1, 1), &[Uses, DiesWithIt]);
    in_every_order(3, (1, 1, 1), &[Uses, DiesAfterIt]);
    in_every_order(2, (1, 1, 1), &[Uses, Uses, DiesWithIt]);
    in_every_order(2, (1, 1, 1), &[Uses, DiesAfterIt, DiesWithIt]);
    in_every_order(2, (2, 2, 2), &[Uses, DiesAfterIt, DiesWithIt]);
}

#[test]
fn no_more_processes_than_permits_have_one_and_each_gets_one() {
    in_every_order(2, (1, 1, 1), &[Uses, Uses, Uses]);
    in_every_order(2, (2, 2, 2), &[Uses, Uses, Uses]);
}

#[test]
fn an_added_permit_is_taken_though_its_adder_dies() {
    in_every_order(3, (1, 0, 1), &[Uses, Adds]);
    in_every_order(3, (1, 0, 1), &[Uses, DiesAfterItAdded]);
    in_every_order(2, (1, 0, 1), &[Uses, Uses, DiesAfterItAdded]);
    in_every_order(2, (2, 0, 2), &[Uses, DiesAfterItAdded, DiesAfterItAdded]);
}

#[test]
fn a_process_that_dies_before_it_adds_a_permit_keeps_no_added_one() {
    in_every_order(2, (2, 0, 2), &[Uses, Adds, DiesBeforeItRings]);
    in_every_order(2, (2, 0, 2), &[Uses, Adds, DiesBeforeItAdds]);
    in_every_order(2, (2, 0, 2), &[Uses, DiesAfterItAdded, DiesBeforeItAdds]);
}

#[test]
fn a_forgotten_permit_is_not_taken_until_it_is_added() {
    in_every_order(2, (2, 1, 2), &[Forgets, Adds, Uses]);
}
