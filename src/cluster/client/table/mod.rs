//! The messages of this client that have no outcome yet, and what each event means for them. Nothing here sends, waits,
//! or calls code of a user: what to send becomes an [`Action`], and what callers get is in [`Completions`]. Reading
//! order:
//!
//! - this file: the tasks and their counts; [`actions`]: what is sent, and how tasks end;
//! - [`publish`]: a task on its way into the stream, and [`outgoing`]: its message;
//! - [`events`]: its records;
//! - [`cancel`]: how a task ends without an outcome;
//! - [`clock`]: its timers.

mod actions;
mod cancel;
mod clock;
mod events;
mod outgoing;
mod publish;

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::{Duration, Instant};

pub(super) use self::actions::{Action, Completions, End, LossToWrite, RecordRetirement};
pub(super) use self::outgoing::Outgoing;
use super::in_flight::{Seen, SendStage, TaskInFlight};
use super::timers::{TaskTimer, TaskTimers};
use crate::cluster::task_message::ReplyTo;
use crate::executor::served::PromiseEncoded;

/// The time limits of a client.
#[derive(Clone, Copy, Debug)]
pub(super) struct TableTerms {
    /// How long the stream recognizes a message that is published again.
    pub(super) duplicate_window: Duration,
    /// How long a publish is repeated although no stream takes it.
    pub(super) no_stream: Duration,
    /// How long a worker may be silent before it counts as lost.
    pub(super) lost_after: Duration,
    /// How long the server keeps an outcome.
    pub(super) result_ttl: Duration,
}

pub(super) struct Table {
    /// The name of this client in subjects.
    client: Arc<str>,
    terms: TableTerms,
    tasks: BTreeMap<u64, TaskInFlight>,
    /// The tasks whose outcome goes to a subject that other programs may know.
    shared: HashMap<ReplyTo, Vec<u64>>,
    /// Tasks to publish, in order.
    unsent: VecDeque<u64>,
    /// How many publishes the stream has not answered.
    unanswered: usize,
    /// Tasks that ended before the stream answered.
    orphans: HashMap<u64, Orphan>,
    /// How many records of ended tasks are not retired yet.
    retirements: usize,
    timers: TaskTimers,
    actions: VecDeque<Action>,
    completions: Completions,
    /// The workers with a claim that do not answer, and since when.
    silent: HashMap<String, Instant>,
    /// The number of items of all tasks, and of claimed ones.
    items: usize,
    claimed_items: usize,
    /// The number of items of cancelled tasks that no worker has claimed. The server has not decided yet.
    cancelling_items: usize,
}

/// A publish whose task has ended. When the stream answers, its message is deleted.
struct Orphan {
    /// When it was published for the first and for the last time.
    first: Instant,
    latest: Instant,
    /// Waits for the answer, which says where the message is.
    retirement: Option<RecordRetirement>,
}

/// The bits of a task's number that count the parts of one ticket.
const PART_BITS: u32 = 20;

/// The numbers of a ticket's messages.
pub(super) fn numbers_of(ticket: u64) -> RangeInclusive<u64> {
    let first = ticket << PART_BITS;
    first..=first | ((1 << PART_BITS) - 1)
}

impl Table {
    pub(super) fn new(client: Arc<str>, terms: TableTerms) -> Self {
        Self {
            client,
            terms,
            tasks: BTreeMap::new(),
            shared: HashMap::new(),
            unsent: VecDeque::new(),
            unanswered: 0,
            orphans: HashMap::new(),
            retirements: 0,
            timers: TaskTimers::default(),
            actions: VecDeque::new(),
            completions: Completions::default(),
            silent: HashMap::new(),
            items: 0,
            claimed_items: 0,
            cancelling_items: 0,
        }
    }

    pub(super) fn client(&self) -> &str {
        &self.client
    }

    /// Adds a task. Its queue timeout ends at `expires`.
    pub(super) fn insert(
        &mut self,
        number: u64,
        task: TaskInFlight,
        is_large: bool,
        expires: Option<Instant>,
        now: Instant,
    ) {
        self.items += task.items();
        if let Some(shared) = &task.reply {
            let numbers = self.shared.entry(shared.reply.clone()).or_default();
            numbers.push(number);
        }
        match &task.stage {
            SendStage::Unsent { .. } if is_large => {
                self.actions.push_back(Action::UploadPayload(number))
            }
            SendStage::Unsent { .. } => self.unsent.push_back(number),
            _ => {}
        }
        if let Some(at) = expires {
            self.timers.add(at, number, TaskTimer::Expire);
        }
        self.timers
            .add(now + self.terms.first_pause(), number, TaskTimer::Check);
        let is_stored = matches!(task.stage, SendStage::Stored { .. });
        self.tasks.insert(number, task);
        if is_stored {
            self.read_now(number);
        }
    }

    /// Removes a task that has ended.
    fn end(&mut self, number: u64, end: End) {
        let Some(mut task) = self.tasks.remove(&number) else {
            return;
        };
        self.items -= task.items();
        if task.is_claimed() {
            self.claimed_items -= task.items();
        } else if task.is_cancelling() {
            self.cancelling_items -= task.items();
        }
        if let SendStage::Sent { first, latest } = task.stage
            && !matches!(end, End::Outcome(_) | End::Refused(_))
        {
            let orphan = Orphan {
                first,
                latest,
                retirement: None,
            };
            self.orphans.insert(number, orphan);
        }
        if let Some(shared) = &task.reply
            && let Some(numbers) = self.shared.get_mut(&shared.reply)
        {
            numbers.retain(|other| *other != number);
            if numbers.is_empty() {
                self.shared.remove(&shared.reply);
            }
        }
        if end.is_for_good()
            && let Some(object) = task.take_object()
        {
            self.actions.push_back(Action::DeletePayload { object });
        }
        if self.tasks.is_empty() {
            self.silent.clear();
            self.unanswered = self.orphans.len(); // No longer counts answers that were lost.
        }
        self.clear_if_idle();
        self.completions.ended.push((task, end));
    }

    /// Nothing is due once nothing is left.
    fn clear_if_idle(&mut self) {
        if self.tasks.is_empty() && self.orphans.is_empty() {
            self.timers.clear();
        }
    }

    /// The tasks that wait for the record at `reply`.
    fn numbers_at(&self, reply: &ReplyTo) -> Vec<u64> {
        let mut numbers = self.shared.get(reply).cloned().unwrap_or_default();
        if *reply.client == *self.client {
            numbers.push(reply.number);
        }
        numbers
    }

    pub(super) fn take_completions(&mut self) -> Completions {
        std::mem::take(&mut self.completions)
    }

    /// Whether the publisher has something to send.
    pub(super) fn has_actions(&self) -> bool {
        !self.actions.is_empty() || (!self.unsent.is_empty() && self.has_window())
    }

    pub(super) fn take_actions(&mut self) -> VecDeque<Action> {
        std::mem::take(&mut self.actions)
    }

    pub(super) fn next_due(&self) -> Option<Instant> {
        self.timers.next_at()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.tasks.is_empty()
    }

    /// Whether records of ended tasks are not retired yet.
    pub(super) fn is_retiring(&self) -> bool {
        self.retirements > 0
    }

    /// The items that no worker has claimed and no caller has cancelled.
    pub(super) fn waiting(&self) -> usize {
        self.items - self.claimed_items - self.cancelling_items
    }

    pub(super) fn running(&self) -> usize {
        self.claimed_items
    }

    pub(super) fn is_running(&self, ticket: u64) -> bool {
        self.tasks
            .range(numbers_of(ticket))
            .any(|(_, task)| matches!(task.seen, Seen::Claimed { .. }))
    }

    pub(super) fn get(&self, number: u64) -> Option<&TaskInFlight> {
        self.tasks.get(&number)
    }

    /// A worker reports the progress of the task at `reply`. Returns the promises that get the report, each with its
    /// item.
    pub(super) fn reported(
        &mut self,
        reply: &ReplyTo,
        report: (u64, u64),
    ) -> Vec<(Arc<dyn PromiseEncoded>, u32)> {
        let mut promises = Vec::new();
        for number in self.numbers_at(reply) {
            if let Some(task) = self.tasks.get_mut(&number) {
                task.reported = Some(report);
                promises.push((task.owed.promise().clone(), task.base));
            }
        }
        promises
    }
}

/// The most records that one request reads.
const MOST_READ: usize = 256;

#[cfg(all(test, not(properties)))]
#[path = "../../../../tests/cluster/table/mod.rs"]
mod tests;

#[cfg(all(test, properties))]
#[path = "../../../../tests/properties/cluster/table/mod.rs"]
mod tests;
