//! Handles of tasks that another handle, or another process, submitted.

use std::any::Any;
use std::sync::Arc;
use std::time::Duration;

use serde::de::DeserializeOwned;

use super::core::ClientCore;
use super::in_flight::{SendStage, TaskInFlight};
use super::key::TaskKey;
use super::listener::listen_shared;
use super::submit::shared_by;
use super::table::numbers_of;
use crate::cluster::task_message::ReplyTo;
use crate::executor::error::{Cause, Rejection};
use crate::executor::handle::{JoinHandle, OutcomeCell};
use crate::executor::options::TaskOptions;
use crate::executor::promise::{Owed, Ticket};
use crate::executor::room::Room;
use crate::executor::served::PromiseEncoded;
use crate::wire::shape::form;

/// The pause from which a look makes sure that the stream still has a task.
const CHECK_MESSAGE_FIRST: Duration = Duration::from_secs(60);

/// Ends a task of the runtime when it is dropped.
struct AbortOnDrop(tokio::task::AbortHandle);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl ClientCore {
    /// Subscribes to the record and the progress of the task at `reply`, until the result is dropped. `None` if it is
    /// this client's own: those have a subscription.
    pub(super) fn subscribe_to(&self, reply: &ReplyTo) -> Option<Box<dyn Any + Send + Sync>> {
        if *reply.client == *self.table().client() {
            return None;
        }
        let (records, progress) = (
            self.names.stored_record(&reply.client, reply.number),
            self.names.progress(&reply.client, reply.number),
        );
        let (me, client) = (self.me.clone(), self.nats.client().clone());
        let task = self.nats.spawn(async move {
            let (records, progress) = (
                client.subscribe(records).await,
                client.subscribe(progress).await,
            );
            if let (Ok(records), Ok(progress)) = (records, progress) {
                listen_shared(me, records, progress).await;
            }
        });
        Some(Box::new(AbortOnDrop(task.abort_handle())))
    }

    pub(super) fn key_of<T: 'static>(&self, handle: &JoinHandle<T>) -> TaskKey {
        let ticket = handle.ticket();
        let number = *numbers_of(ticket.id()).start();
        let own = || ReplyTo {
            client: self.table().client().into(),
            number,
        };
        let id = ticket.options().deduplication_id;
        let (reply, seq) = {
            let table = self.table();
            match table.get(number) {
                Some(task) => (Some(task.reply(table.client(), number)), task.stored_at()),
                None => (None, None),
            }
        };
        let reply = reply.unwrap_or_else(|| id.map_or_else(own, |id| shared_by(id)));
        TaskKey {
            queue: self.names.queue().into(),
            reply,
            seq,
            form: form::<T>().into(),
        }
    }

    pub(super) async fn until_stored<T: 'static>(&self, handle: &JoinHandle<T>) -> TaskKey {
        let number = *numbers_of(handle.ticket().id()).start();
        loop {
            let stored = self.stored.notified();
            let is_stored = match self.table().get(number) {
                Some(task) => task.is_surely_stored(),
                None => true,
            };
            if is_stored {
                return self.key_of(handle);
            }
            stored.await;
        }
    }

    /// A handle of the task that `key` names.
    pub(super) fn reattach<T: DeserializeOwned + Send + 'static>(
        &self,
        key: &TaskKey,
    ) -> JoinHandle<T> {
        let options = TaskOptions::new().name(key.to_string());
        let ticket =
            Ticket::new("(reattached)", Some(Arc::new(options))).of_executor(self.terms.clone());
        self.home.note_caller();
        let number = *numbers_of(ticket.id()).start();
        let cell = Arc::new(OutcomeCell::<T>::new(ticket));
        let owed = Owed::new(cell.clone(), 0..1).map(|promise| promise as Arc<dyn PromiseEncoded>);
        let refusal = if self.rooms.is_closed() {
            Some(Cause::Shutdown)
        } else if *key.queue != *self.names.queue() {
            let text = format!(
                "its queue is `{}`, and this client uses `{}`; use a client of its queue",
                key.queue,
                self.names.queue()
            );
            Some(Cause::Rejected(Rejection::InvalidSetting(text.into())))
        } else if *key.form != *form::<T>() {
            let text = format!(
                "cannot be read: its result is written as `{}`, and the type of this handle as `{}`",
                key.form,
                form::<T>()
            );
            Some(Cause::Codec(text.into()))
        } else {
            None
        };
        if let Some(cause) = refusal {
            owed.fail_rest(&cause);
            return JoinHandle::new(cell);
        }
        let stage = SendStage::Stored { seq: key.seq };
        let task = TaskInFlight {
            reply: Some(Box::new(self.listen_on(key.reply.clone()))),
            pause: CHECK_MESSAGE_FIRST, // It may have ended long ago.
            ..TaskInFlight::new(owed, stage, Room::unbounded())
        };
        self.update(|table, now| table.insert(number, task, false, None, now));
        JoinHandle::new(cell)
    }
}
