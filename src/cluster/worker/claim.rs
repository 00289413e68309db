//! Claims a task that other workers may claim too. [`ClaimRules`] decides; this file asks the server and the other
//! workers.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use async_nats::Request;
use async_nats::client::RequestErrorKind;
use bytes::Bytes;

use super::assign::{Assignment, TaskOrder};
use super::claim_rules::{ClaimRules, ClaimStep, Found, Reply, may_run_again};
use super::core::WorkerCore;
use super::records::{ReadRecord, Written, read, write};
use super::slots::ClaimPermit;
use super::table::HeldTask;
use crate::cluster::control::{Ask, AskAnswer, ControlMessage as _};
use crate::cluster::error::ClusterError;
use crate::cluster::large;
use crate::cluster::malformed::Malformed;
use crate::cluster::record::{ClaimRecord, Record};
use crate::cluster::swap::{Seq, SwapRefusal};
use crate::cluster::task_message::TaskPayload;

/// Deliveries after which a task ends if its payload is damaged or not permitted.
const MOST_READS: u64 = 5;

/// How long a worker may take to answer.
const ANSWER: Duration = Duration::from_secs(1);

/// How the attempt to claim a task ends.
#[derive(Debug)]
pub(super) enum ClaimResult {
    /// The task is claimed, and may run.
    Claimed {
        claim: Seq,
        attempt: u32,
        permit: ClaimPermit,
        /// The arguments, or why no worker can read them.
        payload: Result<Bytes, String>,
    },
    /// The task is claimed, but so late that it may have run elsewhere before.
    Late { claim: Seq, attempt: u32 },
    /// Its arguments cannot be read by this worker, or not now.
    Unreadable,
    /// The task has ended elsewhere, with this record.
    Ended(ReadRecord),
    /// Another worker runs it, or the server refuses the claim.
    GiveBack,
    /// Its worker is lost, and it may not run again.
    WorkerLost { claim: Seq, lost: ClaimRecord },
}

/// Claims a task that this worker holds. Keeps `permit` only while no other worker has a claim.
pub(super) async fn claim_task(
    core: &WorkerCore,
    held: &HeldTask,
    assignment: &Assignment,
    permit: ClaimPermit,
) -> ClaimResult {
    let (delivered, retries) = (assignment.delivered, assignment.retries);
    let mut rules = ClaimRules::new(delivered.times, retries, core.times.lost_after);
    let mut payload = None;
    let mut permit = Some(permit);
    let mut record: Option<ReadRecord> = None;
    let mut found = Found::Nothing;
    let mut step = rules.first_step();
    loop {
        let next = match step {
            ClaimStep::Claim { expected, attempt } => 'claim: {
                let kept = match permit.take() {
                    Some(permit) => permit,
                    None => ClaimPermit::Slot(core.slots.take().await),
                };
                if payload.is_none() {
                    match arguments(core, held, assignment, expected).await {
                        Arguments::Known(known) => payload = Some(known),
                        Arguments::Unreadable => return ClaimResult::Unreadable,
                        Arguments::Overtaken(other) => {
                            permit = Some(kept);
                            record = other;
                            break 'claim None;
                        }
                    }
                }
                let is_fresh = || expected > 0 || Instant::now() <= delivered.fresh_until;
                if !is_fresh() {
                    return ClaimResult::GiveBack;
                }
                match store_claim(core, held, expected, attempt, retries).await {
                    Ok(Written::Stored(claim)) if !is_fresh() => {
                        return ClaimResult::Late { claim, attempt };
                    }
                    Ok(Written::Stored(claim)) => {
                        return ClaimResult::Claimed {
                            claim,
                            attempt,
                            permit: kept,
                            payload: payload.expect("it was read before the claim"),
                        };
                    }
                    Ok(Written::Other(other)) => record = Some(other),
                    Ok(Written::Removed) => record = None,
                    Err(_) => return ClaimResult::GiveBack,
                }
                None
            }
            ClaimStep::Read => {
                record = read(core, held).await;
                None
            }
            ClaimStep::Ask { worker, after } => {
                if !after.is_zero() {
                    tokio::time::sleep(after).await;
                    if held.end().is_some() {
                        return ClaimResult::GiveBack; // The worker is ending, or the client has cancelled the task.
                    }
                }
                let reply = match worker == core.me.id {
                    true => Reply::Unknown, // A claim that this worker no longer uses.
                    false => ask(core, held, &worker).await,
                };
                Some(rules.on_reply(&found, reply, core.reconnected(), Instant::now()))
            }
            ClaimStep::Finish => match record {
                Some(record) => return ClaimResult::Ended(record),
                None => Some(ClaimStep::Read),
            },
            ClaimStep::GiveBack => return ClaimResult::GiveBack,
            ClaimStep::WriteLoss { expected, .. } => {
                match record.as_ref().map(ReadRecord::record) {
                    Some(Ok(Record::Claim(lost))) => {
                        return ClaimResult::WorkerLost {
                            claim: expected,
                            lost,
                        };
                    }
                    _ => Some(ClaimStep::Read),
                }
            }
        };
        step = next.unwrap_or_else(|| {
            found = found_in(record.as_ref());
            rules.on_record(&found, Instant::now())
        });
    }
}

/// Writes a claim over the record `expected`.
pub(super) async fn store_claim(
    core: &WorkerCore,
    held: &HeldTask,
    expected: Seq,
    attempt: u32,
    retries: u32,
) -> Result<Written, SwapRefusal> {
    let answer_to = may_run_again(attempt, retries).then(|| held.answer_to().to_string());
    let claim = ClaimRecord {
        by: core.me.clone(),
        attempt,
        serial: core.claims.fetch_add(1, Ordering::Relaxed),
        answer_to,
    };
    let started = Instant::now();
    let written = write(core, held, expected, None, Record::Claim(claim).encode()).await;
    core.lane_wait.note_claim(started.elapsed());
    written
}

/// The arguments of a task that is not claimed yet.
enum Arguments {
    /// They were read, or no worker can read them.
    Known(Result<Bytes, String>),
    /// They cannot be read by this worker, or not now.
    Unreadable,
    /// The task has another record than expected. It may have ended, and its payload may be deleted.
    Overtaken(Option<ReadRecord>),
}

/// Reads the arguments of a task. A claim is a start, so this comes first.
async fn arguments(
    core: &WorkerCore,
    held: &HeldTask,
    assignment: &Assignment,
    expected: Seq,
) -> Arguments {
    let error = match read_payload(core, &assignment.order).await {
        Ok(bytes) => return Arguments::Known(Ok(bytes)),
        Err(error) => error,
    };
    let record = read(core, held).await;
    if !found_in(record.as_ref()).is(expected) {
        return Arguments::Overtaken(record);
    }
    let times = assignment.delivered.times;
    if may_be_read_later(&error, times) {
        return Arguments::Unreadable;
    }
    Arguments::Known(Err(format!(
        "was not run: {times} deliveries found its arguments unreadable: {error}"
    )))
}

async fn read_payload(core: &WorkerCore, order: &TaskOrder) -> Result<Bytes, ClusterError> {
    let TaskOrder::Run(task) = order else {
        return Ok(Bytes::new());
    };
    match &task.payload {
        TaskPayload::Inline(bytes) => Ok(bytes.clone()),
        TaskPayload::Object { name, size } => {
            large::get(&core.nats, &core.names, name, *size).await
        }
    }
}

/// Whether another worker may be able to read a payload, or this one later.
fn may_be_read_later(error: &ClusterError, delivered: u64) -> bool {
    error.is_unreachable() || delivered < MOST_READS
}

/// What a record means for a claim.
fn found_in(record: Option<&ReadRecord>) -> Found {
    let Some(read) = record else {
        return Found::Nothing;
    };
    let seq = read.seq;
    match read.record() {
        Ok(Record::Claim(claim)) => Found::Claimed {
            seq,
            attempt: claim.attempt,
            worker: claim.by.id,
        },
        Ok(Record::Released { attempt }) => Found::Released { seq, attempt },
        Ok(Record::Outcome(_) | Record::Cancelled(_)) => Found::Ended,
        // A worker of another version handles it.
        Err(Malformed::Version { .. }) => Found::Foreign,
        // No worker wrote it. The client reads it too, and fails the task.
        Err(_) => Found::Ended,
    }
}

/// Asks the worker of a claim whether it runs the task.
async fn ask(core: &WorkerCore, held: &HeldTask, worker: &str) -> Reply {
    let subject = core.names.worker(worker, "ask");
    let request = Request::new()
        .payload(Ask::new(&held.reply).encode())
        .timeout(Some(ANSWER));
    match core.nats.client().send_request(subject, request).await {
        Ok(answer) => match AskAnswer::decode(&answer.payload) {
            Ok(AskAnswer::Running) => Reply::Running,
            Ok(AskAnswer::Unknown) => Reply::Unknown,
            Err(_) => Reply::Silence,
        },
        Err(error) if error.kind() == RequestErrorKind::NoResponders => Reply::NoResponder,
        Err(_) => Reply::Silence,
    }
}

#[cfg(all(test, not(properties)))]
mod tests {
    use super::*;
    use crate::cluster::error::Problem;

    #[test]
    fn a_payload_that_cannot_be_read_is_tried_again_and_a_damaged_one_a_few_times() {
        let away = ClusterError::new(Problem::Unreachable, "away");
        assert!(may_be_read_later(&away, 1000));
        let damaged = ClusterError::new(Problem::Damaged, "a part is missing");
        assert!(may_be_read_later(&damaged, 1));
        assert!(!may_be_read_later(&damaged, MOST_READS));
    }
}
