//! Checks whether the server permits everything that a client or a worker does. Each right is tried at the start, by a
//! message without effect. Otherwise a missing right would be noticed late: a worker that may not pull waits for ever.

use std::time::Duration;

use async_nats::HeaderMap;
use bytes::Bytes;
use tokio::sync::broadcast::error::TryRecvError;

use super::connection::{NatsConnection, Unanswered};
use super::error::{ClusterError, Problem};
use super::events::{ConnectionEvent, RefusedVerb, ServerRefusal};
use super::headers::replacing;
use super::names::{QueueNames, unique_id};

/// The body of a message without effect.
const NONSENSE: Bytes = Bytes::from_static(b"?");

/// What a program does with a queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum QueueRole {
    /// Creates the queue. It needs no trial, because the server answers each of its requests.
    Admin,
    Client,
    Worker,
}

/// A right, and how it is tried.
struct Right {
    /// The subject as an admin writes it in a permission.
    pattern: String,
    trial: Trial,
}

enum Trial {
    /// Publishes to this subject. No program acts on the message.
    Publish(String),
    /// Publishes to this subject of a stream. The write expects a message that does not exist, so nothing is stored.
    Store(String),
    Subscribe(String),
}

impl QueueRole {
    /// The role's part of the subjects of answers.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Admin => "setup",
            Self::Client => "client",
            Self::Worker => "worker",
        }
    }

    /// The rights to try. The set-up has already used those of streams and consumers. The right to submit is not tried:
    /// a client may be limited to some functions.
    fn rights(self, names: &QueueNames, id: &str) -> Vec<Right> {
        let queue = names.queue();
        let (tasks, records, payloads) = (
            names.tasks_stream(),
            names.records_stream(),
            names.payloads_stream(),
        );
        let publish = |pattern: String, subject: String| Right {
            pattern,
            trial: Trial::Publish(subject),
        };
        let exactly = |subject: String| publish(subject.clone(), subject);
        let api = |what: &str| format!("$JS.API.{what}");
        let get = |stream: &str, subject: String| {
            publish(
                api(&format!("DIRECT.GET.{stream}.>")),
                api(&format!("DIRECT.GET.{stream}.{subject}")),
            )
        };
        let store = |kind: &str, subject: String| Right {
            pattern: format!("cf.{queue}.{kind}.*.*"),
            trial: Trial::Store(subject),
        };
        let subscribe = |pattern: String, subject: String| Right {
            pattern,
            trial: Trial::Subscribe(subject),
        };
        let answer = || {
            publish(
                format!("$JS.ACK.{tasks}.>"),
                format!("$JS.ACK.{tasks}.lane0.0.0.0.0.0"),
            )
        };
        let mut rights = vec![
            store("o", names.record(id, 0)),
            store("l", names.payload(id, 0)),
            publish(format!("cf.{queue}.w.*.*"), names.worker(id, "ask")),
            get(&records, names.record(id, 0)),
            get(&payloads, names.payload(id, 0)),
        ];
        match self {
            Self::Admin => rights.clear(),
            Self::Client => rights.extend([
                exactly(names.who()),
                exactly(api(&format!("STREAM.MSG.DELETE.{tasks}"))),
                exactly(api(&format!("DIRECT.GET.{tasks}"))),
                exactly(api(&format!("DIRECT.GET.{records}"))),
                answer(),
                subscribe(format!("cf.{queue}.r.*.*"), names.stored_records_of(id)),
                subscribe(format!("cf.{queue}.p.*.*"), names.progress_of(id)),
            ]),
            Self::Worker => rights.extend([
                publish(format!("cf.{queue}.p.*.*"), names.progress(id, 0)),
                publish(
                    format!("_INBOX.cf.{queue}.*.>"),
                    format!("{}.{id}", names.inbox("client")),
                ),
                answer(),
                publish(
                    api(&format!("CONSUMER.MSG.NEXT.{tasks}.*")),
                    api(&format!("CONSUMER.MSG.NEXT.{tasks}.lane0")),
                ),
                subscribe(format!("cf.{queue}.w.*.*"), names.all_of_worker(id)),
                subscribe(names.who(), names.who()),
            ]),
        }
        rights
    }
}

/// Tries all rights. Takes one round trip, and `limit` at most.
pub(super) async fn check(
    connection: &NatsConnection,
    names: &QueueNames,
    role: QueueRole,
    limit: Duration,
) -> Result<(), ClusterError> {
    let (mine, names) = (connection.clone(), names.clone());
    let checked = connection.run(async move {
        let refused = try_all(&mine, &names, role, limit).await?;
        match refused.is_empty() {
            true => Ok(()),
            false => Err(missing(&names, role, &refused)),
        }
    });
    checked.await.unwrap_or_else(|| Err(ClusterError::closed()))
}

/// Returns the missing rights, as an admin writes them.
async fn try_all(
    connection: &NatsConnection,
    names: &QueueNames,
    role: QueueRole,
    limit: Duration,
) -> Result<Vec<String>, ClusterError> {
    let id = unique_id();
    let rights = role.rights(names, &id);
    let mut events = connection.events(); // Before the first trial.
    let client = connection.client();
    let mut subscriptions = Vec::new();
    for right in &rights {
        let sent = match &right.trial {
            Trial::Publish(subject) => client.publish(subject.clone(), NONSENSE).await,
            Trial::Store(subject) => {
                let headers = replacing(1, None);
                client
                    .publish_with_headers(subject.clone(), headers, Bytes::new())
                    .await
            }
            Trial::Subscribe(subject) => {
                let subscription = client.subscribe(subject.clone()).await;
                let subscription = subscription.map_err(|_| ClusterError::closed())?;
                subscriptions.push(subscription);
                Ok(())
            }
        };
        sent.map_err(|_| ClusterError::closed())?;
    }
    // The server handles messages in order: before this answer, it has reported all refusals.
    let subject = format!("$JS.API.STREAM.INFO.{}", names.tasks_stream());
    for _ in 0..2 {
        let answer = connection.request(&subject, HeaderMap::new(), Bytes::new(), limit);
        match answer.await {
            // A refused subscription may end a request early, so there are two.
            Ok(_) | Err(Unanswered::Refused(_)) => {}
            Err(reason) => return Err(unanswered(&reason)),
        }
    }
    let mut refused = Vec::new();
    loop {
        match events.try_recv() {
            Ok(ConnectionEvent::Refused(refusal)) => {
                let right = rights.iter().find(|right| right.is_refused(&refusal));
                refused.extend(right.map(Right::to_text));
            }
            Ok(_) | Err(TryRecvError::Lagged(_)) => {}
            Err(TryRecvError::Empty | TryRecvError::Closed) => return Ok(refused),
        }
    }
}

impl Right {
    fn is_refused(&self, refusal: &ServerRefusal) -> bool {
        let (verb, subject) = match &self.trial {
            Trial::Publish(subject) | Trial::Store(subject) => (RefusedVerb::Publish, subject),
            Trial::Subscribe(subject) => (RefusedVerb::Subscribe, subject),
        };
        (refusal.verb, &refusal.subject) == (verb, subject)
    }

    fn to_text(&self) -> String {
        match &self.trial {
            Trial::Publish(_) | Trial::Store(_) => format!("to publish to `{}`", self.pattern),
            Trial::Subscribe(_) => format!("to subscribe to `{}`", self.pattern),
        }
    }
}

fn missing(names: &QueueNames, role: QueueRole, refused: &[String]) -> ClusterError {
    let text = format!(
        "the server does not permit this user all that a {} of queue `{}` does: {}; permit it, as the documentation of \
         the module `cluster` lists it",
        role.name(),
        names.queue(),
        refused.join(", ")
    );
    ClusterError::new(Problem::PermissionDenied, text)
}

fn unanswered(reason: &Unanswered) -> ClusterError {
    let text = format!(
        "cannot find out what the server permits: {reason}; check the servers and the network"
    );
    ClusterError::new(Problem::Unreachable, text)
}
