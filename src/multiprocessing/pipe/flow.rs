//! A connection as a stream and a sink. Operations that need not wait complete at once; one that must wait keeps a
//! future in the connection.

use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use futures::{Sink, Stream};
use tokio::task::coop;

use super::Connection;
use super::error::ConnectionError;
use super::outbox::check;
use super::pending::PendingTransfer;
use crate::executor::data::Data;
use crate::multiprocessing::item::OutgoingItem;

impl<S, R: Data> Stream for Connection<S, R> {
    type Item = Result<R, ConnectionError>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        let receiving = &mut this.receiving.0;
        receiving.take_if(|waiting| waiting.is_elsewhere());
        if receiving.is_none() {
            ready!(pin!(coop::consume_budget()).poll(context));
            if let Some(received) = this.end.try_receive() {
                return Poll::Ready(unless_closed(received));
            }
        }
        let waiting = receiving.get_or_insert_with(|| {
            let end = this.end.clone();
            PendingTransfer::new(async move { end.receive().await })
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
            "`start_send` was called before `poll_ready` returned ready"
        );
        let item = OutgoingItem::owned(value)?;
        check(&item)?;
        match this.end.send_at_once(&item) {
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
