//! A connection to the servers. `connect` creates it; after that it reconnects for ever. Its tasks run on a runtime and
//! a thread of their own: a caller needs no runtime, and may block or end its own.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_nats::client::Request;
use async_nats::{Client, HeaderMap, Message, RequestErrorKind, jetstream};
use bytes::Bytes;
use tokio::sync::{broadcast, watch};
use tokio::task::JoinHandle;

use super::events::{ConnectionEvent, RefusedVerb, ServerRefusal};
use crate::home::{Background, OwnedTask};

/// How many events may wait for a reader before it misses some.
const EVENTS: usize = 1024;

/// The pause before a request is repeated, unless the connection is new.
const PAUSE: Duration = Duration::from_millis(100);

/// A connection. Cheap to clone. Dropping the last clone closes it and ends its tasks.
#[derive(Clone)]
pub(crate) struct NatsConnection {
    client: Client,
    jetstream: jetstream::Context,
    news: Arc<News>,
    background: Background,
}

/// The events of the NATS client, for the users of the connection.
pub(super) struct News {
    events: broadcast::Sender<ConnectionEvent>,
    connects: watch::Sender<u64>,
    is_connected: AtomicBool,
}

/// Why a request has no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Unanswered {
    /// The credentials do not permit it.
    Refused(ServerRefusal),
    /// Nothing listens to the subject.
    NoResponders,
    TimedOut,
    /// The request is larger than the server accepts.
    TooLarge,
    /// The connection is closed.
    Closed(String),
}

impl NatsConnection {
    pub(super) fn new(
        client: Client,
        news: Arc<News>,
        background: Background,
        limit: Duration,
    ) -> Self {
        let _here = background.handle().enter(); // The next call spawns a task.
        let jetstream = jetstream::ContextBuilder::new()
            .timeout(limit)
            .build(client.clone());
        Self {
            client,
            jetstream,
            news,
            background,
        }
    }

    /// The NATS client. Drop its subscribers only in tasks of this connection, because they need a runtime.
    pub(crate) fn client(&self) -> &Client {
        &self.client
    }

    pub(crate) fn jetstream(&self) -> &jetstream::Context {
        &self.jetstream
    }

    /// Spawns a task on the runtime of the connection. It ends with the connection, or before.
    pub(crate) fn spawn<F>(&self, future: F) -> JoinHandle<F::Output>
    where
        F: Future<Output: Send> + Send + 'static,
    {
        self.background.handle().spawn(future)
    }

    /// Runs `future` on the runtime of the connection, and awaits its value in any runtime, or in none. `None` if the
    /// connection ends first.
    pub(crate) fn run<F>(&self, future: F) -> OwnedTask<F::Output>
    where
        F: Future<Output: Send> + Send + 'static,
    {
        self.background.run(future)
    }

    /// The events from now on.
    pub(crate) fn events(&self) -> broadcast::Receiver<ConnectionEvent> {
        self.news.events.subscribe()
    }

    /// How often it has connected: 1 at first, and one more after each reconnect. Messages that were in flight when the
    /// connection broke may be lost.
    pub(crate) fn connects(&self) -> watch::Receiver<u64> {
        self.news.connects.subscribe()
    }

    pub(crate) fn is_connected(&self) -> bool {
        self.news.is_connected.load(Ordering::Relaxed)
    }

    /// The most bytes of a message, headers included, that the server accepts.
    pub(crate) fn max_payload(&self) -> usize {
        self.client.max_payload()
    }

    /// Sends a request and awaits the answer. Fails at once if the server refuses it, and after `limit` at the latest.
    /// Call it in a task of this connection.
    pub(crate) async fn request(
        &self,
        subject: &str,
        headers: HeaderMap,
        payload: Bytes,
        limit: Duration,
    ) -> Result<Message, Unanswered> {
        let request = Request::new()
            .headers(headers)
            .payload(payload)
            .timeout(Some(limit));
        let refusals = self.events(); // Before the request, because a refusal may arrive at once.
        let answer = self.client.send_request(subject.to_owned(), request);
        tokio::select! {
            answer = answer => answer.map_err(|error| match error.kind() {
                RequestErrorKind::NoResponders => Unanswered::NoResponders,
                RequestErrorKind::TimedOut => Unanswered::TimedOut,
                RequestErrorKind::MaxPayloadExceeded => Unanswered::TooLarge,
                RequestErrorKind::InvalidSubject | RequestErrorKind::Other => Unanswered::Closed(error.to_string()),
            }),
            refusal = refused(refusals, subject) => Err(Unanswered::Refused(refusal)),
        }
    }

    /// Repeats a request until `read` returns a value for its result. The server may handle several copies, so the
    /// request must be idempotent. A reconnect repeats it at once, because the request or its answer may be lost with
    /// the old connection. `limit`: how long each answer may take.
    pub(crate) async fn request_until<T>(
        &self,
        subject: &str,
        headers: HeaderMap,
        payload: Bytes,
        limit: Duration,
        mut read: impl FnMut(Result<Message, Unanswered>) -> Option<T>,
    ) -> T {
        let mut connects = self.connects();
        loop {
            connects.borrow_and_update();
            let answer = tokio::select! {
                answer = self.request(subject, headers.clone(), payload.clone(), limit) => answer,
                Ok(()) = connects.changed() => continue,
            };
            if let Some(accepted) = read(answer) {
                return accepted;
            }
            // The stream has no leader, or its server has just started.
            tokio::select! {
                () = tokio::time::sleep(PAUSE) => {}
                Ok(()) = connects.changed() => {}
            }
        }
    }

    #[cfg(all(test, target_os = "linux", not(properties)))]
    /// Waits, for at most `limit`, until everything that was published has left this program.
    pub(crate) async fn flush(&self, limit: Duration) -> bool {
        let client = self.client.clone();
        let flushed = async move { tokio::time::timeout(limit, client.flush()).await };
        matches!(self.background.run(flushed).await, Some(Ok(Ok(()))))
    }
}

/// Waits for the refusal of a message to `subject`, or of the subscription that its answer needs.
pub(super) async fn refused(
    mut events: broadcast::Receiver<ConnectionEvent>,
    subject: &str,
) -> ServerRefusal {
    use broadcast::error::RecvError;
    loop {
        match events.recv().await {
            Ok(ConnectionEvent::Refused(refusal)) => {
                let concerns = match refusal.verb {
                    RefusedVerb::Publish => refusal.subject == subject,
                    RefusedVerb::Subscribe => refusal.subject.starts_with("_INBOX."),
                };
                if concerns {
                    return refusal;
                }
            }
            Ok(_) | Err(RecvError::Lagged(_)) => {} // The caller's timeout covers missed events.
            Err(RecvError::Closed) => return std::future::pending().await,
        }
    }
}

impl News {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self {
            events: broadcast::Sender::new(EVENTS),
            connects: watch::Sender::new(0),
            is_connected: AtomicBool::new(false),
        })
    }

    pub(super) fn connects(&self) -> watch::Receiver<u64> {
        self.connects.subscribe()
    }

    /// Called for each event in order.
    pub(super) fn note(&self, event: &async_nats::Event) {
        match event {
            async_nats::Event::Connected => {
                self.is_connected.store(true, Ordering::Relaxed);
                self.connects.send_modify(|connects| *connects += 1);
            }
            async_nats::Event::Disconnected | async_nats::Event::Closed => {
                self.is_connected.store(false, Ordering::Relaxed);
            }
            _ => {}
        }
        let connects = *self.connects.borrow();
        if let Some(event) = ConnectionEvent::of(event, connects) {
            let _ = self.events.send(event); // There may be no reader.
        }
    }
}

impl fmt::Display for Unanswered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(refusal) => write!(f, "the server does not permit `{}`", refusal.subject),
            Self::NoResponders => f.write_str("no program listens there"),
            Self::TimedOut => f.write_str("no answer came in time"),
            Self::TooLarge => f.write_str("the server accepts no message of this size"),
            Self::Closed(why) => write!(f, "the connection is closed: {why}"),
        }
    }
}

impl fmt::Debug for NatsConnection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NatsConnection")
            .field("is_connected", &self.is_connected())
            .finish_non_exhaustive()
    }
}
