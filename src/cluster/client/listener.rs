//! The background task that receives answers to this client's requests, the records of its tasks, and their progress.

use std::sync::{Arc, Weak};

use async_nats::{Message, StatusCode, Subscriber};
use futures::stream::StreamExt as _;

use super::core::ClientCore;
use crate::cluster::control::{AskAnswer, ControlMessage as _, ProgressNote};
use crate::cluster::error::{ClusterError, Problem};
use crate::cluster::headers::{SEQUENCE, number_in};
use crate::cluster::malformed::Malformed;
use crate::cluster::publish_answer::PublishAnswer;
use crate::cluster::record::Record;
use crate::cluster::task_message::{ReplyTo, is_reply};

/// The most messages that are handled at a time.
const BATCH: usize = 256;

/// What a client listens on.
pub(super) struct ClientSubscriptions {
    pub(super) answers: Subscriber,
    pub(super) records: Subscriber,
    pub(super) progress: Subscriber,
}

impl ClientSubscriptions {
    pub(super) async fn open(me: &ClientCore) -> Result<Self, ClusterError> {
        let closed = |error| {
            ClusterError::with_source(Problem::Unreachable, "the connection is closed", error)
        };
        let client = me.nats.client();
        let own = me.table().client().to_owned();
        Ok(Self {
            answers: client
                .subscribe(format!("{}.*", me.inbox))
                .await
                .map_err(closed)?,
            records: client
                .subscribe(me.names.stored_records_of(&own))
                .await
                .map_err(closed)?,
            progress: client
                .subscribe(me.names.progress_of(&own))
                .await
                .map_err(closed)?,
        })
    }
}

/// Listens until the client is closed and has no task left.
pub(super) async fn listen(me: Arc<ClientCore>, subscriptions: ClientSubscriptions) {
    let mut answers = subscriptions.answers.ready_chunks(BATCH);
    let mut records = subscriptions.records.ready_chunks(BATCH);
    let mut progress = subscriptions.progress.ready_chunks(BATCH);
    loop {
        tokio::select! {
            Some(messages) = records.next() => me.on_records(&messages),
            Some(messages) = answers.next() => me.on_answers(&messages),
            Some(messages) = progress.next() => me.on_progress(&messages),
            () = me.over.cancelled() => return,
            else => return,
        }
    }
}

/// Listens on the subjects of one task that are not those of this client.
pub(super) async fn listen_shared(
    me: Weak<ClientCore>,
    mut records: Subscriber,
    mut progress: Subscriber,
) {
    loop {
        let (message, is_record) = tokio::select! {
            Some(message) = records.next() => (message, true),
            Some(message) = progress.next() => (message, false),
            else => return,
        };
        let Some(me) = me.upgrade() else {
            return;
        };
        match is_record {
            true => me.on_records(&[message]),
            false => me.on_progress(&[message]),
        }
    }
}

impl ClientCore {
    fn on_records(&self, messages: &[Message]) {
        let records = messages.iter().filter_map(|message| {
            let reply = self.names.parse_stored_record(&message.subject)?;
            let seq = number_in(message, SEQUENCE)?;
            Some((reply, seq, Record::decode(&message.payload)))
        });
        self.take_records(records.collect());
    }

    fn take_records(&self, records: Vec<(ReplyTo, u64, Result<Record, Malformed>)>) {
        self.update(|table, now| {
            for (reply, seq, record) in records {
                match record {
                    Ok(record) => table.record(&reply, seq, record, now),
                    Err(reason) => table.malformed(&reply, seq, &reason),
                }
            }
        });
    }

    fn on_progress(&self, messages: &[Message]) {
        for message in messages {
            let Some(reply) = self.names.parse_progress(&message.subject) else {
                continue;
            };
            let Ok(note) = ProgressNote::decode(&message.payload) else {
                continue;
            };
            let promises = self.table().reported(&reply, (note.done, note.total));
            for (promise, item) in promises {
                promise.report(item.into(), note.done, note.total);
            }
        }
    }

    fn on_answers(&self, messages: &[Message]) {
        self.on_each_answer(messages);
        self.stored.notify_waiters();
    }

    fn on_each_answer(&self, messages: &[Message]) {
        for message in messages {
            let Some(token) = message.subject.rsplit('.').next() else {
                continue;
            };
            let mut letters = token.chars();
            let (Some(kind), Ok(number)) = (letters.next(), letters.as_str().parse()) else {
                continue;
            };
            match kind {
                't' => self.on_publish_answer(number, message),
                's' => self.on_write_answer(number, message),
                'r' => self.on_read_answer(number, message),
                'a' => self.on_worker_answer(number, message),
                'l' => self.on_message_check(number, message),
                _ => {}
            }
        }
    }

    fn on_publish_answer(&self, number: u64, message: &Message) {
        let answer = PublishAnswer::read(&message.payload);
        self.update(|table, now| match answer {
            Some(answer) => table.answered(number, answer, now),
            None => table.no_stream(number, now),
        });
    }

    fn on_write_answer(&self, number: u64, message: &Message) {
        if let Some(answer) = PublishAnswer::read(&message.payload) {
            self.update(|table, _| table.swapped(number, &answer));
        }
    }

    /// A record of a read, or the end of the read.
    fn on_read_answer(&self, question: u64, message: &Message) {
        if let Some(status) = message.status {
            let is_end = [204, 404].contains(&status.as_u16());
            let missing = self.questions().end_read(question);
            if is_end {
                self.update(|table, _| {
                    for (number, asked) in missing {
                        table.no_record(number, asked);
                    }
                });
            }
            return;
        }
        let subject = message
            .headers
            .as_ref()
            .and_then(|headers| headers.get("Nats-Subject"));
        let reply = subject.and_then(|subject| self.names.parse_record(subject.as_str()));
        let (Some(reply), Some(seq)) = (reply, number_in(message, SEQUENCE)) else {
            return;
        };
        self.questions().record(question, &reply);
        self.take_records(vec![(reply, seq, Record::decode(&message.payload))]);
    }

    fn on_worker_answer(&self, number: u64, message: &Message) {
        let Some(worker) = self.questions().end_ask(number) else {
            return;
        };
        let answer = AskAnswer::decode(&message.payload);
        self.update(|table, now| match answer {
            _ if message.status == Some(StatusCode::NO_RESPONDERS) => {
                table.worker_absent(number, &worker, now);
            }
            Ok(AskAnswer::Running) => table.worker_answered(&worker.id),
            Ok(AskAnswer::Unknown) => {
                table.worker_answered(&worker.id);
                table.not_running(number);
            }
            Err(_) => {}
        });
    }

    fn on_message_check(&self, number: u64, message: &Message) {
        let reply = message
            .headers
            .as_ref()
            .and_then(|headers| headers.get("Cf-Reply"));
        let is_missing = message.status == Some(StatusCode::NOT_FOUND);
        self.update(|table, now| {
            let expected = table
                .get(number)
                .map(|task| task.reply(table.client(), number));
            let is_other = reply.is_some_and(|reply| {
                expected.is_some_and(|expected| !is_reply(reply.as_str(), &expected))
            });
            if is_missing || is_other {
                table.found(number, None, now);
            }
        });
    }
}
