//! Searches the stream for a task whose sequence this client does not know. The answer to its publish was lost, and the
//! duplicate window is over; or another program published it.

use std::sync::Arc;
use std::time::Duration;

use async_nats::StatusCode;
use futures::StreamExt as _;

use super::core::ClientCore;
use crate::cluster::headers::{SEQUENCE, number_in};
use crate::cluster::task_message::{ReplyTo, is_reply};

/// How many messages one request asks for.
const BATCH: u32 = 256;
/// How long the next message of an answer may take.
const LIMIT: Duration = Duration::from_secs(5);

/// Searches, and reports the result to the table. After an interrupted search, the next check starts another one.
pub(super) async fn find(me: Arc<ClientCore>, number: u64, reply: ReplyTo) {
    if let Some(found) = search(&me, &reply).await {
        me.update(|table, now| table.found(number, found, now));
        me.stored.notify_waiters();
    }
}

/// Returns the sequence of the message, `Some(None)` if the stream does not have it, or `None` if the search was
/// interrupted.
pub(super) async fn search(me: &ClientCore, reply: &ReplyTo) -> Option<Option<u64>> {
    let client = me.nats.client();
    let inbox = client.new_inbox();
    let mut answers = client.subscribe(inbox.clone()).await.ok()?;
    let subject = format!("$JS.API.DIRECT.GET.{}", me.names.tasks_stream());
    let tasks = me.names.tasks();
    let mut next = 1;
    loop {
        let body = format!("{{\"seq\":{next},\"batch\":{BATCH},\"next_by_subj\":\"{tasks}\"}}");
        let asked = client.publish_with_reply(subject.clone(), inbox.clone(), body.into());
        asked.await.ok()?;
        let before = next;
        loop {
            let message = tokio::time::timeout(LIMIT, answers.next()).await.ok()??;
            match message.status {
                None => {}
                Some(StatusCode::NOT_FOUND) => return Some(None),
                Some(status) if status.as_u16() == 204 => break,
                Some(_) => return None,
            }
            let headers = message.headers.as_ref()?;
            let seq = number_in(&message, SEQUENCE)?;
            next = next.max(seq + 1);
            if headers
                .get("Cf-Reply")
                .is_some_and(|text| is_reply(text.as_str(), reply))
            {
                return Some(Some(seq));
            }
        }
        if next == before {
            return Some(None);
        }
    }
}
