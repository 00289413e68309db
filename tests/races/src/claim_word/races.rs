//! A worker runs the items of a call while its parent interferes. In every order of their steps, each item runs once,
//! in the process that may run it.

use std::collections::BTreeSet;
use std::sync::{Mutex, atomic as standard};

use loom::cell::UnsafeCell;
use loom::sync::{Arc, mpsc};
use loom::thread;

use super::atomic::AtomicU64;
use super::claim::{Claim, ClaimSlot, Stage};

/// How many items a call has.
const ITEMS: u32 = 3;

/// An item. Loom checks that no thread accesses it while another may do so.
struct Item {
    memory: UnsafeCell<()>,
    runs: standard::AtomicU32,
}

impl Item {
    fn new() -> Self {
        Self {
            memory: UnsafeCell::new(()),
            runs: standard::AtomicU32::new(0),
        }
    }

    fn run(&self) {
        self.memory.with_mut(|_| ());
        self.runs.fetch_add(1, standard::Ordering::Relaxed);
    }

    /// Call this only when its run has ended.
    fn read_outcome(&self) {
        self.memory.with(|_| ());
    }

    fn runs(&self) -> u32 {
        self.runs.load(standard::Ordering::Relaxed)
    }
}

struct Call {
    word: AtomicU64,
    items: Vec<Item>,
}

impl Call {
    fn offer() -> Arc<Self> {
        let call = Self {
            word: AtomicU64::new(0),
            items: (0..ITEMS).map(|_| Item::new()).collect(),
        };
        call.slot().offer(0);
        Arc::new(call)
    }

    fn slot(&self) -> ClaimSlot<'_> {
        ClaimSlot::new(&self.word, 1)
    }

    fn item(&self, item: u32) -> &Item {
        &self.items[item as usize]
    }

    /// Runs the worker. Returns true if it must end.
    fn work(&self, pace: Pace) -> bool {
        let slot = self.slot();
        let mut item = 0;
        while item < ITEMS && slot.claim(item) {
            self.item(item).run();
            while pace == Pace::GoesOn && item + 1 < ITEMS && slot.start_next(item) {
                item += 1;
                self.item(item).run();
            }
            if !slot.finish(item) {
                return true;
            }
            item += 1;
        }
        false
    }
}

/// How a worker gets from one item to the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Pace {
    Finishes,
    GoesOn,
}

/// What the parent does.
#[derive(Clone, Copy, Debug)]
enum Step {
    Stop,
    StopAtOnce,
    Withdraw,
    Cut,
    Warn,
    Condemn,
}

use Pace::{Finishes, GoesOn};
use Step::{Condemn, Cut, Stop, StopAtOnce, Warn, Withdraw};

const STEPS: [Step; 6] = [Stop, StopAtOnce, Withdraw, Cut, Warn, Condemn];

/// The parent of the worker, and what it knows.
struct Parent<'a> {
    call: &'a Call,
    /// The items from this one on belong to the parent again.
    taken: Option<u32>,
    condemned: bool,
}

impl<'a> Parent<'a> {
    fn new(call: &'a Call) -> Self {
        Self {
            call,
            taken: None,
            condemned: false,
        }
    }

    fn take(&mut self, step: Step) {
        let slot = self.call.slot();
        let found = match step {
            Stop => slot.stop(false),
            StopAtOnce => slot.stop(true),
            Cut => slot.cut(),
            Withdraw if slot.withdraw() => return self.run_elsewhere(0),
            Withdraw => return,
            Warn | Condemn => slot.read(),
        };
        let found = found.expect("an honest worker");
        self.condemned |= found.stage == Stage::Condemned;
        self.read_what_ended(found);
        match (step, found.stage) {
            (Stop | StopAtOnce | Cut, Stage::Offered) => self.run_elsewhere(found.item),
            (Stop | StopAtOnce | Cut, Stage::Done) => self.run_elsewhere(found.item + 1),
            (Cut, Stage::Running | Stage::Overdue) => self.run_elsewhere(found.item + 1),
            (Stop | StopAtOnce, _) if found.is_running() => self.run_elsewhere(found.item + 1),
            (Condemn, _) if found.is_running() => {
                self.condemned |= slot.condemn(found.item);
                match self.condemned {
                    true => self.run_elsewhere(found.item + 1),
                    false => assert_ne!(slot.read(), Ok(found), "it has ended"),
                }
            }
            (Warn, _) if found.is_running() => drop(slot.warn(found.item)),
            _ => {}
        }
    }

    fn read_what_ended(&self, found: Claim) {
        let ended = found.item + u32::from(found.stage == Stage::Done);
        (0..ended).for_each(|item| self.call.item(item).read_outcome());
    }

    /// The word said that the worker will never begin the items from this one on.
    fn run_elsewhere(&mut self, from: u32) {
        if let Some(taken) = self.taken.replace(from) {
            return assert_eq!(taken, from, "it stays as it was said first");
        }
        (from..ITEMS).for_each(|item| self.call.item(item).run());
    }
}

/// Lets a parent take these steps beside a worker, in every order. Returns from which item on the parent could have the
/// items, and whether it could have none.
fn taken(pace: Pace, steps: &[Step]) -> BTreeSet<Option<u32>> {
    let taken = std::sync::Arc::new(Mutex::new(BTreeSet::new()));
    let (ways, steps) = (taken.clone(), steps.to_owned());
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(2); // Two steps without a bound take minutes and show the same.
    model.check(move || {
        let call = Call::offer();
        let theirs = call.clone();
        let worker = thread::spawn(move || theirs.work(pace));
        let mut parent = Parent::new(&call);
        steps.iter().for_each(|step| parent.take(*step));
        let ends = worker.join().expect("no panic");
        let said = (pace, &steps, parent.taken);
        assert_eq!(ends, parent.condemned, "{said:?}");
        let runs: Vec<u32> = call.items.iter().map(Item::runs).collect();
        assert_eq!(runs, [1; ITEMS as usize], "{said:?}");
        ways.lock().expect("no panic").insert(parent.taken);
    });
    std::mem::take(&mut *taken.lock().expect("no panic"))
}

const NONE: Option<u32> = None;

#[test]
fn a_stopped_group_starts_no_further_item() {
    let any = BTreeSet::from([Some(0), Some(1), Some(2), Some(3)]);
    for pace in [Finishes, GoesOn] {
        for stop in [Stop, StopAtOnce] {
            assert_eq!(taken(pace, &[stop]), any);
            assert_eq!(taken(pace, &[Warn, stop]), any);
            assert_eq!(taken(pace, &[Stop, stop]), any);
        }
    }
}

#[test]
fn a_call_is_withdrawn_before_it_begins_or_not_at_all() {
    for pace in [Finishes, GoesOn] {
        assert_eq!(taken(pace, &[Withdraw]), [NONE, Some(0)].into());
    }
}

#[test]
fn items_cut_off_never_run_and_earlier_items_have_ended() {
    let any = BTreeSet::from([Some(0), Some(1), Some(2), Some(3)]);
    for pace in [Finishes, GoesOn] {
        assert_eq!(taken(pace, &[Cut]), any);
        assert_eq!(taken(pace, &[Warn, Cut]), any);
        assert_eq!(taken(pace, &[Cut, Cut]), any, "one is enough");
    }
}

#[test]
fn a_condemned_item_is_the_last_of_its_worker() {
    for pace in [Finishes, GoesOn] {
        let any = BTreeSet::from([NONE, Some(1), Some(2), Some(3)]);
        assert_eq!(taken(pace, &[Condemn]), any);
        assert_eq!(taken(pace, &[Warn, Condemn]), any);
        let stopped = BTreeSet::from([Some(0), Some(1), Some(2), Some(3)]);
        assert_eq!(taken(pace, &[Stop, Condemn]), stopped);
    }
}

#[test]
fn an_overdue_item_costs_no_other() {
    for pace in [Finishes, GoesOn] {
        assert_eq!(taken(pace, &[Warn, Warn]), [NONE].into());
    }
}

#[test]
fn whatever_the_parent_says_in_whatever_order_each_item_runs_once() {
    for first in STEPS {
        for second in STEPS {
            for third in STEPS {
                for pace in [Finishes, GoesOn] {
                    let ways = taken(pace, &[first, second, third]);
                    assert!(!ways.is_empty());
                }
            }
        }
    }
}

/// The parent has the outcome from the socket, perhaps before the worker marks it in the word.
#[test]
fn a_slot_that_is_given_to_another_call_is_left_alone_by_the_one_before() {
    loom::model(|| {
        let word = Arc::new(AtomicU64::new(0));
        let (outcome, outcomes) = mpsc::channel();
        let (call, calls) = mpsc::channel();
        let theirs = word.clone();
        let worker = thread::spawn(move || {
            while let Ok(Some(seq)) = calls.recv() {
                let slot = ClaimSlot::new(&theirs, seq);
                assert!(slot.claim(0), "it is not revoked");
                outcome.send(seq).expect("the parent waits");
                assert!(slot.finish(0), "none is condemned");
            }
        });
        for seq in [1, 65] {
            ClaimSlot::new(&word, seq).offer(0);
            call.send(Some(seq)).expect("the worker waits");
            assert_eq!(outcomes.recv(), Ok(seq));
        }
        call.send(None).expect("the worker waits");
        worker.join().expect("no panic");
        let last = ClaimSlot::new(&word, 65).read().expect("it is its own");
        assert_eq!((last.seq, last.stage), (65, Stage::Done));
    });
}

/// The worker reaches the revoked call when the slot already belongs to another call.
#[test]
fn a_revoked_call_does_not_run_in_place_of_the_one_that_has_its_slot() {
    loom::model(|| {
        let word = Arc::new(AtomicU64::new(0));
        ClaimSlot::new(&word, 1).offer(0);
        let theirs = word.clone();
        let worker =
            thread::spawn(move || [1, 65].map(|seq| ClaimSlot::new(&theirs, seq).claim(0)));
        let was_revoked = ClaimSlot::new(&word, 1).withdraw();
        if was_revoked {
            ClaimSlot::new(&word, 65).offer(0);
        }
        let [first, second] = worker.join().expect("no panic");
        assert_ne!(first, was_revoked);
        assert!(was_revoked || !second);
    });
}
