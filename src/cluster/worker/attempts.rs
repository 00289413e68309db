//! The attempts of a claimed task. Each attempt has a claim, so the number of claims limits how often a task starts.

use std::pin::pin;
use std::time::Duration;

use bytes::Bytes;

use super::attempt;
use super::claim::store_claim;
use super::core::WorkerCore;
use super::gathered::{gather, is_refused, kind_of, take_lost};
use super::records::Written;
use super::slots::Slot;
use super::table::{HeldEnd, HeldTask};
use crate::cluster::entry::FunctionEntry;
use crate::cluster::lost::lost_error;
use crate::cluster::record::{ItemRun, ItemRuns};
use crate::cluster::swap::Seq;
use crate::cluster::task_message::TaskMessage;
use crate::executor::error::{Cause, TaskError};
use crate::executor::options::TaskName;
use crate::observe::{RemoteTask, RemoteTrace};

/// A task that this worker has claimed.
pub(super) struct Claimed<'a> {
    pub(super) core: &'a WorkerCore,
    pub(super) held: &'a HeldTask,
    /// The latest claim.
    pub(super) claim: Seq,
    pub(super) attempt: u32,
    pub(super) retries: u32,
}

/// How the attempts of a claimed task end.
pub(super) enum AttemptsEnd {
    Outcome(ItemRuns),
    /// The function was not called.
    NotStarted,
    /// The task goes back to the queue for another worker.
    ForOthers {
        pause: Duration,
    },
    /// Another worker has replaced the claim.
    Fenced,
}

impl AttemptsEnd {
    /// The name of this end in a span.
    fn kind(&self) -> &'static str {
        match self {
            Self::Outcome(outcomes) => kind_of(outcomes),
            Self::NotStarted | Self::ForOthers { .. } => "given_back",
            Self::Fenced => "fenced",
        }
    }
}

impl Claimed<'_> {
    /// Runs all items. Items that lose their local worker run again while there are retries.
    pub(super) async fn attempts(
        &mut self,
        entry: &FunctionEntry,
        task: &TaskMessage,
        payload: Bytes,
        slot: Slot,
    ) -> AttemptsEnd {
        let trace = RemoteTrace::begin(RemoteTask {
            id: task.id,
            key: &task.reply,
            function: &task.function,
            queue: self.core.names.queue(),
            worker: &self.core.me.id,
            host: &self.core.me.host,
            attempt: self.attempt,
            traceparent: task.traceparent.as_deref(),
        });
        let end = self.traced(entry, task, payload, slot, &trace).await;
        trace.end(end.kind());
        end
    }

    async fn traced(
        &mut self,
        entry: &FunctionEntry,
        task: &TaskMessage,
        payload: Bytes,
        slot: Slot,
        trace: &RemoteTrace,
    ) -> AttemptsEnd {
        let (core, held) = (self.core, self.held);
        let mut outcomes = ItemRuns::default();
        let mut slot = Some(slot);
        let mut parts = vec![(0, payload.clone(), task.items)];
        loop {
            for (first, payload, items) in std::mem::take(&mut parts) {
                let slot = match slot.take() {
                    Some(slot) => slot,
                    None => core.slots.take().await,
                };
                match held.end() {
                    Some(HeldEnd::Abandoned) if outcomes.runs.is_empty() && self.attempt == 1 => {
                        return AttemptsEnd::NotStarted;
                    }
                    Some(_) => {
                        let error =
                            TaskError::new(name_of(task), self.attempt > 1, Cause::Cancelled);
                        outcomes
                            .runs
                            .extend(ItemRuns::failed(first..first + items, &error).runs);
                    }
                    None => {
                        let part = (payload, items);
                        let number = task.first_attempt.saturating_add(self.attempt - 1);
                        let run = attempt::run(core, held, entry, task, trace, number, part, slot);
                        let (ran, progress) = renewed(core.times.claim_age, run, self).await;
                        outcomes.progress = progress.or(outcomes.progress);
                        gather(&mut outcomes, ran, first);
                    }
                }
            }
            if is_refused(&outcomes) && self.attempt == 1 {
                core.executor_closed.notify_one();
                return AttemptsEnd::NotStarted;
            }
            if held.end().is_some() || self.attempt > self.retries {
                break;
            }
            let lost = take_lost(&mut outcomes);
            if lost.is_empty() {
                break;
            }
            match store_claim(core, held, self.claim, self.attempt + 1, self.retries).await {
                Ok(Written::Stored(claim)) => {
                    (self.claim, self.attempt) = (claim, self.attempt + 1);
                    trace.attempted_again(self.attempt);
                }
                Ok(Written::Other(_) | Written::Removed) => return AttemptsEnd::Fenced,
                Err(_) => {
                    let pause = core.times.ack_wait / 4;
                    return AttemptsEnd::ForOthers { pause };
                }
            }
            let bytes = entry.cut(&payload, task.items).unwrap_or_default();
            // One by one: in a chunk, an item that kills its worker would cost the others a retry again.
            parts.extend(lost.into_iter().filter_map(|item| {
                let bytes = bytes.get(item as usize)?;
                let bytes = payload.slice(bytes.start as usize..bytes.end as usize);
                Some((item, bytes, 1))
            }));
        }
        if held.end() == Some(HeldEnd::Abandoned) {
            if self.attempt <= self.retries {
                // The next worker asks this one, which answers that it does not run the task.
                let pause = Duration::ZERO;
                return AttemptsEnd::ForOthers { pause };
            }
            self.lose(task, &mut outcomes);
        }
        self.count_attempts(&mut outcomes);
        outcomes.runs.sort_by_key(|run| run.items().start);
        AttemptsEnd::Outcome(outcomes)
    }

    /// Turns the items that were cancelled at the end of the worker into items of a lost worker.
    fn lose(&self, task: &TaskMessage, outcomes: &mut ItemRuns) {
        let lost = lost_error(name_of(task), &self.core.me, self.attempt);
        for run in &mut outcomes.runs {
            if let ItemRun::Failed { error, .. } = run
                && error.is_cancelled()
            {
                *error = lost.clone();
            }
        }
    }

    /// Sets in each error how many attempts there were.
    fn count_attempts(&self, outcomes: &mut ItemRuns) {
        for run in &mut outcomes.runs {
            if let ItemRun::Failed { error, .. } = run
                && error.attempts() < self.attempt
            {
                *error = error.clone().after(self.attempt - error.attempts(), true);
            }
        }
    }
}

/// What is written again while a task runs.
trait Renew {
    fn renew(&mut self) -> impl Future<Output = ()> + Send;
}

impl Renew for Claimed<'_> {
    /// Writes the claim again before the age limit of the stream removes it.
    async fn renew(&mut self) {
        let written =
            store_claim(self.core, self.held, self.claim, self.attempt, self.retries).await;
        if let Ok(Written::Stored(claim)) = written {
            self.claim = claim;
        }
    }
}

/// Awaits `run`, and renews `claim` after each `period`.
async fn renewed<T>(period: Duration, run: impl Future<Output = T>, claim: &mut impl Renew) -> T {
    let mut run = pin!(run);
    loop {
        match tokio::time::timeout(period, &mut run).await {
            Ok(ran) => return ran,
            Err(_) => claim.renew().await,
        }
    }
}

/// The name of a task in errors.
pub(super) fn name_of(task: &TaskMessage) -> TaskName {
    let name = task.name.as_ref().unwrap_or(&task.function);
    TaskName::Given(name.as_str().into())
}

#[cfg(all(test, not(properties)))]
mod tests {
    use super::*;

    struct Renewals(u32);

    impl Renew for Renewals {
        async fn renew(&mut self) {
            self.0 += 1;
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_claim_of_a_task_that_runs_for_long_is_written_again() {
        let (period, mut renewals) = (Duration::from_secs(3600), Renewals(0));
        let run = tokio::time::sleep(3 * period + period / 2);
        renewed(period, run, &mut renewals).await;
        assert_eq!(renewals.0, 3);
    }
}
