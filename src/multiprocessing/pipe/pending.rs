//! A send or a receive that must wait, kept between two polls.

use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, ready};

use tokio::runtime::{self, Handle};

use super::end::ConnectionEnd;
use super::error::ConnectionError;
use crate::multiprocessing::item::OutgoingItem;

/// A pending operation, and the runtime that has polled it last.
pub(super) struct PendingTransfer<T> {
    runtime: Option<runtime::Id>,
    /// Only its owner uses it; the lock makes it `Sync`.
    future: Mutex<Pin<Box<dyn Future<Output = T> + Send>>>,
}

impl<T> PendingTransfer<T> {
    pub(super) fn new(future: impl Future<Output = T> + Send + 'static) -> Self {
        Self {
            runtime: runtime(),
            future: Mutex::new(Box::pin(future)),
        }
    }

    pub(super) fn poll(&mut self, context: &mut Context<'_>) -> Poll<T> {
        let future = self.future.get_mut();
        let future = future.unwrap_or_else(std::sync::PoisonError::into_inner);
        future.as_mut().poll(context)
    }

    /// Whether a different runtime polls now, which would not be woken.
    pub(super) fn is_elsewhere(&self) -> bool {
        self.runtime != runtime()
    }
}

fn runtime() -> Option<runtime::Id> {
    Handle::try_current().ok().map(|handle| handle.id())
}

/// A receive that waits for a value, if there is one.
pub(super) struct Receiving<R>(pub(super) Option<PendingTransfer<Result<R, ConnectionError>>>);

/// The pending send.
#[derive(Default)]
pub(super) struct Sending(pub(super) Option<(Arc<OutgoingItem<'static>>, PendingTransfer<Sent>)>);

type Sent = Result<(), ConnectionError>;

impl<R> Default for Receiving<R> {
    fn default() -> Self {
        Self(None)
    }
}

impl Sending {
    pub(super) fn begin(&mut self, end: &Arc<ConnectionEnd>, item: Arc<OutgoingItem<'static>>) {
        let (end, sent) = (end.clone(), item.clone());
        let waiting = PendingTransfer::new(async move { end.send(&sent).await });
        self.0 = Some((item, waiting));
    }

    pub(super) fn poll(
        &mut self,
        end: &Arc<ConnectionEnd>,
        context: &mut Context<'_>,
    ) -> Poll<Sent> {
        if let Some((item, _)) = self.0.take_if(|(_, waiting)| waiting.is_elsewhere()) {
            self.begin(end, item); // Sent from the start: no receiver has the first part.
        }
        let Some((_, waiting)) = &mut self.0 else {
            return Poll::Ready(Ok(()));
        };
        let sent = ready!(waiting.poll(context));
        self.0 = None;
        Poll::Ready(sent)
    }
}
