//! Passes outcomes to their callers. This decodes results, so it runs user code.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use super::core::ClientCore;
use super::counts::ItemEnd;
use super::in_flight::TaskInFlight;
use super::table::{Completions, End};
use crate::cluster::large;
use crate::cluster::lost::lost_error;
use crate::cluster::record::{ItemRun, ItemRuns, OutcomeBody, OutcomeRecord, WorkerId};
use crate::executor::error::{Cause, Rejection, TaskError};
use crate::executor::served::PromiseEncoded;
use crate::wire::outcomes::Values;

/// From this size on, results are decoded on a thread of their own.
const DECODE_ELSEWHERE: usize = 256 * 1024;

impl ClientCore {
    pub(super) fn settle(&self, completions: Completions) {
        let Completions {
            ended,
            undecided,
            rooms,
        } = completions;
        for owed in undecided {
            owed.cancel_rest(true);
        }
        drop(rooms);
        let has_ended = !ended.is_empty();
        for (task, end) in ended {
            self.settle_one(task, end);
        }
        if has_ended {
            self.stored.notify_waiters();
        }
        if has_ended && self.rooms.is_closed() {
            self.note_end();
        }
    }

    fn settle_one(&self, task: TaskInFlight, end: End) {
        let has_started = end.has_started(&task);
        let cause = match end {
            End::Outcome(OutcomeRecord { by, body, .. }) => match body {
                OutcomeBody::Inline(runs) => return self.deliver(task, by, runs),
                OutcomeBody::Object { name, size } => return self.fetch(task, by, name, size),
            },
            End::Lost { by, attempt } => {
                task.ticket().trace().ran_on(&by.host);
                let error = lost_error(task.ticket().name(), &by, attempt);
                return self.fail(task, ItemEnd::CutShort, &error);
            }
            End::Undecided(reason) => {
                let cause = Cause::Rejected(Rejection::InvalidSetting(reason.into()));
                let error = task.ticket().error(true, cause); // It may have started.
                return self.fail(task, ItemEnd::CutShort, &error);
            }
            End::Unreadable(reason) => return self.unreadable(task, &reason.to_string()),
            End::NotFound => Cause::Rejected(Rejection::InvalidSetting(NOT_FOUND.into())),
            End::Cancelled => Cause::Cancelled,
            End::Expired { limit } => Cause::Rejected(Rejection::WaitedTooLong { limit }),
            End::Refused(cause) => cause,
            End::Abandoned => Cause::Shutdown,
        };
        let kind = match (&cause, task.is_claimed()) {
            (Cause::Cancelled, _) => ItemEnd::Cancelled,
            (Cause::Shutdown, true) => ItemEnd::Killed,
            (Cause::Shutdown, false) => ItemEnd::Cancelled,
            _ => ItemEnd::Refused,
        };
        let error = task.ticket().error(has_started, cause);
        self.fail(task, kind, &error);
    }

    /// All items that are left fail with `error`.
    fn fail(&self, mut task: TaskInFlight, end: ItemEnd, error: &TaskError) {
        self.counts.add(end, task.items());
        fail_all(&mut task, error);
        self.conclude(task);
    }

    /// Drops a task whose caller has the outcome.
    fn conclude(&self, task: TaskInFlight) {
        drop(task);
        self.settled();
    }

    /// Gives each item its outcome.
    fn deliver(&self, task: TaskInFlight, by: WorkerId, runs: ItemRuns) {
        let promise = task.owed.promise().clone();
        let bytes: usize = runs.runs.iter().map(size_of_run).sum();
        if bytes >= DECODE_ELSEWHERE && !promise.takes_bytes() {
            let me = self.shared();
            return self.home.detach(move || me.deliver_here(task, &by, runs));
        }
        self.deliver_here(task, &by, runs);
    }

    fn deliver_here(&self, mut task: TaskInFlight, by: &WorkerId, runs: ItemRuns) {
        let promise = task.owed.promise().clone();
        let items = task.items() as u32;
        let time = Duration::from_nanos(runs.nanos);
        task.ticket().trace().ran_on(&by.host);
        if !time.is_zero() {
            task.ticket().ran(by.pid.into(), items, time);
            if promise.counts_time() {
                promise.took(items, time);
            }
        }
        if let Some((done, total)) = runs.progress
            && runs.progress != task.reported
        {
            promise.report(task.base.into(), done, total); // The message of this report is lost, or late.
        }
        for run in runs.runs {
            self.deliver_run(&mut task, &promise, run);
        }
        let missing = task.owed.remaining() as usize;
        if missing > 0 {
            let error = task.ticket().error(true, Cause::Codec(MISSING.into()));
            self.counts.add(ItemEnd::CutShort, missing);
            fail_all(&mut task, &error);
        }
        self.conclude(task);
    }

    fn deliver_run(
        &self,
        task: &mut TaskInFlight,
        promise: &Arc<dyn PromiseEncoded>,
        run: ItemRun,
    ) {
        let Some(items) = self.take_items(task, run.items()) else {
            return;
        };
        match run {
            ItemRun::Values(mut values) => {
                values.first = items.start;
                self.counts.add(ItemEnd::Returned, items.len());
                promise.fulfil_encoded(values);
            }
            ItemRun::Failed { error, .. } => {
                let error = error.of_task(task.ticket().name());
                self.counts.add(end_of(&error), items.len());
                for item in items {
                    promise.fail(item, error.clone());
                }
            }
        }
    }

    /// Takes the next items, for the caller to answer. `items` counts from the first item of the message, and the
    /// result as the promise does. `None` if they are not the next items.
    fn take_items(&self, task: &mut TaskInFlight, items: Range<u32>) -> Option<Range<u32>> {
        let start = items.start.checked_add(task.base)?;
        let end = items.end.checked_add(task.base)?;
        let is_next = start == task.owed.next() && end - start <= task.owed.remaining();
        is_next.then(|| task.owed.take_until(end).1)
    }

    /// Delivers a large outcome after reading it from the payload stream.
    fn fetch(&self, task: TaskInFlight, by: WorkerId, name: String, size: u64) {
        let me = self.shared();
        self.nats.spawn(async move {
            let read = large::get(&me.nats, &me.names, &name, size);
            let Some(read) = me.past_deadline.run_until_cancelled(read).await else {
                let error = task.ticket().error(true, Cause::Shutdown);
                return me.fail(task, ItemEnd::Killed, &error);
            };
            match read {
                Ok(bytes) => {
                    match ItemRuns::decode(&bytes) {
                        Ok(runs) => me.deliver(task, by, runs),
                        Err(error) => me.unreadable(task, &error.to_string()),
                    }
                    large::delete(&me.nats, &me.names, &name).await;
                }
                Err(reason) => me.unreadable(task, &reason.to_string()),
            }
        });
    }

    /// Fails a task whose outcome cannot be read.
    pub(super) fn unreadable(&self, task: TaskInFlight, reason: &str) {
        let cause = Cause::Codec(format!("ran, but its result cannot be read: {reason}").into());
        let error = task.ticket().error(true, cause);
        self.fail(task, ItemEnd::CutShort, &error);
    }
}

/// Fails all items that are left. Count them before, so that a caller with an outcome sees it in the counts.
fn fail_all(task: &mut TaskInFlight, error: &TaskError) {
    while task.owed.remaining() > 0 {
        task.owed
            .answer_next(|promise, item| promise.fail(item, error.clone()));
    }
}

fn size_of_run(run: &ItemRun) -> usize {
    match run {
        ItemRun::Values(values) => Values::len(values),
        ItemRun::Failed { .. } => 0,
    }
}

fn end_of(error: &TaskError) -> ItemEnd {
    match (error.is_panic(), error.was_started(), error.is_cancelled()) {
        (true, ..) => ItemEnd::Panicked,
        (false, true, _) => ItemEnd::CutShort,
        (false, false, true) => ItemEnd::Cancelled,
        (false, false, false) => ItemEnd::Refused,
    }
}

const NOT_FOUND: &str = "the queue has neither the task nor its outcome any more: the outcome was kept for its time to live, \
    or the queue was emptied; wait for outcomes in time, or raise `result_ttl`";
const MISSING: &str = "ran, but its worker sent no outcome for it";
