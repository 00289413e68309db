//! The background task that publishes tasks and runs the actions of the table. One wake-up sends everything that was
//! submitted since the last one. It waits while the connection is broken; no other task waits for it.

use std::sync::Arc;
use std::time::Instant;

use async_nats::HeaderMap;
use bytes::Bytes;

use super::core::ClientCore;
use super::in_flight::ContentPayload;
use super::retire::{deletion, retire, write_loss};
use super::scan;
use super::table::{Action, Outgoing};
use crate::cluster::control::{Ask, Cancel, ControlMessage as _};
use crate::cluster::delivery::{AGAIN, DeliveryInfo};
use crate::cluster::headers::replacing;
use crate::cluster::large;
use crate::cluster::record::{CancelRecord, Record};
use crate::cluster::task_message::ReplyTo;
use crate::executor::error::{Cause, Rejection};
use crate::executor::options::TaskName;

/// How many tasks are taken from the table at a time.
const BATCH: usize = 64;

/// Sends until the client is closed and has no task left.
pub(super) async fn publish(me: Arc<ClientCore>) {
    loop {
        let is_over = tokio::select! {
            () = me.wake_publisher.notified() => false,
            () = me.over.cancelled() => true,
        };
        loop {
            let is_connected = me.nats.is_connected();
            let (actions, tasks) = me.update(|table, now| {
                let tasks = table.take_unsent(BATCH, now, is_connected);
                (table.take_actions(), tasks)
            });
            if actions.is_empty() && tasks.is_empty() {
                break;
            }
            for action in actions {
                me.run(action).await;
            }
            for task in tasks {
                me.send_task(task).await;
            }
        }
        if is_over {
            return;
        }
    }
}

impl ClientCore {
    /// Runs the actions that are left, before the client ends: the program may exit next.
    pub(super) async fn send_last_actions(&self) {
        for action in self.update(|table, _| table.take_actions()) {
            self.run(action).await;
        }
        drop(self.nats.client().flush().await); // It fails if there is no connection.
    }

    async fn send_task(&self, task: Outgoing) {
        let Outgoing {
            number,
            lane,
            message,
        } = task;
        let mut headers = HeaderMap::new();
        for (name, value) in message.headers() {
            headers.insert(name, value);
        }
        headers.insert("Nats-Msg-Id", header_text(&message.reply));
        let subject = self.names.task(lane, &message.function);
        let answer_at = self.answer_at('t', number);
        self.send(subject, answer_at, headers, message.body()).await;
    }

    /// Passes a message to the connection. It is lost if the connection breaks; a timer repeats it if no answer
    /// arrives.
    async fn send(&self, subject: String, answer_at: String, headers: HeaderMap, body: Bytes) {
        let client = self.nats.client();
        let sent = match headers.is_empty() {
            true => client.publish_with_reply(subject, answer_at, body).await,
            false => {
                client
                    .publish_with_reply_and_headers(subject, answer_at, headers, body)
                    .await
            }
        };
        drop(sent); // It fails only if the connection has ended. A timer covers that too.
    }

    async fn run(&self, action: Action) {
        match action {
            Action::UploadPayload(number) => self.upload(number),
            Action::WriteCancel {
                number,
                reply,
                expected,
                by,
            } => self.swap(number, &reply, expected, by).await,
            Action::RetireRecord(retirement) => {
                self.nats.spawn(retire(self.shared(), retirement));
            }
            Action::WriteLoss(loss) => match self.described(loss.number) {
                Some(described) => {
                    self.nats.spawn(write_loss(self.shared(), loss, described));
                }
                None => self.update(|table, _| table.retired()), // It has ended.
            },
            Action::Redeliver { answer_to } => {
                if DeliveryInfo::read(&self.names, &answer_to).is_some() {
                    drop(self.nats.client().publish(answer_to, AGAIN.into()).await); // The next check repeats it.
                }
            }
            Action::DeletePayload { object } => {
                let me = self.shared();
                self.nats.spawn(async move {
                    large::delete(&me.nats, &me.names, &object).await;
                });
            }
            Action::DeleteMessage { seq } => {
                let (subject, body) = deletion(&self.names, seq);
                self.ask_server(subject, self.answer_at('d', seq), body)
                    .await;
            }
            Action::CancelAtWorker { worker, reply } => {
                let subject = self.names.worker(&worker.id, "cancel");
                let sent = self
                    .nats
                    .client()
                    .publish(subject, Cancel::new(&reply).encode());
                drop(sent.await); // The next check of the task repeats it.
            }
            Action::ReadRecords(tasks) => self.read(tasks).await,
            Action::AskWorker {
                worker,
                number,
                reply,
            } => {
                let subject = self.names.worker(&worker.id, "ask");
                self.questions().ask(number, worker, Instant::now());
                let answer_at = self.answer_at('a', number);
                self.send(
                    subject,
                    answer_at,
                    HeaderMap::new(),
                    Ask::new(&reply).encode(),
                )
                .await;
            }
            Action::CheckMessage { number, seq } => {
                let body = format!("{{\"seq\":{seq}}}");
                let subject = format!("$JS.API.DIRECT.GET.{}", self.names.tasks_stream());
                self.ask_server(subject, self.answer_at('l', number), body)
                    .await;
            }
            Action::FindMessage { number, reply } => {
                self.nats.spawn(scan::find(self.shared(), number, reply));
            }
        }
    }

    async fn ask_server(&self, subject: String, answer_at: String, body: impl Into<Bytes>) {
        self.send(subject, answer_at, HeaderMap::new(), body.into())
            .await;
    }

    async fn swap(&self, number: u64, reply: &ReplyTo, expected: u64, by: CancelRecord) {
        let headers = replacing(expected, None);
        let subject = self.names.record_of(reply);
        let answer_at = self.answer_at('s', number);
        self.send(subject, answer_at, headers, Record::Cancelled(by).encode())
            .await;
    }

    /// The items and the name of a task.
    fn described(&self, number: u64) -> Option<(u32, TaskName)> {
        let table = self.table();
        let task = table.get(number)?;
        Some((task.owed.remaining(), task.ticket().name()))
    }

    async fn read(&self, tasks: Vec<(u64, ReplyTo)>) {
        let subjects = tasks.iter().map(|(_, reply)| {
            let subject = self.names.record_of(reply);
            format!("\"{subject}\"") // Its escapes are none of JSON.
        });
        let subjects: Vec<String> = subjects.collect();
        let body = format!("{{\"multi_last\":[{}]}}", subjects.join(","));
        let question = self.next_question();
        self.questions().read(question, tasks, Instant::now());
        let subject = format!("$JS.API.DIRECT.GET.{}", self.names.records_stream());
        self.ask_server(subject, self.answer_at('r', question), body)
            .await;
    }

    /// Puts the payload of a task into the payload stream, in a task of its own.
    fn upload(&self, number: u64) {
        let me = self.shared();
        let payload =
            me.table()
                .get(number)
                .and_then(|task| match &task.content.as_ref()?.payload {
                    ContentPayload::Here(bytes) => Some(bytes.clone()),
                    ContentPayload::Object { .. } => None,
                });
        let Some(payload) = payload else {
            return; // It was cancelled.
        };
        self.nats.spawn(async move {
            let size = payload.len() as u64;
            let put = large::put(&me.nats, &me.names, payload);
            let Some(put) = me.over.run_until_cancelled(put).await else {
                return; // The payload TTL deletes what is stored.
            };
            let name = put.as_ref().ok().cloned();
            let object = match put {
                Ok(name) => Ok((name, size)),
                Err(reason) if reason.is_full() => Err(Cause::Rejected(Rejection::StreamFull(
                    format!("its arguments of {size} bytes cannot be stored: {reason}").into(),
                ))),
                Err(reason) => Err(Cause::Codec(
                    format!(
                        "cannot be sent: its arguments of {size} bytes cannot be stored: {reason}"
                    )
                    .into(),
                )),
            };
            let is_wanted = me.update(|table, _| table.uploaded(number, object));
            if let (Some(name), false) = (name, is_wanted) {
                large::delete(&me.nats, &me.names, &name).await;
            }
        });
    }
}

/// The id by which the stream recognizes a message that is published again.
fn header_text(reply: &ReplyTo) -> String {
    reply.to_string().escape_default().to_string()
}
