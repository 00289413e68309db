//! How a worker reads and writes the record of a task. It repeats each request until the server answers.

use std::time::{Duration, Instant};

use async_nats::header::NATS_MESSAGE_TTL;
use async_nats::{HeaderMap, Message, StatusCode};
use bytes::Bytes;

use super::core::WorkerCore;
use super::table::HeldTask;
use crate::cluster::headers::{SEQUENCE, number_in};
use crate::cluster::malformed::Malformed;
use crate::cluster::record::Record;
use crate::cluster::swap::{Conflict, Seq, SwapRefusal, Swapped, explain_conflict, swap};

/// How long a server may take to read a record.
const ANSWER: Duration = Duration::from_secs(2);

/// The pause before the next request to a server that is behind.
const PAUSE: Duration = Duration::from_millis(20);

/// How long a server may be behind, such as the former leader during an election. If the record is still missing after
/// this time, it was removed.
const BEHIND: Duration = Duration::from_secs(5);

/// The record of a task, as it was read.
#[derive(Debug)]
pub(super) struct ReadRecord {
    pub(super) seq: Seq,
    /// Whether it has a TTL.
    pub(super) expires: bool,
    pub(super) bytes: Bytes,
}

/// How a write ends.
#[derive(Debug)]
pub(super) enum Written {
    Stored(Seq),
    /// Another writer replaced the record first.
    Other(ReadRecord),
    /// The expected record was removed, and there is no other one.
    Removed,
}

impl ReadRecord {
    /// Reads an answer: a record, or `Some(None)` if there is none. `None` if the answer says neither.
    fn of(answer: Message) -> Option<Option<Self>> {
        if answer.status == Some(StatusCode::NOT_FOUND) {
            return Some(None);
        }
        let headers = answer.headers.as_ref();
        Some(Some(Self {
            seq: number_in(&answer, SEQUENCE)?,
            expires: headers.is_some_and(|all| all.get(NATS_MESSAGE_TTL).is_some()),
            bytes: answer.payload,
        }))
    }

    pub(super) fn record(&self) -> Result<Record, Malformed> {
        Record::decode(&self.bytes)
    }
}

/// Replaces the record `expected` of a task, 0 for none. Each call must have a different `body`: a write whose answer
/// was lost is recognized by its bytes.
pub(super) async fn write(
    core: &WorkerCore,
    held: &HeldTask,
    expected: Seq,
    ttl: Option<Duration>,
    body: Bytes,
) -> Result<Written, SwapRefusal> {
    let subject = core.names.record_of(&held.reply);
    let started = Instant::now();
    loop {
        let latest = match swap(&core.nats, &subject, expected, ttl, body.clone()).await? {
            Swapped::Stored(seq) => return Ok(Written::Stored(seq)),
            Swapped::Conflict { latest } => latest,
        };
        let found = read(core, held).await;
        let seen = found.as_ref().map(|found| (found.seq, found.bytes == body));
        match (explain_conflict(expected, latest, seen), found) {
            (Conflict::OwnWrite(seq), _) => return Ok(Written::Stored(seq)),
            (Conflict::OtherWriter, Some(found)) => return Ok(Written::Other(found)),
            _ if latest < expected && started.elapsed() >= BEHIND => return Ok(Written::Removed),
            _ => tokio::time::sleep(PAUSE).await,
        }
    }
}

/// Reads the record of a task. Repeats the request until a server answers. It may be a replica that is behind.
pub(super) async fn read(core: &WorkerCore, held: &HeldTask) -> Option<ReadRecord> {
    let stream = core.names.records_stream();
    let subject = core.names.record_of(&held.reply);
    let subject = format!("$JS.API.DIRECT.GET.{stream}.{subject}");
    let answer =
        core.nats
            .request_until(&subject, HeaderMap::new(), Bytes::new(), ANSWER, |answer| {
                ReadRecord::of(answer.ok()?)
            });
    answer.await
}

/// Removes the message of a task that does not run again, and then writes its record `seq` again with a TTL. The record
/// must not expire before: a message without a record would run.
pub(super) async fn retire(core: &WorkerCore, held: &HeldTask, seq: Seq, body: Bytes) {
    core.finish(held).await;
    let subject = core.names.record_of(&held.reply);
    let ttl = Some(core.times.result_ttl);
    let _ = swap(&core.nats, &subject, seq, ttl, body).await; // If it fails, the stream's age limit removes it.
}
