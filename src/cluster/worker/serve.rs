//! One task from its claim to its end: claim, run, outcome, and the acknowledgement of its message.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::assign::{Assignment, TaskOrder};
use super::attempts::{AttemptsEnd, Claimed, name_of};
use super::claim::{ClaimResult, claim_task};
use super::claim_rules::may_run_again;
use super::core::WorkerCore;
use super::gathered::{kinds_of, name_worker};
use super::records::{Written, retire, write};
use super::slots::ClaimPermit;
use super::store::{Stored, store};
use super::table::HeldTask;
use crate::cluster::delivery::growing_pause;
use crate::cluster::large;
use crate::cluster::lost::lost_error;
use crate::cluster::record::{ClaimRecord, ItemRuns, OutcomeBody, OutcomeRecord, Record};
use crate::cluster::swap::{Seq, swap};
use crate::cluster::task_message::{TaskMessage, TaskPayload};
use crate::executor::error::{Cause, TaskError};

/// Removes the task from the table when dropped, also by a panic or an abort.
struct Removal<'a>(&'a WorkerCore, &'a HeldTask);

impl Drop for Removal<'_> {
    fn drop(&mut self) {
        self.0.tasks.remove(self.1);
    }
}

/// Serves a task to its end. It stays in the table until then.
pub(super) async fn serve(
    core: Arc<WorkerCore>,
    held: Arc<HeldTask>,
    assignment: Assignment,
    permit: ClaimPermit,
) {
    let (core, held) = (&*core, &*held);
    let _removal = Removal(core, held);
    let result = claim_task(core, held, &assignment, permit).await;
    let Assignment {
        delivered,
        items,
        retries,
        order,
    } = assignment;
    let claimed = |claim, attempt| Claimed {
        core,
        held,
        claim,
        attempt,
        retries,
    };
    match result {
        ClaimResult::Claimed {
            claim,
            attempt,
            permit,
            payload,
        } => {
            let claimed = claimed(claim, attempt);
            let _count = core.tally.meter.claimed();
            match order {
                TaskOrder::Run(task) => claimed.run(*task, payload, permit).await,
                TaskOrder::Refuse { task, reason } => {
                    drop(permit);
                    let cause = Cause::Codec(reason.into());
                    let error = TaskError::new(task, attempt > 1, cause).after(attempt - 1, true);
                    claimed.end(ItemRuns::failed(0..items, &error)).await;
                }
            }
        }
        ClaimResult::Ended(record) if record.expires => core.finish(held).await,
        // Its writer ended before it could retire the record.
        ClaimResult::Ended(record) => retire(core, held, record.seq, record.bytes).await,
        ClaimResult::Late { claim, attempt } => claimed(claim, attempt).release().await,
        ClaimResult::Unreadable => core.give_back(held, growing_pause(delivered.times)).await,
        ClaimResult::GiveBack => core.give_back(held, core.times.ack_wait / 4).await,
        ClaimResult::WorkerLost { claim, lost } => {
            core.tally.meter.found_lost();
            let task = match order {
                TaskOrder::Run(task) => name_of(&task),
                TaskOrder::Refuse { task, .. } => task,
            };
            lose(
                core,
                held,
                claim,
                &lost,
                ItemRuns::failed(0..items, &lost_error(task, &lost.by, lost.attempt)),
            )
            .await;
        }
    }
}

/// Writes that the worker of a claim is lost, and that the task does not run again. The message is removed only after
/// that: the worker may have released the claim meanwhile.
async fn lose(
    core: &WorkerCore,
    held: &HeldTask,
    claim: Seq,
    lost: &ClaimRecord,
    mut runs: ItemRuns,
) {
    name_worker(&mut runs, &core.me);
    let kinds = kinds_of(&runs);
    let body = Record::Outcome(OutcomeRecord {
        by: core.me.clone(),
        attempt: lost.attempt,
        body: OutcomeBody::Inline(runs),
    });
    let body = body.encode();
    match write(core, held, claim, None, body.clone()).await {
        Ok(Written::Stored(seq)) => {
            core.tally.ended(&kinds);
            retire(core, held, seq, body).await;
        }
        Ok(Written::Other(_) | Written::Removed) => core.give_back(held, Duration::ZERO).await,
        Err(_) => core.give_back(held, core.times.ack_wait / 4).await,
    }
}

impl Claimed<'_> {
    async fn run(mut self, task: TaskMessage, payload: Result<Bytes, String>, permit: ClaimPermit) {
        let core = self.core;
        let Some(entry) = core.functions.entry(&task.function) else {
            return; // Unreachable: the driver declines a task of an unknown function.
        };
        let payload = match payload {
            Ok(payload) => payload,
            Err(reason) => {
                drop(permit);
                let error = TaskError::new(name_of(&task), false, Cause::Codec(reason.into()));
                self.end(ItemRuns::failed(0..task.items, &error)).await;
                return;
            }
        };
        let Some(slot) = core.slots.slot_for(permit).await else {
            return self.release().await; // The tasks before it take longer than expected.
        };
        match self.attempts(entry, &task, payload, slot).await {
            AttemptsEnd::Outcome(outcomes) => {
                let is_stored = self.end(outcomes).await;
                if is_stored && let TaskPayload::Object { name, .. } = &task.payload {
                    large::delete(&core.nats, &core.names, name).await; // The task does not run again.
                }
            }
            AttemptsEnd::NotStarted => self.release().await,
            AttemptsEnd::ForOthers { pause } => core.give_back(self.held, pause).await,
            AttemptsEnd::Fenced => {} // The worker that replaced the claim has the task.
        }
    }

    /// Replaces the claim of a task that has not started by a released one, and returns the task to the queue.
    async fn release(&self) {
        let (core, held) = (self.core, self.held);
        let record = Record::Released {
            attempt: self.attempt,
        };
        let subject = core.names.record_of(&held.reply);
        // If this write fails, the next worker considers this one lost.
        let _ = swap(&core.nats, &subject, self.claim, None, record.encode()).await;
        core.give_back(held, Duration::ZERO).await;
    }

    /// Stores the outcome, and removes the message from the stream. Returns whether the outcome is stored.
    ///
    /// This worker may be killed between the two. So the message of a task that may run again is removed after its
    /// outcome is stored, and only then the outcome gets a TTL. The message of any other task is removed first. So no
    /// task runs again after its outcome has expired.
    async fn end(&self, mut outcomes: ItemRuns) -> bool {
        let (core, held) = (self.core, self.held);
        name_worker(&mut outcomes, &core.me);
        let kinds = kinds_of(&outcomes);
        let may_run_again = may_run_again(self.attempt, self.retries);
        let ttl = match may_run_again {
            true => None,
            false => {
                core.finish(held).await;
                Some(core.times.result_ttl)
            }
        };
        let stored = store(core, held, self.claim, self.attempt, outcomes, ttl).await;
        let Stored::Yes { seq, body } = stored else {
            return false; // The worker that replaced the claim has the task.
        };
        core.tally.ended(&kinds);
        if may_run_again {
            retire(core, held, seq, body).await;
        }
        true
    }
}
