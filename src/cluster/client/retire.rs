//! Retires a record that this client wrote. A task whose record expires before its message would run. So the record is
//! written without a TTL, and again with a TTL once the message of the task is deleted.

use std::sync::Arc;
use std::time::Duration;

use async_nats::{HeaderMap, Message};
use bytes::Bytes;

use super::core::ClientCore;
use super::in_flight::MessagePlace;
use super::scan::search;
use super::table::{LossToWrite, RecordRetirement};
use crate::cluster::connection::Unanswered;
use crate::cluster::lost::lost_error;
use crate::cluster::names::QueueNames;
use crate::cluster::publish_answer::number_after;
use crate::cluster::record::{ItemRuns, OutcomeBody, OutcomeRecord, Record};
use crate::cluster::swap::{Swapped, swap};
use crate::cluster::task_message::ReplyTo;
use crate::executor::options::TaskName;

/// How long the server may take to delete a message.
const ANSWER: Duration = Duration::from_secs(2);

/// The pause before the next search.
const PAUSE: Duration = Duration::from_millis(100);

/// The stream has no message of this sequence.
const NOT_FOUND: u64 = 10057;

/// Retires the record of a cancelled task.
pub(super) async fn retire(me: Arc<ClientCore>, retirement: RecordRetirement) {
    let RecordRetirement {
        reply,
        place,
        record,
        cancelled,
    } = retirement;
    end(
        &me,
        &reply,
        place,
        record,
        Record::Cancelled(cancelled).encode(),
    )
    .await;
    me.update(|table, _| table.retired());
    me.note_end();
}

/// Writes that the worker of a claim is lost, and retires that record. If the claim was replaced before, the next check
/// of the task reads the new record.
pub(super) async fn write_loss(
    me: Arc<ClientCore>,
    loss: LossToWrite,
    (items, name): (u32, TaskName),
) {
    let LossToWrite {
        number,
        reply,
        place,
        expected,
        by,
        attempt,
    } = loss;
    let runs = ItemRuns::failed(0..items, &lost_error(name, &by, attempt));
    let outcome = Record::Outcome(OutcomeRecord {
        by: by.as_ref().clone(),
        attempt,
        body: OutcomeBody::Inline(runs),
    });
    let body = outcome.encode();
    let subject = me.names.record_of(&reply);
    let swapped = swap(&me.nats, &subject, expected, None, body.clone()).await;
    if let Ok(Swapped::Stored(record)) = swapped {
        me.update(|table, _| table.loss_written(number));
        end(&me, &reply, place, record, body).await;
    } else {
        me.update(|table, _| table.loss_not_written(number));
    }
    me.update(|table, _| table.retired());
    me.note_end();
}

/// Deletes the message of a task, and then lets the `record` expire.
async fn end(me: &ClientCore, reply: &ReplyTo, place: MessagePlace, record: u64, body: Bytes) {
    let _permit = me.retiring.acquire().await;
    match place {
        MessagePlace::At(seq) => delete(me, seq).await,
        MessagePlace::NotInStream => {}
        MessagePlace::Unknown => loop {
            match search(me, reply).await {
                Some(Some(seq)) => break delete(me, seq).await,
                Some(None) => break,
                None => tokio::time::sleep(PAUSE).await,
            }
        },
    }
    let subject = me.names.record_of(reply);
    let ttl = Some(me.config.terms.result_ttl);
    let _ = swap(&me.nats, &subject, record, ttl, body).await; // If it fails, the stream's age limit removes it.
}

/// A request to delete a message of the stream of tasks: its subject and its body.
pub(super) fn deletion(names: &QueueNames, seq: u64) -> (String, Bytes) {
    let subject = format!("$JS.API.STREAM.MSG.DELETE.{}", names.tasks_stream());
    let body = format!("{{\"seq\":{seq},\"no_erase\":true}}");
    (subject, body.into())
}

/// Deletes a message of the stream of tasks. Returns once the server has confirmed it.
async fn delete(me: &ClientCore, seq: u64) {
    let (subject, body) = deletion(&me.names, seq);
    let is_deleted = |answer: Result<Message, Unanswered>| {
        let answer = answer.ok()?;
        let text = String::from_utf8_lossy(&answer.payload);
        let is_gone = number_after(&text, "\"err_code\":") == Some(NOT_FOUND);
        let is_deleted = text.contains("\"success\":true") || text.contains("\"success\": true");
        (is_gone || is_deleted).then_some(())
    };
    me.nats
        .request_until(&subject, HeaderMap::new(), body, ANSWER, is_deleted)
        .await;
}
