//! A connection as a stream and a sink. What can be done at once is done at once; only who has to wait keeps
//! a future, in the connection.

use std::fmt;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, ready};

use futures::{Sink, Stream};
use tokio::runtime::{self, Handle};
use tokio::task::coop;

use super::error::ConnectionError;
use super::outbox::check;
use super::{Connection, ConnectionEnd};
use crate::executor::data::Data;
use crate::multiprocessing::item::OutgoingItem;

/// What is waited for, in the runtime that has polled it last.
struct PendingTransfer<T> {
    runtime: Option<runtime::Id>,
    /// Used by its owner only; the lock lets a reference to it be in several threads.
    future: Mutex<Pin<Box<dyn Future<Output = T> + Send>>>,
}

impl<T> PendingTransfer<T> {
    fn new(future: impl Future<Output = T> + Send + 'static) -> Self {
        Self {
            runtime: runtime(),
            future: Mutex::new(Box::pin(future)),
        }
    }

    fn poll(&mut self, context: &mut Context<'_>) -> Poll<T> {
        let future = self.future.get_mut();
        let future = future.unwrap_or_else(std::sync::PoisonError::into_inner);
        future.as_mut().poll(context)
    }

    /// Whether another runtime polls now. This one would not be woken by it.
    fn is_elsewhere(&self) -> bool {
        self.runtime != runtime()
    }
}

fn runtime() -> Option<runtime::Id> {
    Handle::try_current().ok().map(|handle| handle.id())
}

/// A value that is received, as soon as there is one.
pub(super) struct Receiving<R>(Option<PendingTransfer<Result<R, ConnectionError>>>);

/// A value that is sent, as soon as there is room.
#[derive(Default)]
pub(super) struct Sending(Option<(Arc<OutgoingItem>, PendingTransfer<Sent>)>);

type Sent = Result<(), ConnectionError>;

impl<R> Default for Receiving<R> {
    fn default() -> Self {
        Self(None)
    }
}

impl Sending {
    fn begin(&mut self, end: &Arc<ConnectionEnd>, item: Arc<OutgoingItem>) {
        let (end, sent) = (end.clone(), item.clone());
        let waiting = PendingTransfer::new(async move { end.outbox.send(&sent).await });
        self.0 = Some((item, waiting));
    }

    fn poll(&mut self, end: &Arc<ConnectionEnd>, context: &mut Context<'_>) -> Poll<Sent> {
        if let Some((item, _)) = self.0.take_if(|(_, waiting)| waiting.is_elsewhere()) {
            self.begin(end, item); // Nobody receives what was sent of it.
        }
        let Some((_, waiting)) = &mut self.0 else {
            return Poll::Ready(Ok(()));
        };
        let sent = ready!(waiting.poll(context));
        self.0 = None;
        Poll::Ready(sent)
    }
}

impl<S, R: Data> Stream for Connection<S, R> {
    type Item = Result<R, ConnectionError>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        let receiving = &mut this.receiving.0;
        receiving.take_if(|waiting| waiting.is_elsewhere());
        if receiving.is_none() {
            ready!(pin!(coop::consume_budget()).poll(context));
            if let Some(received) = this.end.inbox.try_receive() {
                return Poll::Ready(unless_closed(received));
            }
        }
        let waiting = receiving.get_or_insert_with(|| {
            let end = this.end.clone();
            PendingTransfer::new(async move { end.inbox.receive().await })
        });
        let received = ready!(waiting.poll(context));
        *receiving = None;
        Poll::Ready(unless_closed(received))
    }
}

fn unless_closed<R>(received: Result<R, ConnectionError>) -> Option<Result<R, ConnectionError>> {
    match received {
        Err(error) if error.is_closed() => None,
        received => Some(received),
    }
}

impl<S: Data, R> Sink<S> for Connection<S, R> {
    type Error = ConnectionError;

    fn poll_ready(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Result<(), ConnectionError>> {
        let this = self.get_mut();
        if this.sending.0.is_none() {
            ready!(pin!(coop::consume_budget()).poll(context));
        }
        this.sending.poll(&this.end, context)
    }

    fn start_send(self: Pin<&mut Self>, value: S) -> Result<(), ConnectionError> {
        let this = self.get_mut();
        assert!(
            this.sending.0.is_none(),
            "`start_send` without a `poll_ready` that was ready"
        );
        let item = OutgoingItem::of(value)?;
        check(&item)?;
        match this.end.outbox.send_at_once(&item) {
            Some(sent) => sent,
            None => {
                this.sending.begin(&this.end, Arc::new(item));
                Ok(())
            }
        }
    }

    fn poll_flush(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Result<(), ConnectionError>> {
        let this = self.get_mut();
        this.sending.poll(&this.end, context)
    }

    fn poll_close(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Result<(), ConnectionError>> {
        let this = self.get_mut();
        ready!(this.sending.poll(&this.end, context))?;
        this.end.outbox.close();
        Poll::Ready(Ok(()))
    }
}

impl<S, R> fmt::Debug for Connection<S, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection").finish_non_exhaustive()
    }
}
