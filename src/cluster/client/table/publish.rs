//! A task on its way into the stream. Until the stream answers, it is published again after each break of the
//! connection: within the duplicate window the stream recognizes it.

use std::time::{Duration, Instant};

use super::outgoing::{Outgoing, lane_of, message_of};
use super::{Action, End, Orphan, RecordRetirement, Table, TableTerms};
use crate::cluster::client::in_flight::{ContentPayload, MessagePlace, SendStage, TaskInFlight};
use crate::cluster::client::timers::TaskTimer;
use crate::cluster::publish_answer::{
    DUPLICATE_IN_PROCESS, PublishAnswer, STORE_FAILED, TOO_MANY_REQUESTS,
};
use crate::executor::error::{Cause, Rejection};

/// The most publishes that the stream has not answered. More would fill the server's buffers.
const WINDOW: usize = 4096;
/// How long a stream may take to answer a publish.
const ANSWER: Duration = Duration::from_secs(5);
/// The pause before a publish that no stream took is repeated.
const RESEND: Duration = Duration::from_millis(250);
/// A publish is not repeated in this last part of the duplicate window.
const MARGIN: Duration = Duration::from_secs(10);

impl Table {
    pub(super) fn has_window(&self) -> bool {
        self.unanswered < WINDOW
    }

    /// Takes tasks to publish, at most `most`. Without a connection, none is published again: it might wait there for
    /// longer than the stream recognizes it.
    pub(in crate::cluster::client) fn take_unsent(
        &mut self,
        most: usize,
        now: Instant,
        is_connected: bool,
    ) -> Vec<Outgoing> {
        let mut outgoing = Vec::new();
        while outgoing.len() < most
            && self.has_window()
            && let Some(number) = self.unsent.pop_front()
        {
            let Some(task) = self.tasks.get_mut(&number) else {
                continue; // It was cancelled.
            };
            let SendStage::Unsent { first } = task.stage else {
                continue;
            };
            let Some(content) = &task.content else {
                continue;
            };
            if first.is_some() && !is_connected {
                continue; // The new connection has it published.
            }
            if !self.terms.recognizes(first, now) {
                task.stage = SendStage::Stored { seq: None };
                self.read_now(number);
                continue;
            }
            outgoing.push(Outgoing {
                number,
                lane: lane_of(task.ticket().options().priority),
                message: message_of(task, content, task.reply(&self.client, number)),
            });
            let first = first.unwrap_or(now);
            task.is_searched = false;
            task.stage = SendStage::Sent { first, latest: now };
            self.unanswered += 1;
        }
        outgoing
    }

    /// The upload of a payload has ended. Returns whether the task still needs it.
    pub(in crate::cluster::client) fn uploaded(
        &mut self,
        number: u64,
        object: Result<(String, u64), Cause>,
    ) -> bool {
        let Some(task) = self.tasks.get_mut(&number) else {
            return false;
        };
        match object {
            Ok((name, size)) => {
                if let Some(content) = &mut task.content {
                    content.payload = ContentPayload::Object { name, size };
                }
                self.unsent.push_back(number);
            }
            Err(cause) => self.end(number, End::Refused(cause)),
        }
        true
    }

    /// The stream has answered the publish of a task.
    pub(in crate::cluster::client) fn answered(
        &mut self,
        number: u64,
        answer: PublishAnswer,
        now: Instant,
    ) {
        self.unanswered = self.unanswered.saturating_sub(1);
        if let Some(orphan) = self.orphans.remove(&number) {
            self.clear_if_idle();
            return self.answered_orphan(orphan, &answer);
        }
        let Some(task) = self.tasks.get_mut(&number) else {
            // It was published again before it ended.
            if let PublishAnswer::Stored {
                seq,
                is_duplicate: false,
            } = answer
            {
                self.actions.push_back(Action::DeleteMessage { seq });
            }
            return;
        };
        let SendStage::Sent { first, latest } = task.stage else {
            return; // This is the answer to an earlier publish.
        };
        match answer {
            PublishAnswer::Stored { seq, is_duplicate } => {
                // Another program has submitted the task, with its own copy of the payload.
                let is_foreign = is_duplicate && task.reply.is_some() && first == latest;
                if is_foreign && let Some(object) = task.take_object() {
                    self.actions.push_back(Action::DeletePayload { object });
                }
                task.stage = SendStage::Stored { seq: Some(seq) };
                task.untaken_since = None;
                task.unload();
                if is_duplicate || task.reply.is_some() {
                    self.read_now(number); // Its record may have been stored before this client subscribed.
                }
            }
            PublishAnswer::Refused { code, description } => match code {
                DUPLICATE_IN_PROCESS | TOO_MANY_REQUESTS => {
                    task.stage = SendStage::Unsent { first: Some(first) };
                    self.timers.add(now + RESEND, number, TaskTimer::Resend);
                }
                // This one is not stored, but an earlier publish may be.
                _ if first != latest => {
                    task.stage = SendStage::Stored { seq: None };
                    self.read_now(number);
                }
                STORE_FAILED => {
                    let cause = Cause::Rejected(Rejection::StreamFull(description.into()));
                    self.end(number, End::Refused(cause));
                }
                _ => {
                    let cause = Rejection::InvalidSetting(refused(code, &description).into());
                    self.end(number, End::Refused(Cause::Rejected(cause)));
                }
            },
        }
    }

    /// The stream has answered the publish of a task that was cancelled before.
    fn answered_orphan(&mut self, orphan: Orphan, answer: &PublishAnswer) {
        let is_repeated = orphan.first != orphan.latest;
        let place = match answer {
            PublishAnswer::Stored { seq, .. } => MessagePlace::At(*seq),
            PublishAnswer::Refused { code, .. }
                if is_repeated || [DUPLICATE_IN_PROCESS, TOO_MANY_REQUESTS].contains(code) =>
            {
                MessagePlace::Unknown
            }
            PublishAnswer::Refused { .. } => MessagePlace::NotInStream,
        };
        match (orphan.retirement, place) {
            (Some(retirement), place) => {
                let retirement = RecordRetirement {
                    place,
                    ..retirement
                };
                self.actions.push_back(Action::RetireRecord(retirement));
            }
            (None, MessagePlace::At(seq)) => self.actions.push_back(Action::DeleteMessage { seq }),
            (None, _) => {}
        }
    }

    /// No answers will arrive. The retirement of a record then searches for the message of its task.
    fn retire_orphans(&mut self) {
        let retirements = (self.orphans.drain()).filter_map(|(_, orphan)| orphan.retirement);
        self.actions.extend(retirements.map(Action::RetireRecord));
        self.clear_if_idle();
    }

    /// The answer to the publish of a task that has ended may be lost without a break of the connection.
    pub(super) fn check_orphan(&mut self, number: u64, now: Instant, is_connected: bool) {
        let Some(Orphan { latest, .. }) = self.orphans.get(&number) else {
            return;
        };
        let lost_at = *latest + ANSWER;
        if !is_connected || now < lost_at {
            return self
                .timers
                .add(lost_at.max(now + RESEND), number, TaskTimer::Check);
        }
        self.unanswered = self.unanswered.saturating_sub(1);
        let orphan = self.orphans.remove(&number);
        let retirement = orphan.and_then(|orphan| orphan.retirement);
        self.actions.extend(retirement.map(Action::RetireRecord));
        self.clear_if_idle();
    }

    /// No stream took the publish of a task: the queue is not set up, or its servers elect a leader.
    pub(in crate::cluster::client) fn no_stream(&mut self, number: u64, now: Instant) {
        self.unanswered = self.unanswered.saturating_sub(1);
        if let Some(orphan) = self.orphans.remove(&number) {
            self.actions
                .extend(orphan.retirement.map(Action::RetireRecord));
            return self.clear_if_idle();
        }
        let Some(task) = self.tasks.get_mut(&number) else {
            return;
        };
        let SendStage::Sent { first, latest } = task.stage else {
            return;
        };
        let since = *task.untaken_since.get_or_insert(now);
        if now.saturating_duration_since(since) >= self.terms.no_stream {
            let end = refusal_of(&task.stage, NO_STREAM);
            return self.end(number, end);
        }
        // This publish was not stored. An earlier one may have been.
        let first = (first != latest).then_some(first);
        task.stage = SendStage::Unsent { first };
        self.timers.add(now + RESEND, number, TaskTimer::Resend);
    }

    /// The server does not permit the publish of a function's tasks in this lane.
    pub(in crate::cluster::client) fn forbidden(&mut self, lane: u8, function: &str, reason: &str) {
        let is_refused = |task: &TaskInFlight| {
            let content = task.content.as_ref();
            matches!(task.stage, SendStage::Sent { .. })
                && lane_of(task.ticket().options().priority) == lane
                && content.is_some_and(|content| **content.function.name() == *function)
        };
        let refused = self.tasks.iter().filter(|(_, task)| is_refused(task));
        let refused: Vec<u64> = refused.map(|(number, _)| *number).collect();
        for number in refused {
            let end = refusal_of(&self.tasks[&number].stage, reason);
            self.end(number, end);
        }
        self.retire_orphans();
        let tasks = self.tasks.values();
        let sent = tasks.filter(|task| matches!(task.stage, SendStage::Sent { .. }));
        self.unanswered = sent.count();
    }

    /// The connection is new: publishes that the stream has not answered are repeated.
    pub(in crate::cluster::client) fn reconnected(&mut self, now: Instant) {
        self.unanswered = 0;
        self.retire_orphans();
        self.silent.clear();
        let mut again = Vec::new();
        let mut reads = Vec::new();
        for (number, task) in &mut self.tasks {
            match task.stage {
                SendStage::Sent { first, .. } => {
                    task.stage = SendStage::Unsent { first: Some(first) };
                    again.push(*number);
                }
                SendStage::Unsent { first: Some(_) } => again.push(*number),
                SendStage::Unsent { first: None } => {}
                SendStage::Stored { .. } | SendStage::Missing => reads.push(*number),
            }
            task.swapping = None;
            task.is_searched = false;
        }
        for number in again.into_iter().rev() {
            self.send_again(number, now);
        }
        for number in reads {
            self.read_now(number);
        }
    }

    /// Publishes a task again, or checks whether the stream has it.
    pub(super) fn send_again(&mut self, number: u64, now: Instant) {
        let Some(task) = self.tasks.get_mut(&number) else {
            return;
        };
        let SendStage::Unsent { first } = task.stage else {
            return;
        };
        if self.terms.recognizes(first, now) {
            self.unsent.push_front(number);
        } else {
            // The stream would no longer recognize it as a duplicate, and the task might run twice.
            task.stage = SendStage::Stored { seq: None };
            self.read_now(number);
        }
        self.advance_end(number);
    }

    /// Repeats a publish that got no answer, although the connection did not break.
    pub(super) fn check_sent(&mut self, number: u64, now: Instant) {
        if let Some(task) = self.tasks.get_mut(&number)
            && let SendStage::Sent { first, latest } = task.stage
            && now.saturating_duration_since(latest) >= ANSWER
        {
            task.stage = SendStage::Unsent { first: Some(first) };
            self.unanswered = self.unanswered.saturating_sub(1);
            self.send_again(number, now);
        }
    }
}

impl TableTerms {
    /// Whether the stream recognizes a task that was first published then.
    fn recognizes(&self, first: Option<Instant>, now: Instant) -> bool {
        first.is_none_or(|first| {
            now.saturating_duration_since(first) + MARGIN < self.duplicate_window
        })
    }
}

/// How a task ends that no stream takes. An earlier publish may be stored, and then it may run.
fn refusal_of(stage: &SendStage, reason: &str) -> End {
    match stage {
        SendStage::Sent { first, latest } if first != latest => End::Undecided(reason.to_owned()),
        _ => {
            let cause = Rejection::InvalidSetting(reason.to_owned().into());
            End::Refused(Cause::Rejected(cause))
        }
    }
}

fn refused(code: u64, description: &str) -> String {
    format!(
        "the server does not store the task: {description} (error {code}); compare the settings of the queue's stream"
    )
}

const NO_STREAM: &str =
    "no stream of the servers takes it; set the queue up, or wait until its servers have a leader";
