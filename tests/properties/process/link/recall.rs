//! A worker writes anything into the claims, the times and the reports of its page, and sends anything about its calls.
//! Meanwhile the parent does everything that it can do with the calls.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::TaskOptions;
use crate::executor::context::Wanted;
use crate::executor::error::{Cause, Death, TaskError};
use crate::executor::promise::{Owed, Promise, Ticket};
use crate::executor::served::PromiseEncoded;
use crate::process::link::Tenure;
use crate::sys::Socket;
use crate::wire::outcomes::Values;
use crate::wire::page::{Page, ProgressReport};
use crate::wire::{Chain, FunctionOffset};

/// The number of items of a call.
const ITEMS: u32 = 4;

/// A promise that counts the outcomes of each item.
struct Counted {
    ticket: Ticket,
    outcomes: Mutex<[u32; ITEMS as usize]>,
}

impl Counted {
    fn count(&self, item: u32) {
        self.outcomes.lock().expect("no panic")[item as usize] += 1;
    }
}

impl Wanted for Counted {
    fn is_wanted(&self, _: u64) -> bool {
        true
    }

    fn report(&self, item: u64, _: u64, _: u64) {
        assert!(item < ITEMS.into());
    }
}

impl Promise for Counted {
    fn ticket(&self) -> &Ticket {
        &self.ticket
    }

    fn fail(&self, item: u32, _: TaskError) {
        self.count(item);
    }
}

impl PromiseEncoded for Counted {
    fn fulfil_encoded(&self, _: Values) {}

    fn takes_bytes(&self) -> bool {
        true
    }
}

#[derive(Clone, Debug)]
enum Step {
    /// The worker writes a claim into the slot of a call.
    Claim {
        call: u32,
        seq: u32,
        item: u32,
        stage: u8,
    },
    /// The worker writes when a call began.
    Begun {
        call: u32,
        nanos: u64,
    },
    Report {
        call: u32,
        about: u32,
        item: u32,
    },
    /// The worker answers items.
    Answer {
        seq: u32,
        first: u32,
        count: u32,
    },
    Taken(u32),
    Ran {
        seq: u32,
        nanos: u64,
    },
    Alive,
    Give {
        timeout: Option<u8>,
        grace: u8,
    },
    Cancel(usize),
    Cut,
    Steal,
    RevokeUnstarted,
    Terminate,
    /// The clock is checked.
    Deadline,
}

/// Near the numbers of the calls in flight, or any number.
fn number(near: u32) -> impl Strategy<Value = u32> {
    prop_oneof![8 => 0..near, 1 => any::<u32>()]
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let nanos = prop_oneof![Just(0), Just(u64::MAX), any::<u64>()];
    let step = prop_oneof![
        12 => (0_u32..6, number(6), number(6), prop_oneof![8 => 0_u8..8, 1 => any::<u8>()])
            .prop_map(|(call, seq, item, stage)| {
                // Mostly its own call.
                let seq = if seq < 4 { call } else { seq };
                Step::Claim { call, seq, item, stage }
            }),
        1 => (0_u32..6, nanos.clone()).prop_map(|(call, nanos)| Step::Begun { call, nanos }),
        1 => (0_u32..6, number(6), number(6))
            .prop_map(|(call, about, item)| Step::Report { call, about, item }),
        6 => (number(6), number(5), number(5))
            .prop_map(|(seq, first, count)| Step::Answer { seq, first, count }),
        1 => number(6).prop_map(Step::Taken),
        1 => (number(6), nanos).prop_map(|(seq, nanos)| Step::Ran { seq, nanos }),
        1 => Just(Step::Alive),
        6 => (any::<Option<bool>>(), 0_u8..2).prop_map(|(timeout, grace)| Step::Give {
            timeout: timeout.map(u8::from),
            grace,
        }),
        2 => (0_usize..6).prop_map(Step::Cancel),
        2 => Just(Step::Cut),
        2 => Just(Step::Steal),
        1 => Just(Step::RevokeUnstarted),
        1 => Just(Step::Terminate),
        3 => Just(Step::Deadline),
    ];
    prop::collection::vec(step, 0..40)
}

fn promise(timeout: Option<u8>, grace: u8) -> Arc<Counted> {
    let mut options = TaskOptions::new().grace_period(Duration::from_nanos(grace.into()));
    if let Some(timeout) = timeout {
        options = options.timeout(Duration::from_nanos(timeout.into()));
    }
    Arc::new(Counted {
        ticket: Ticket::new("test", Some(Arc::new(options))),
        outcomes: Mutex::default(),
    })
}

fn call(promise: &Arc<Counted>) -> EncodedCall {
    let owed = Owed::new(promise.clone(), 0..ITEMS);
    EncodedCall {
        owed: owed.map(|promise| promise as Arc<dyn PromiseEncoded>),
        function: FunctionOffset(0),
        base: 0,
        payload: Chain::new().finish(),
        expiry: None,
        strikes: 0,
    }
}

/// A link, and its worker's mapping of the page.
struct Scene {
    link: Link,
    worker: Page,
    promises: Vec<Arc<Counted>>,
    /// Keeps the socket open.
    _theirs: Socket,
}

impl Scene {
    fn new() -> Self {
        let (ours, theirs) = Socket::pair().expect("a socket pair");
        ours.set_nonblocking(true).expect("a socket");
        let (page, fd) = Page::create().expect("memory");
        Self {
            worker: Page::open(fd).expect("the same page"),
            link: Link::new(1, 1, page, Arc::new(ours), Tenure::default()),
            promises: Vec::new(),
            _theirs: theirs,
        }
    }

    fn promise_of(&self, promise: &Arc<dyn PromiseEncoded>) -> &Counted {
        let id = promise.ticket().id();
        let mut promises = self.promises.iter();
        let found = promises.find(|promise| promise.ticket.id() == id);
        found.expect("it is one of these")
    }

    fn take(&mut self, step: Step) {
        match step {
            Step::Claim {
                call,
                seq,
                item,
                stage,
            } => {
                let word = u64::from(seq) << 32 | u64::from(item) << 8 & 0xffff_ff00;
                self.worker.forge(call as usize, word | u64::from(stage));
            }
            Step::Begun { call, nanos } => {
                let _ = self.worker.claim(call, u32::MAX >> 9, nanos);
            }
            Step::Report { call, about, item } => {
                let report = ProgressReport {
                    seq: about,
                    item,
                    done: u64::MAX,
                    total: 0,
                };
                let _ = self.worker.put_report(report);
                self.link.report(call);
            }
            Step::Answer { seq, first, count } => {
                let mut items = first..first.saturating_add(count);
                while let Some(answered) = self.link.answered(seq, items.clone()) {
                    assert!(!answered.items.is_empty());
                    items.start = answered.items.end;
                    let promise = self.promise_of(&answered.promise);
                    if !answered.late {
                        answered.items.for_each(|item| promise.count(item));
                    }
                }
            }
            Step::Taken(seq) => drop(self.link.taken(seq)),
            Step::Ran { seq, nanos } => self.link.ran(seq, nanos),
            Step::Alive => self.link.is_alive(),
            Step::Give { timeout, grace } => {
                let promise = promise(timeout, grace);
                let _ = self.link.give(vec![call(&promise)]);
                self.promises.push(promise);
            }
            Step::Cancel(which) => {
                if let Some(promise) = self.promises.get(which)
                    && promise.ticket.close()
                {
                    self.link.cancel(&promise.ticket);
                }
            }
            Step::Cut => drop(self.link.cut()),
            Step::Steal => drop(self.link.steal(9)),
            Step::RevokeUnstarted => drop(self.link.revoke_unstarted()),
            Step::Terminate => drop(self.link.terminate()),
            Step::Deadline => {
                let _ = self.link.fate();
                let late = self.link.on_deadline(false);
                if let Some(late) = late {
                    self.promise_of(&late.promise).count(late.item);
                }
            }
        }
    }
}

proptest! {
    #![proptest_config(crate::common::cases(2000))]

    #[test]
    fn whatever_a_worker_writes_each_item_has_one_outcome_and_every_number_is_sound(
        steps in steps(),
    ) {
        let mut scene = Scene::new();
        for step in steps {
            scene.take(step);
            prop_assert!(scene.link.running() <= scene.promises.len());
            prop_assert!(scene.link.waiting() <= scene.promises.len() * ITEMS as usize);
        }
        let death = Cause::WorkerLost(Death::default());
        let remains = scene.link.settle_death(&death);
        prop_assert!(remains.lost <= scene.promises.len() * ITEMS as usize);
        drop(remains);
        prop_assert_eq!((scene.link.running(), scene.link.waiting()), (0, 0));
        for promise in &scene.promises {
            // The handle of a cancelled task resolves itself.
            let least = u32::from(!promise.ticket.is_closed());
            for outcomes in *promise.outcomes.lock().expect("no panic") {
                prop_assert!((least..=1).contains(&outcomes), "{} outcomes", outcomes);
            }
        }
    }
}
