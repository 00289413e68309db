//! How a task ends without an outcome. A write to its record decides whether it has started: the first to replace the
//! record wins. While the server is unreachable nothing is decided, and the task waits.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use super::{Action, End, LossToWrite, RecordRetirement, Table, numbers_of};
use crate::cluster::client::in_flight::{EndRequest, Seen, SendStage};
use crate::cluster::client::timers::TaskTimer;
use crate::cluster::publish_answer::{PublishAnswer, WRONG_LAST_SEQUENCE};
use crate::cluster::record::{CancelReason, CancelRecord, WorkerId};
use crate::cluster::task_message::ReplyTo;

/// The longest time after which the caller of a cancel gets an answer.
const CANCEL_LIMIT: Duration = Duration::from_secs(1);

/// How long a worker may need to reconnect.
const ABSENT: Duration = Duration::from_secs(2);

impl Table {
    /// Cancels the messages of a ticket. Returns whether any has no outcome yet; the outcomes then say what started.
    pub(in crate::cluster::client) fn abort(&mut self, ticket: u64, now: Instant) -> bool {
        let numbers = self
            .tasks
            .range(numbers_of(ticket))
            .map(|(number, _)| *number);
        let numbers: Vec<u64> = numbers.collect();
        for number in &numbers {
            let is_announced = false;
            self.request_end(*number, EndRequest::Abort { is_announced }, now);
        }
        !numbers.is_empty()
    }

    /// Records why a task should end, and takes the first step.
    pub(super) fn request_end(&mut self, number: u64, end_request: EndRequest, now: Instant) {
        let Some(task) = self.tasks.get_mut(&number) else {
            return;
        };
        if let Some(EndRequest::Abort { .. }) = task.end_request {
            return; // An abort replaces all other requests.
        }
        let is_abort = matches!(end_request, EndRequest::Abort { .. });
        task.end_request = Some(end_request);
        if is_abort {
            self.timers
                .add(now + CANCEL_LIMIT, number, TaskTimer::AnswerCancel);
            if task.is_cancelling() {
                // It frees its entry of the queue at once, before the server decides.
                self.cancelling_items += task.items();
                self.completions.rooms.push(std::mem::take(&mut task.room));
            }
        }
        if let SendStage::Unsent { first: None } = task.stage {
            let end = End::requested(task.end_request.as_ref());
            return self.end(number, end); // It was never published.
        }
        self.advance_end(number);
    }

    /// Takes the next step towards the end that was requested.
    pub(super) fn advance_end(&mut self, number: u64) {
        let Some(task) = self.tasks.get_mut(&number) else {
            return;
        };
        if task.swapping.is_some() {
            return; // The answer of the write decides what comes next.
        }
        let reply = task.reply(&self.client, number);
        task.is_lost &= task.is_claimed();
        if let Seen::Claimed {
            seq, by, attempt, ..
        } = &task.seen
            && task.is_lost
        {
            task.swapping = Some(*seq);
            self.retirements += 1;
            let loss = LossToWrite {
                number,
                reply,
                place: task.place(),
                expected: *seq,
                by: by.clone(),
                attempt: *attempt,
            };
            return self.actions.push_back(Action::WriteLoss(loss));
        }
        let by = match (&mut task.end_request, &task.seen) {
            (None, _) => return,
            (Some(EndRequest::Abort { is_announced, .. }), Seen::Claimed { by, .. }) => {
                if !std::mem::replace(is_announced, true) {
                    let worker = by.clone();
                    self.actions
                        .push_back(Action::CancelAtWorker { worker, reply });
                }
                return;
            }
            // It has started.
            (Some(EndRequest::Expire { .. } | EndRequest::Shutdown), Seen::Claimed { .. }) => {
                return task.end_request = None;
            }
            (Some(end_request), Seen::Nothing | Seen::Released { .. }) => {
                cancel_record(&self.client, end_request.reason())
            }
        };
        let expected = task.seen.seq();
        task.swapping = Some(expected);
        self.actions.push_back(Action::WriteCancel {
            number,
            reply,
            expected,
            by,
        });
    }

    /// The server has answered the write of a record.
    pub(in crate::cluster::client) fn swapped(&mut self, number: u64, answer: &PublishAnswer) {
        let Some(task) = self.tasks.get_mut(&number) else {
            return;
        };
        let Some(expected) = task.swapping.take() else {
            return;
        };
        match answer {
            PublishAnswer::Stored { seq, .. } => {
                let end_request = task.end_request.as_ref();
                let end = End::requested(end_request);
                let reason = end_request.map_or(CancelReason::Cancel, EndRequest::reason);
                let cancelled = cancel_record(&self.client, reason);
                self.end_cancelled(number, *seq, cancelled, end);
            }
            PublishAnswer::Refused { code, .. } if *code == WRONG_LAST_SEQUENCE => {
                if task.seen.seq() == expected {
                    self.read_now(number); // Another record was stored, and its notification has not arrived.
                } else {
                    self.advance_end(number);
                }
            }
            PublishAnswer::Refused { .. } => {} // The next check tries again.
        }
    }

    /// Ends a task whose record this client has replaced, and lets the record expire.
    pub(super) fn end_cancelled(
        &mut self,
        number: u64,
        record: u64,
        cancelled: CancelRecord,
        end: End,
    ) {
        let Some(task) = self.tasks.get(&number) else {
            return;
        };
        let retirement = RecordRetirement {
            reply: task.reply(&self.client, number),
            place: task.place(),
            record,
            cancelled,
        };
        self.retirements += 1;
        self.end(number, end);
        match self.orphans.get_mut(&number) {
            Some(orphan) => orphan.retirement = Some(retirement), // The answer to the publish says where the message is.
            None => self.actions.push_back(Action::RetireRecord(retirement)),
        }
    }

    /// The retirement of a record has ended.
    pub(in crate::cluster::client) fn retired(&mut self) {
        self.retirements -= 1;
    }

    /// The loss of a worker has replaced its claim.
    pub(in crate::cluster::client) fn loss_written(&mut self, number: u64) {
        if let Some(task) = self.tasks.get(&number)
            && let Seen::Claimed { by, attempt, .. } = &task.seen
        {
            let end = End::Lost {
                by: by.clone(),
                attempt: *attempt,
            };
            self.end(number, end);
        }
    }

    /// The server does not permit the write of the record at `reply`.
    pub(in crate::cluster::client) fn unwritable(&mut self, reply: &ReplyTo, reason: &str) {
        for number in self.numbers_at(reply) {
            let Some(task) = self.tasks.get_mut(&number) else {
                continue;
            };
            if task.swapping.take().is_none() {
                continue;
            }
            let end = match &task.seen {
                Seen::Claimed { by, attempt, .. } if task.is_lost => End::Lost {
                    by: by.clone(),
                    attempt: *attempt,
                },
                _ => End::Undecided(format!("it cannot be cancelled, and may run: {reason}")),
            };
            self.end(number, end);
        }
    }

    /// Another writer replaced the claim first.
    pub(in crate::cluster::client) fn loss_not_written(&mut self, number: u64) {
        if let Some(task) = self.tasks.get_mut(&number) {
            task.swapping = None;
            self.read_now(number);
        }
    }

    /// Answers the caller of a cancelled task after [`CANCEL_LIMIT`]: the server is away, or the worker is silent.
    pub(super) fn answer_cancel(&mut self, number: u64) {
        if let Some(task) = self.tasks.get_mut(&number)
            && let Some(EndRequest::Abort { .. }) = task.end_request
        {
            let next = task.owed.next();
            self.completions.undecided.push(task.owed.split_off(next));
        }
    }

    /// Cancels all tasks that have not started.
    pub(in crate::cluster::client) fn cancel_waiting(&mut self, now: Instant) {
        let waiting = self.tasks.iter().filter(|(_, task)| !task.is_claimed());
        let waiting: Vec<u64> = waiting.map(|(number, _)| *number).collect();
        for number in waiting {
            self.request_end(number, EndRequest::Shutdown, now);
        }
    }

    /// Ends all tasks without an outcome, and tells the workers that run one.
    pub(in crate::cluster::client) fn abandon(&mut self, now: Instant) {
        self.cancel_waiting(now);
        let numbers: Vec<u64> = self.tasks.keys().copied().collect();
        for number in numbers {
            let task = &self.tasks[&number];
            if let Seen::Claimed { by, .. } = &task.seen {
                let (worker, reply) = (by.clone(), task.reply(&self.client, number));
                self.actions
                    .push_back(Action::CancelAtWorker { worker, reply });
            }
            self.end(number, End::Abandoned);
        }
    }

    /// A worker is lost. The server is asked to deliver its tasks to other workers, which run them if retries
    /// are left.
    pub(in crate::cluster::client) fn worker_lost(&mut self, worker: &str) {
        self.silent.remove(worker);
        let is_its = |task: &&super::TaskInFlight| matches!(&task.seen, Seen::Claimed { by, .. } if by.id == worker);
        let lost = self.tasks.iter().filter(|(_, task)| is_its(task));
        let lost: Vec<u64> = lost.map(|(number, _)| *number).collect();
        for number in lost {
            self.write_loss(number);
        }
    }

    /// The worker whose claim a task has does not know the task.
    pub(in crate::cluster::client) fn not_running(&mut self, number: u64) {
        if let Some(task) = self.tasks.get_mut(&number) {
            task.denied += 1;
            match task.denied {
                1 => self.read_now(number), // It may have stored the outcome just before.
                _ => self.write_loss(number),
            }
        }
    }

    fn write_loss(&mut self, number: u64) {
        let Some(task) = self.tasks.get_mut(&number) else {
            return;
        };
        let Seen::Claimed {
            attempt, answer_to, ..
        } = &task.seen
        else {
            return;
        };
        let is_unwanted = matches!(task.end_request, Some(EndRequest::Abort { .. }));
        // Another client may have published the message, with its own number of retries: then a worker decides.
        let is_own = task.reply.is_none();
        let is_over = is_own && *attempt > task.ticket().options().retries;
        if is_unwanted || is_over || task.stage == SendStage::Missing {
            task.is_lost = true;
            return self.advance_end(number);
        }
        if let Some(answer_to) = answer_to.clone() {
            self.actions.push_back(Action::Redeliver { answer_to });
        }
        // Without a message no worker decides, so check whether the stream still has it.
        self.search(number);
    }

    /// Nothing subscribes to the subject of a worker. It may be reconnecting.
    pub(in crate::cluster::client) fn worker_absent(
        &mut self,
        number: u64,
        worker: &WorkerId,
        now: Instant,
    ) {
        let Some(since) = self.silent_since(&worker.id, now) else {
            return;
        };
        if now.saturating_duration_since(since) >= ABSENT {
            self.worker_lost(&worker.id);
        } else {
            self.timers.add(now + ABSENT, number, TaskTimer::Check);
        }
    }

    /// A worker has not answered.
    pub(in crate::cluster::client) fn worker_silent(&mut self, worker: &WorkerId, now: Instant) {
        let since = self.silent_since(&worker.id, now);
        if since.is_some_and(|since| now.saturating_duration_since(since) >= self.terms.lost_after)
        {
            self.worker_lost(&worker.id);
        }
    }

    /// Since when a worker has not answered. `None` if it has no claim.
    fn silent_since(&mut self, worker: &str, now: Instant) -> Option<Instant> {
        if let Some(since) = self.silent.get(worker) {
            return Some(*since);
        }
        let claims = self.tasks.values().filter_map(|task| match &task.seen {
            Seen::Claimed { by, .. } => Some(by.id.as_str()),
            _ => None,
        });
        let claimed: HashSet<&str> = claims.collect();
        self.silent.retain(|other, _| claimed.contains(&**other));
        claimed.contains(worker).then(|| {
            self.silent.insert(worker.to_owned(), now);
            now
        })
    }

    /// A worker has answered.
    pub(in crate::cluster::client) fn worker_answered(&mut self, worker: &str) {
        self.silent.remove(worker);
    }
}

fn cancel_record(client: &str, reason: CancelReason) -> CancelRecord {
    CancelRecord {
        by: client.to_owned(),
        reason,
    }
}
