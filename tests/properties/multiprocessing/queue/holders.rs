//! Random histories of items that processes take, pass on and finish, and of processes that die, against a model that
//! knows where each item is.

use proptest::prelude::*;

use super::*;

const PROCESSES: usize = 4;

/// Processes of another system: none of them is this one.
fn identity(process: usize) -> ProcessIdentity {
    ProcessIdentity::from_word((process as u64 + 1) << 22 | 7).expect("not 0")
}

#[derive(Clone, Debug)]
enum Act {
    Take {
        by: usize,
    },
    TakeWithReceipt {
        by: usize,
    },
    /// A process marks an item that it took.
    Finish {
        by: usize,
    },
    /// Any process marks the item of a receipt.
    FinishWithReceipt {
        which: usize,
    },
    HandOn {
        which: usize,
        to: usize,
    },
    Die {
        who: usize,
    },
    Join,
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let who = || 0..PROCESSES;
    let act = prop_oneof![
        3 => who().prop_map(|by| Act::Take { by }),
        3 => who().prop_map(|by| Act::TakeWithReceipt { by }),
        3 => who().prop_map(|by| Act::Finish { by }),
        3 => (0..8_usize).prop_map(|which| Act::FinishWithReceipt { which }),
        3 => (0..8_usize, who()).prop_map(|(which, to)| Act::HandOn { which, to }),
        1 => who().prop_map(|who| Act::Die { who }),
        2 => Just(Act::Join),
    ];
    prop::collection::vec(act, 1..80)
}

/// The memory and the numbers of a queue, and a model of them.
struct Tried {
    memory: SharedMapping,
    state: RingState,
    /// The number of items that each living process took and has not marked.
    counts: [u64; PROCESSES],
    /// Unfinished items with receipts, and the living processes that have them.
    receipts: Vec<(ItemPlace, usize)>,
    /// Receipts of items that are done or lost, and of items whose loss is not detected yet.
    spent: Vec<ItemPlace>,
    dying: Vec<ItemPlace>,
    /// The number of items that were lost with dead processes and whose loss is not detected yet.
    dead: u64,
    lost: u64,
    /// After its death, a process counts as a different one.
    lives: [usize; PROCESSES],
    ended: Vec<ProcessIdentity>,
}

impl Tried {
    fn new() -> Self {
        let (memory, _) = SharedMapping::create(BASE as usize).expect("memory");
        Self {
            memory,
            state: RingState::default(),
            counts: [0; PROCESSES],
            receipts: Vec::new(),
            spent: Vec::new(),
            dying: Vec::new(),
            dead: 0,
            lost: 0,
            lives: [0; PROCESSES],
            ended: Vec::new(),
        }
    }

    fn holders(&self) -> Holders<'_> {
        Holders(&self.memory)
    }

    fn who(&self, process: usize) -> ProcessIdentity {
        identity(process + PROCESSES * self.lives[process])
    }

    fn before_take(&mut self) {
        if self.state.taken == self.state.done {
            self.holders().forget();
        }
        self.state.put += 1;
    }

    fn take(&mut self, by: usize) {
        self.before_take();
        let place = self.holders().place_of(self.who(by), 0);
        self.holders().add(place.expect("there is one").0);
        self.state.taken += 1;
        self.counts[by] += 1;
    }

    fn take_with_receipt(&mut self, by: usize) {
        self.before_take();
        let item = self
            .holders()
            .add_with_receipt(self.who(by), self.state.taken);
        self.state.taken += 1;
        self.receipts.push((item.expect("there is a place"), by));
    }

    fn finish(&mut self, by: usize) {
        if self.counts[by] > 0 {
            self.holders().take_off(self.who(by), 0);
            self.state.done += 1;
            self.counts[by] -= 1;
        }
    }

    /// A process takes an item, or marks one as done that any process has taken.
    fn take_or_finish(&mut self, takes: bool, who: usize) {
        if takes {
            self.take(who);
        } else if self.state.done < self.state.taken {
            self.holders().take_off(self.who(who), 0);
            self.state.done += 1;
        }
    }

    fn finish_with_receipt(&mut self, which: usize) {
        if which < self.receipts.len() {
            let (item, _) = self.receipts.swap_remove(which);
            assert!(self.holders().take_off_item(item));
            self.state.done += 1;
            self.spent.push(item);
        }
        for item in &self.spent {
            assert!(!self.holders().take_off_item(*item), "it counts once");
        }
    }

    fn hand_on(&mut self, which: usize, to: usize) {
        if let Some(at) = self.receipts.get(which) {
            assert!(self.holders().pass_to(self.who(to), at.0));
            self.receipts[which].1 = to;
        }
    }

    fn die(&mut self, who: usize) {
        self.ended.push(self.who(who));
        self.lives[who] += 1;
        self.dead += std::mem::take(&mut self.counts[who]);
        for (item, holder) in std::mem::take(&mut self.receipts) {
            if holder == who {
                self.dead += 1;
                self.dying.push(item);
            } else {
                self.receipts.push((item, holder));
            }
        }
    }

    /// A waiter checks until no process that it watches has ended.
    fn join(&mut self) -> bool {
        let mut ended = None;
        loop {
            let mut watched = Vec::new();
            let lost = self
                .holders()
                .lost(&self.state, ended, |who| watched.push(who));
            self.state.done += lost;
            self.state.lost += lost;
            ended = watched.into_iter().find(|who| self.ended.contains(who));
            if self.state.is_done() || ended.is_none() {
                return self.state.is_done();
            }
        }
    }

    fn act(&mut self, act: &Act) {
        match *act {
            Act::Take { by } => self.take(by),
            Act::TakeWithReceipt { by } => self.take_with_receipt(by),
            Act::Finish { by } => self.finish(by),
            Act::FinishWithReceipt { which } => self.finish_with_receipt(which),
            Act::HandOn { which, to } => self.hand_on(which, to),
            Act::Die { who } => self.die(who),
            Act::Join => {
                self.lost += std::mem::take(&mut self.dead);
                let with_the_living = self.counts.iter().sum::<u64>() + self.receipts.len() as u64;
                assert_eq!(self.join(), with_the_living == 0);
                self.spent.append(&mut self.dying);
                assert_eq!(self.state.lost, self.lost);
                assert_eq!(self.state.taken - self.state.done, with_the_living);
            }
        }
    }
}

proptest! {
    #![proptest_config(crate::common::cases(256))]

    #[test]
    fn a_join_waits_only_for_the_living_and_counts_the_items_of_the_dead(acts in acts()) {
        let mut tried = Tried::new();
        for act in &acts {
            tried.act(act);
        }
        tried.act(&Act::Join);
    }

    /// As Python's queue: while no process dies, it does not matter which one marks an item.
    #[test]
    fn while_no_process_dies_any_of_them_marks_any_item(
        steps in prop::collection::vec((any::<bool>(), 0..PROCESSES), 1..100),
    ) {
        let mut tried = Tried::new();
        for (takes, who) in steps {
            tried.take_or_finish(takes, who);
            prop_assert_eq!(tried.join(), tried.state.done == tried.state.taken);
            prop_assert_eq!(tried.state.lost, 0);
        }
    }

    /// Deaths at any point: once all processes have ended, a join waits for no item.
    #[test]
    fn a_join_returns_when_all_have_ended(
        steps in prop::collection::vec((any::<bool>(), 0..PROCESSES), 1..100),
    ) {
        let mut tried = Tried::new();
        for (takes, who) in steps {
            tried.take_or_finish(takes, who);
        }
        (0..PROCESSES).for_each(|who| tried.die(who));
        prop_assert!(tried.join());
    }
}
