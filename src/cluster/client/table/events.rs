//! Handles the records of tasks. A record may arrive twice: by the subscription, and by a read. A record has a higher
//! sequence than the one that it replaced, so older ones are ignored.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{Action, End, Table};
use crate::cluster::client::in_flight::{Seen, SendStage};
use crate::cluster::client::timers::TaskTimer;
use crate::cluster::malformed::Malformed;
use crate::cluster::record::{CancelReason, CancelRecord, ClaimRecord, Record};
use crate::cluster::task_message::ReplyTo;

/// The most searches in a row that may not find a message, after pauses that double. A replica that catches up after a
/// restart may lack the message, and the record too, for seconds.
const MOST_UNFOUND: u8 = 5;
/// The pause between the two searches that find out that the stream does not have a task.
const SEARCH_AGAIN: Duration = Duration::from_millis(250);

impl Table {
    /// The record at `reply` is this one.
    pub(in crate::cluster::client) fn record(
        &mut self,
        reply: &ReplyTo,
        seq: u64,
        record: Record,
        now: Instant,
    ) {
        let numbers = self.numbers_at(reply);
        let Some((last, others)) = numbers.split_last() else {
            return;
        };
        for number in others {
            // Several handles wait for this outcome. A clone shares its bytes.
            self.record_of(*number, seq, record.clone(), now);
        }
        self.record_of(*last, seq, record, now);
    }

    fn record_of(&mut self, number: u64, seq: u64, record: Record, now: Instant) {
        let Some(task) = self.tasks.get_mut(&number) else {
            return;
        };
        if seq < task.seen.seq() {
            return; // It is outdated.
        }
        if seq == task.seen.seq() {
            // It is known, and still there.
            return match task.seen {
                Seen::Released { .. } => self.waits(number, now),
                Seen::Claimed { .. } | Seen::Nothing => self.advance_end(number),
            };
        }
        (task.absent, task.unfound) = (0, 0);
        match record {
            Record::Claim(claim) => self.claimed(number, seq, claim, now),
            Record::Released { attempt } => {
                task.has_run |= attempt > 1;
                self.unclaimed(number, Seen::Released { seq });
                self.advance_end(number);
            }
            Record::Outcome(outcome) => self.end(number, End::Outcome(outcome)),
            Record::Cancelled(cancelled) => self.cancelled(number, seq, cancelled),
        }
    }

    fn claimed(&mut self, number: u64, seq: u64, claim: ClaimRecord, now: Instant) {
        let Some(task) = self.tasks.get_mut(&number) else {
            return;
        };
        let ClaimRecord {
            by,
            attempt,
            answer_to,
            ..
        } = claim;
        if !task.is_claimed() {
            if task.is_cancelling() {
                self.cancelling_items -= task.items();
            }
            self.claimed_items += task.items();
            task.running = task.ticket().running();
        }
        task.has_run |= attempt > 1;
        task.reads_from = Some(now);
        let most = task.ticket().options().retries.saturating_add(1);
        task.owed.note_attempt(attempt.min(most));
        let by = match &task.seen {
            Seen::Claimed { by: known, .. } if **known == by => known.clone(),
            _ => Arc::new(by),
        };
        task.seen = Seen::Claimed {
            seq,
            by,
            attempt,
            answer_to,
        };
        self.completions.rooms.push(std::mem::take(&mut task.room));
        task.is_lost = false; // Another worker has it.
        let longest = self.terms.longest_pause(true);
        if task.pause > longest {
            task.pause = longest;
            self.timers.add(now + task.pause, number, TaskTimer::Check);
        }
        self.advance_end(number);
    }

    /// No worker has the task any more.
    fn unclaimed(&mut self, number: u64, seen: Seen) {
        if let Some(task) = self.tasks.get_mut(&number) {
            if task.is_claimed() {
                self.claimed_items -= task.items();
                task.running = Default::default();
                task.seen = seen;
                if task.is_cancelling() {
                    self.cancelling_items += task.items();
                }
            } else {
                task.seen = seen;
            }
        }
    }

    /// The record is a cancel, by this client or by another one.
    fn cancelled(&mut self, number: u64, record: u64, cancelled: CancelRecord) {
        let Some(task) = self.tasks.get(&number) else {
            return;
        };
        let end = match cancelled.reason {
            CancelReason::QueueTimeout => End::requested(task.end_request.as_ref()),
            CancelReason::Cancel => End::Cancelled,
        };
        if *cancelled.by == *self.client {
            return self.end_cancelled(number, record, cancelled, end);
        }
        if let SendStage::Stored { seq: Some(seq) } = task.stage {
            self.actions.push_back(Action::DeleteMessage { seq });
        }
        self.end(number, end);
    }

    /// The record at `reply` cannot be decoded. It ends the task, because no other record will follow.
    pub(in crate::cluster::client) fn malformed(
        &mut self,
        reply: &ReplyTo,
        seq: u64,
        reason: &Malformed,
    ) {
        for number in self.numbers_at(reply) {
            if self
                .tasks
                .get(&number)
                .is_some_and(|task| seq > task.seen.seq())
            {
                self.end(number, End::Unreadable(reason.clone()));
            }
        }
    }

    /// A read that was asked at this time found no record of the task.
    pub(in crate::cluster::client) fn no_record(&mut self, number: u64, asked: Instant) {
        let Some(task) = self.tasks.get_mut(&number) else {
            return;
        };
        if task.is_claimed() {
            // A replica may not have the claim yet. The second time it is lost.
            task.absent += u8::from(!task.is_late(asked));
            if task.absent > 1 {
                task.absent = 0;
                task.has_run = true; // As far as anyone knows.
                self.unclaimed(number, Seen::Nothing);
            }
            return;
        }
        self.waits(number, asked);
    }

    /// A read that was asked at this time found that no worker has the task.
    fn waits(&mut self, number: u64, asked: Instant) {
        let Some(task) = self.tasks.get_mut(&number) else {
            return;
        };
        match task.stage {
            _ if task.is_late(asked) => {}
            SendStage::Missing => return self.end(number, End::NotFound),
            SendStage::Stored { seq: Some(_) }
                if task.unfound > 0 || self.terms.checks_message(task.pause) =>
            {
                self.search(number);
            }
            SendStage::Stored { seq: None } => self.search(number),
            SendStage::Stored { .. } | SendStage::Unsent { .. } | SendStage::Sent { .. } => {}
        }
        self.advance_end(number);
    }

    /// Finds out whether the stream has a task.
    pub(super) fn search(&mut self, number: u64) {
        let Some(task) = self.tasks.get_mut(&number) else {
            return;
        };
        let SendStage::Stored { seq } = task.stage else {
            return;
        };
        if std::mem::replace(&mut task.is_searched, true) {
            return;
        }
        let reply = task.reply(&self.client, number);
        self.actions.push_back(match seq {
            Some(seq) => Action::CheckMessage { number, seq },
            None => Action::FindMessage { number, reply },
        });
    }

    /// A search of the stream found the message of the task at `seq`, or did not find it.
    pub(in crate::cluster::client) fn found(
        &mut self,
        number: u64,
        seq: Option<u64>,
        now: Instant,
    ) {
        let Some(task) = self.tasks.get_mut(&number) else {
            return;
        };
        if !std::mem::take(&mut task.is_searched) {
            return; // It is the answer to an earlier search.
        }
        match (&task.stage, seq) {
            (SendStage::Stored { .. }, Some(seq)) => {
                task.stage = SendStage::Stored { seq: Some(seq) };
                task.unfound = 0;
                task.unload();
            }
            (SendStage::Stored { seq: None }, None) if task.content.is_some() && !task.has_run => {
                task.unfound += 1;
                if task.unfound == 1 {
                    // After a reconnect, the connection may just have sent a publish from its buffer.
                    return self
                        .timers
                        .add(now + SEARCH_AGAIN, number, TaskTimer::Check);
                }
                // It was never stored and has no record, so it can be published as if for the first time.
                task.unfound = 0;
                task.stage = SendStage::Unsent { first: None };
                self.send_again(number, now);
            }
            (SendStage::Stored { .. }, None) if task.unfound < MOST_UNFOUND => {
                let next = now + super::clock::CHECK_SOON * (1 << task.unfound);
                task.unfound += 1;
                task.reads_from = Some(next);
                self.timers.add(next, number, TaskTimer::Check);
            }
            (SendStage::Stored { .. }, None) => {
                task.stage = SendStage::Missing;
                task.absent = 0;
                task.reads_from = Some(now);
                self.read_now(number); // The record may have been written meanwhile.
            }
            _ => {}
        }
    }
}
