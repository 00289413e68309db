//! One end of a pipe in this process.

use std::time::Instant;

use tokio::task::coop;

use super::error::ConnectionError;
use super::inbox::PipeInbox;
use super::outbox::PipeOutbox;
use super::packet::{MOST, ValuePlace};
use super::receive::{AwaitNews, Receive};
use super::send::Send;
use super::step::{at_once, in_task, in_thread};
use crate::executor::data::Data;
use crate::multiprocessing::item::OutgoingItem;
use crate::wire::descriptors::Descriptor;

/// An end of a pipe, as one process sees it.
#[derive(Debug)]
pub(super) struct ConnectionEnd {
    pub(super) socket: Descriptor,
    pub(super) outbox: PipeOutbox,
    inbox: PipeInbox,
}

impl ConnectionEnd {
    pub(super) fn new(socket: Descriptor) -> Self {
        Self {
            outbox: PipeOutbox::new(socket.clone()),
            inbox: PipeInbox::new(socket.clone()),
            socket,
        }
    }

    /// # Cancel safety
    /// If the future is dropped, nothing was received.
    pub(super) async fn receive<T: Data>(&self) -> Result<T, ConnectionError> {
        coop::consume_budget().await;
        in_task(Receive::new(&self.inbox)).await
    }

    /// Receives a value if all of it is there. `None` if not.
    pub(super) fn try_receive<T: Data>(&self) -> Option<Result<T, ConnectionError>> {
        at_once(Receive::new(&self.inbox))
    }

    /// Receives a value on this thread. `None` if there is none until `end`.
    pub(super) fn blocking_receive<T: Data>(
        &self,
        end: Option<Instant>,
    ) -> Option<Result<T, ConnectionError>> {
        in_thread(Receive::new(&self.inbox), end)
    }

    /// Whether a value can be received, or the other end is closed.
    pub(super) fn has_news(&self) -> bool {
        self.inbox.has_news()
    }

    /// Waits until [`has_news`](Self::has_news) is true.
    pub(super) async fn await_news(&self) {
        in_task(AwaitNews(&self.inbox)).await;
    }

    /// Like [`await_news`](Self::await_news), on this thread. False if there is none until `end`.
    pub(super) fn blocking_await_news(&self, end: Option<Instant>) -> bool {
        in_thread(AwaitNews(&self.inbox), end).is_some()
    }

    /// Sends a value that has passed `check`.
    ///
    /// # Cancel safety
    /// If the future is dropped, the value is not received.
    pub(super) async fn send(&self, item: &OutgoingItem<'_>) -> Result<(), ConnectionError> {
        in_task(Send::new(&self.outbox, item)).await
    }

    /// Like [`send`](Self::send), for the result of an encoding. (The future does not borrow the value's type, so it is
    /// `Send` for a value that is not `Sync`.)
    pub(super) async fn send_encoded(
        &self,
        item: Result<OutgoingItem<'_>, ConnectionError>,
    ) -> Result<(), ConnectionError> {
        self.send(&item?).await
    }

    /// Sends a small value, if there is room for it. `None` if there is none, or the value is large.
    pub(super) fn send_at_once(
        &self,
        item: &OutgoingItem<'_>,
    ) -> Option<Result<(), ConnectionError>> {
        if item.value().len() > MOST {
            return None;
        }
        self.outbox.post(item, ValuePlace::Here, None)
    }

    /// Like [`send`](Self::send), on this thread. Gives up at `end`: the value is then not received.
    pub(super) fn blocking_send(
        &self,
        item: &OutgoingItem<'_>,
        end: Option<Instant>,
    ) -> Result<(), ConnectionError> {
        let sent = in_thread(Send::new(&self.outbox, item), end);
        sent.unwrap_or(Err(ConnectionError::TIMED_OUT))
    }
}
