//! One run of items by the local executor.

use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{oneshot, watch};

use super::core::WorkerCore;
use super::slots::Slot;
use super::table::HeldTask;
use crate::cluster::control::{ControlMessage as _, ProgressNote};
use crate::cluster::entry::FunctionEntry;
use crate::cluster::task_message::TaskMessage;
use crate::executor::collector::ReportProgress;
use crate::executor::options::TaskOptions;
use crate::executor::relay::RelayedCall;
use crate::executor::relayed_runs::RelayedOutcomes;
use crate::observe::{RemoteTrace, as_attempt};

/// The shortest time between two reports of a task's progress.
const PACE: Duration = Duration::from_millis(20);

/// Runs the items of `payload`: all items of the task, or one. `attempt` is the number that the caller counts. Also
/// returns the last report of progress, for the outcome, since the messages of reports may be lost. The slot is free
/// once the local executor has dropped the items.
#[expect(clippy::too_many_arguments, reason = "each comes from another owner")]
pub(super) async fn run(
    core: &WorkerCore,
    held: &HeldTask,
    entry: &FunctionEntry,
    task: &TaskMessage,
    trace: &RemoteTrace,
    attempt: u32,
    (payload, items): (Bytes, u32),
    mut slot: Slot,
) -> (RelayedOutcomes, Option<(u64, u64)>) {
    let room = match core.executor.try_room() {
        Err(full) if full.is_rejected() => core.executor.room().await, // Other code may use the executor too.
        room => room,
    };
    slot.start();
    let (give, mut take) = oneshot::channel();
    let (progress, mut reports) = watch::channel(None);
    let report: ReportProgress = Box::new(move |done, total| {
        progress.send_replace(Some((done, total)));
    });
    let call = RelayedCall {
        payload,
        items,
        options: options_of(core, task, trace),
        task_id: Some(task.id),
        progress: (task.items == 1).then_some(report),
        keep: Some(Box::new(slot)),
    };
    let done = Box::new(move |outcomes| {
        let _ = give.send(outcomes);
    });
    // The function and its span get the number that the caller counts.
    let relay = || entry.relay(call, room, &*core.executor, done);
    let relayed = trace.within(|| as_attempt(attempt, relay));
    held.start(relayed);
    let outcomes = loop {
        tokio::select! {
            biased;
            outcomes = &mut take => break outcomes,
            Ok(()) = reports.changed() => {
                let Some((done, total)) = *reports.borrow_and_update() else {
                    continue;
                };
                let note = ProgressNote { done, total };
                let subject = core.names.progress(&held.reply.client, held.reply.number);
                let _ = core.nats.client().publish(subject, note.encode()).await;
                if let Ok(outcomes) = tokio::time::timeout(PACE, &mut take).await {
                    break outcomes;
                }
            }
        }
    };
    held.stop();
    let outcomes = outcomes.expect("a relayed call is always answered");
    let last = *reports.borrow();
    (outcomes, last)
}

/// The options of a task, for the local executor. They allow no retries: each retry needs a claim.
fn options_of(core: &WorkerCore, task: &TaskMessage, trace: &RemoteTrace) -> TaskOptions {
    let mut options = TaskOptions::new().grace_period(task.grace_period);
    let limits = [task.timeout, core.times.longest_run];
    options.timeout = limits.into_iter().flatten().min();
    options.name = task.name.as_deref().map(Into::into);
    if !trace.is_continued() {
        options.traceparent = task.traceparent.as_deref().map(Into::into);
    }
    options
}
