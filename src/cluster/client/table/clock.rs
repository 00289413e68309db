//! The timers of tasks: queue timeouts, time limits of cancels, and checks for lost messages. A task whose record does
//! not change is checked less and less often. One request reads the records of many tasks.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use super::{Action, Table, TableTerms};
use crate::cluster::client::in_flight::{EndRequest, Seen, SendStage};
use crate::cluster::client::timers::TaskTimer;

/// The longest pause between two checks of a task that waits, and of one that runs.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
const PAUSE_OF_RUNNING: Duration = Duration::from_secs(4);
/// The pause before a check for lost notifications. More of them may be lost meanwhile.
pub(super) const CHECK_SOON: Duration = Duration::from_millis(200);
/// From this pause on, a check includes whether the stream still has the message.
const CHECK_MESSAGE: Duration = Duration::from_secs(15);
/// The pause before the first check of a task's record.
const FIRST_CHECK: Duration = Duration::from_secs(2);

impl TableTerms {
    /// The longest pause between two checks of a task. If the notification of an outcome is lost, a check reads the
    /// outcome before it expires.
    pub(super) fn longest_pause(&self, is_claimed: bool) -> Duration {
        let longest = match is_claimed {
            true => PAUSE_OF_RUNNING,
            false => LONGEST_PAUSE,
        };
        longest.min(self.result_ttl / 3)
    }

    /// The pause before the first check.
    pub(super) fn first_pause(&self) -> Duration {
        FIRST_CHECK.min(self.longest_pause(false))
    }

    /// Whether a check after this pause includes the message.
    pub(super) fn checks_message(&self, pause: Duration) -> bool {
        pause >= CHECK_MESSAGE.min(self.longest_pause(false))
    }
}

impl Table {
    /// Runs the timers that are due. Without a connection, nothing is read.
    pub(in crate::cluster::client) fn on_timer(&mut self, now: Instant, is_connected: bool) {
        let mut asked = HashSet::new();
        while let Some((number, timer)) = self.timers.take_due(now) {
            match timer {
                TaskTimer::Resend => self.send_again(number, now),
                TaskTimer::Expire => self.expire(number, now),
                TaskTimer::AnswerCancel => self.answer_cancel(number),
                TaskTimer::Check => self.check(number, now, is_connected, &mut asked),
            }
        }
    }

    fn expire(&mut self, number: u64, now: Instant) {
        if let Some(task) = self.tasks.get(&number)
            && !task.is_claimed()
            && let Some(limit) = task.ticket().options().queue_timeout
        {
            self.request_end(number, EndRequest::Expire { limit }, now);
        }
    }

    fn check(
        &mut self,
        number: u64,
        now: Instant,
        is_connected: bool,
        asked: &mut HashSet<String>,
    ) {
        let Some(task) = self.tasks.get_mut(&number) else {
            return self.check_orphan(number, now, is_connected);
        };
        let longest = self.terms.longest_pause(task.is_claimed());
        task.pause = (2 * task.pause).clamp(self.terms.first_pause().min(longest), longest);
        let next = now + task.pause;
        self.timers.add(next, number, TaskTimer::Check);
        if !is_connected {
            return;
        }
        if let SendStage::Sent { .. } = task.stage {
            return self.check_sent(number, now);
        }
        if let SendStage::Unsent { .. } = task.stage {
            return;
        }
        if let Seen::Claimed { by, .. } = &task.seen
            && asked.insert(by.id.clone())
        {
            let (worker, reply) = (by.clone(), task.reply(&self.client, number));
            self.actions.push_back(Action::AskWorker {
                worker,
                number,
                reply,
            });
        }
        // Their answers are lost by now.
        task.swapping = None;
        task.is_searched = false;
        if let Some(EndRequest::Abort { is_announced }) = &mut task.end_request {
            *is_announced = false; // It may be lost too.
        }
        self.read_now(number);
    }

    /// Notifications may have been lost: checks all tasks soon.
    pub(in crate::cluster::client) fn check_all(&mut self, now: Instant) {
        let numbers: Vec<u64> = self.tasks.keys().copied().collect();
        for number in numbers {
            self.timers.add(now + CHECK_SOON, number, TaskTimer::Check);
        }
    }

    pub(super) fn read_now(&mut self, number: u64) {
        if let Some(task) = self.tasks.get(&number) {
            let reply = task.reply(&self.client, number);
            match self.actions.back_mut() {
                Some(Action::ReadRecords(tasks)) if tasks.len() < super::MOST_READ => {
                    tasks.push((number, reply));
                }
                _ => self
                    .actions
                    .push_back(Action::ReadRecords(vec![(number, reply)])),
            }
        }
    }
}
