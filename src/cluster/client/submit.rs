//! How an executor passes work to the cluster, and what it reports about itself.

use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use bytes::Bytes;

use super::core::ClientCore;
use super::in_flight::{ContentPayload, SendStage, SharedReply, TaskContent, TaskInFlight};
use super::table::numbers_of;
use crate::cluster::entry::FunctionEntry;
use crate::cluster::task_message::{MOST_CLIENT, MOST_MESSAGE_ITEMS, ReplyTo};
use crate::executor::encoded::{EncodedItems, Job};
use crate::executor::error::{Cause, Rejection, TaskError};
use crate::executor::options::{Shutdown, ShutdownReport};
use crate::executor::promise::{TaskOwner, Terms, Ticket};
use crate::executor::room::Room;
use crate::executor::{Executor, Intake, Stats};
use crate::wire::Payload;

/// How long a chunk of a map should run. It is long because a message costs more than a call on one machine.
const CHUNK_TIME: Duration = Duration::from_millis(20);

/// The most bytes that a message has beside its payload.
const MARGIN: usize = 8 * 1024;

#[async_trait]
impl Intake for ClientCore {
    fn spawn_job(&self, job: Job) {
        let mut work = job.work;
        let ticket = work.ticket();
        self.home.note_caller();
        let refusal = if self.rooms.is_closed() {
            Some(Cause::Shutdown)
        } else if self.home.is_inherited() {
            Some(Cause::Rejected(Rejection::OtherProcess))
        } else if ticket.is_revoked() {
            Some(Cause::Cancelled)
        } else {
            None
        };
        if let Some(cause) = refusal {
            work.fail(&cause);
            return;
        }
        let callee = work.callee();
        let Some(function) = self.function(callee.function) else {
            work.fail(&Cause::Rejected(Rejection::InvalidSetting(
                unnamed(callee.path).into(),
            )));
            return;
        };
        let limit = ticket.options().queue_timeout;
        let expires = limit.and_then(|limit| Instant::now().checked_add(limit));
        let shared = match self.shared_reply(ticket, work.promise().counts_time()) {
            Ok(shared) => shared,
            Err(reason) => {
                work.fail(&Cause::Rejected(Rejection::InvalidSetting(reason.into())));
                return;
            }
        };
        let mut numbers = numbers_of(ticket.id());
        let (mut room, mut shared) = (job.room, shared);
        work.begin().encode(self.config.most_payload, &mut |items| {
            let number = numbers.next();
            let refusal = refusal_of(&items).or_else(|| number.is_none().then_some(TOO_MANY_PARTS));
            match (number, refusal) {
                (Some(number), None) => {
                    let (room, shared) = (std::mem::take(&mut room), shared.take());
                    self.accept(number, items, &function, room, shared, expires);
                }
                (_, reason) => {
                    let reason = reason.unwrap_or(TOO_MANY_PARTS);
                    items.owed.fail_rest(&Cause::Codec(reason.into()));
                }
            }
        });
    }

    fn terms(&self) -> &Arc<Terms> {
        &self.terms
    }

    fn try_room(&self) -> Result<Room, TaskError> {
        self.rooms.try_take()
    }

    async fn room(&self) -> Result<Room, TaskError> {
        self.home.awaited(self.rooms.take()).await
    }

    fn handle(&self) -> Arc<dyn Executor> {
        self.shared()
    }

    fn chunk_time(&self) -> Duration {
        CHUNK_TIME
    }
}

#[async_trait]
impl Executor for ClientCore {
    async fn shutdown_with(&self, how: Shutdown) -> ShutdownReport {
        self.home.awaited(self.shut_down(how)).await
    }

    fn max_workers(&self) -> usize {
        self.present.slots().max(1)
    }

    fn stats(&self) -> Stats {
        let (queued, running) = {
            let table = self.table();
            (table.waiting(), table.running())
        };
        Stats {
            queued,
            running,
            workers: match self.over.is_cancelled() {
                true => 0, // A closed client has no workers.
                false => self.present.workers(),
            },
            finished: self.counts.finished(),
            failed: self.counts.failed(),
            ..Stats::default()
        }
    }
}

impl TaskOwner for ClientCore {
    fn abort(&self, ticket: &Ticket, answer: &mut dyn FnMut(bool)) {
        if !self.update(|table, now| table.abort(ticket.id(), now)) {
            answer(true); // It has ended, and its outcome is about to arrive.
        }
    }

    fn answers_late(&self) -> bool {
        true
    }

    fn is_running(&self, ticket: &Ticket) -> bool {
        self.table().is_running(ticket.id())
    }
}

impl ClientCore {
    fn function(&self, function: std::any::TypeId) -> Option<FunctionEntry> {
        let functions = &self.config.functions;
        functions.entry(functions.name_of(function)?).cloned()
    }

    /// Puts a message into the table. The publisher does the rest.
    fn accept(
        &self,
        number: u64,
        items: EncodedItems,
        function: &FunctionEntry,
        room: Room,
        reply: Option<ReplyTo>,
        expires: Option<Instant>,
    ) {
        let EncodedItems {
            owed,
            base,
            payload,
        } = items;
        let bytes = match payload {
            Payload::Small(bytes) => Bytes::from(bytes),
            Payload::Large(chain) => chain.into_bytes(),
        };
        let is_large = bytes.len() + MARGIN > self.nats.max_payload();
        let stage = SendStage::Unsent { first: None };
        let task = TaskInFlight {
            base,
            content: Some(Box::new(TaskContent {
                function: function.clone(),
                payload: ContentPayload::Here(bytes),
            })),
            reply: reply.map(|reply| Box::new(self.listen_on(reply))),
            ..TaskInFlight::new(owed, stage, room)
        };
        let trace = task.ticket().trace();
        if trace.is_open() {
            trace.known_as(task.reply(&self.client, number));
        }
        self.update(|table, now| table.insert(number, task, is_large, expires, now));
    }

    /// The address of the outcome of a task with a deduplication id. All its submitters use the same.
    fn shared_reply(&self, ticket: &Ticket, is_of_map: bool) -> Result<Option<ReplyTo>, String> {
        let Some(id) = ticket.options().deduplication_id else {
            return Ok(None);
        };
        let invalid = |text: &str| Err(format!("its deduplication id {text}"));
        if id.is_empty() || id.len() >= MOST_CLIENT {
            return invalid(
                "is empty or has more than 511 bytes; use a shorter one, such as a hash",
            );
        }
        if is_of_map {
            return invalid(
                "would be that of several items; submit them one by one, each with its own",
            );
        }
        Ok(Some(shared_by(id)))
    }

    /// Subscribes to the outcome of a task that other programs may know.
    pub(super) fn listen_on(&self, reply: ReplyTo) -> SharedReply {
        let subscription = self.subscribe_to(&reply);
        SharedReply {
            reply,
            _subscription: subscription,
        }
    }
}

/// The address of the outcome of a task with a deduplication id.
pub(super) fn shared_by(id: &str) -> ReplyTo {
    ReplyTo {
        client: format!("~{id}").into(),
        number: 0,
    }
}

fn unnamed(path: &str) -> String {
    format!(
        "its function `{path}` has no name on the cluster: list it in `functions![..]`, and give that list to the \
         client and to the workers; a closure has no name, so make it a function"
    )
}

/// Why items cannot travel to another machine.
fn refusal_of(items: &EncodedItems) -> Option<&'static str> {
    if !items.payload.descriptors().is_empty() {
        return Some(
            "cannot be sent: an argument is an open file, or an object that only processes of one machine share, such \
             as a `SharedArg` or a `Queue`; send the data itself",
        );
    }
    if items.owed.remaining() > MOST_MESSAGE_ITEMS {
        return Some(
            "cannot be sent: more than 1048576 items are in one chunk; set a smaller `chunk_size`",
        );
    }
    None
}

const TOO_MANY_PARTS: &str = "cannot be sent: its chunk is too large; set a smaller `chunk_size`";
