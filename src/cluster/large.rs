//! Payloads that do not fit in a message: one message for each chunk, in a separate stream. An object is written once.
//! Its name contains its size, the size of its chunks and a digest of its bytes, so a reader detects missing or changed
//! chunks.

use std::future::ready;
use std::time::{Duration, Instant};

use async_nats::header::NATS_MESSAGE_TTL;
use async_nats::{HeaderMap, Message, StatusCode};
use bytes::{Bytes, BytesMut};
use futures::stream::{self, StreamExt as _, TryStreamExt as _};
use hmac_sha256::Hash;

use super::connection::{NatsConnection, Unanswered};
use super::error::{ClusterError, Problem};
use super::headers::replacing;
use super::names::{QueueNames, unique_id};
use super::object_name::{CHUNK, LEAST_CHUNK, MOST_BYTES, ObjectName};
use super::publish_answer::{
    PublishAnswer, TOO_MANY_REQUESTS, WRITE_IN_PROCESS, WRONG_LAST_SEQUENCE,
};
use crate::home::unblock;

/// How many bytes a message may have besides its chunk.
const MESSAGE_HEAD: usize = 4 << 10;
/// How many chunks are sent or read at a time.
const AT_ONCE: usize = 8;
/// How long a server may take to answer. A request that it does not answer is repeated.
const ANSWER: Duration = Duration::from_secs(5);
/// How long the servers may have no stream for payloads.
const NO_STREAM: Duration = Duration::from_secs(30);
/// How long a replica may lag behind the one that stored the chunk.
const BEHIND: Duration = Duration::from_secs(5);
const PAUSE: Duration = Duration::from_millis(20);

/// Stores `bytes` and returns the name of the object. Runs in a task of the connection.
pub(crate) async fn put(
    connection: &NatsConnection,
    names: &QueueNames,
    bytes: Bytes,
) -> Result<String, ClusterError> {
    let size = bytes.len() as u64;
    if size > MOST_BYTES {
        let text = format!(
            "a payload of {size} bytes is too large; the cluster takes {MOST_BYTES} at most"
        );
        return Err(ClusterError::new(Problem::Invalid, text));
    }
    let room = connection.max_payload().saturating_sub(MESSAGE_HEAD);
    let name = ObjectName {
        id: unique_id(),
        size,
        chunk: CHUNK.min(room).max(LEAST_CHUNK),
        digest: digest(bytes.clone()).await,
    };
    let object = name.to_string();
    let sent = stream::iter(0..name.chunks()).map(|number| {
        let part = bytes.slice(name.range(number));
        let subject = names.payload(&object, number);
        async move { put_chunk(connection, &subject, part).await }
    });
    let sent = sent
        .buffer_unordered(AT_ONCE)
        .try_for_each(|()| ready(Ok(())));
    if let Err(error) = sent.await {
        if error.is_full() {
            delete(connection, names, &object).await; // A part of it would keep the stream full.
        }
        return Err(error);
    }
    Ok(object)
}

/// Reads an object that should have `size` bytes.
pub(crate) async fn get(
    connection: &NatsConnection,
    names: &QueueNames,
    object: &str,
    size: u64,
) -> Result<Bytes, ClusterError> {
    let name = ObjectName::parse(object).filter(|name| name.size == size);
    let name =
        name.ok_or_else(|| damaged(object, "the cluster did not create its name and size"))?;
    let read = stream::iter(0..name.chunks()).map(|number| {
        let expected = name.range(number).len();
        let subject = names.payload(object, number);
        let get = format!("$JS.API.DIRECT.GET.{}.{subject}", names.payloads_stream());
        async move {
            match get_chunk(connection, &get).await? {
                Some(part) if part.len() == expected => Ok(part),
                Some(_) | None => Err(damaged(object, "a part of it is missing")),
            }
        }
    });
    let mut read = read.buffered(AT_ONCE);
    let mut bytes = BytesMut::new(); // It grows as bytes arrive: another program chose the size.
    while let Some(part) = read.try_next().await? {
        bytes.extend_from_slice(&part);
    }
    let bytes = bytes.freeze();
    match digest(bytes.clone()).await == name.digest {
        true => Ok(bytes),
        false => Err(damaged(object, "its bytes are not those that were stored")),
    }
}

/// Deletes an object, without waiting for an answer. The payload TTL deletes what remains.
pub(crate) async fn delete(connection: &NatsConnection, names: &QueueNames, object: &str) {
    let Some(name) = ObjectName::parse(object) else {
        return;
    };
    for number in 0..name.chunks() {
        // Each message replaces a chunk, and expires. A purge would need the right to delete all payloads.
        let mut headers = HeaderMap::new();
        headers.insert(NATS_MESSAGE_TTL, "1s");
        let subject = names.payload(object, number);
        let published = connection
            .client()
            .publish_with_headers(subject, headers, Bytes::new());
        if published.await.is_err() {
            return; // The connection is closed.
        }
    }
}

/// Stores a chunk once: a repetition after a lost answer expects that there is no message, and finds one.
async fn put_chunk(
    connection: &NatsConnection,
    subject: &str,
    part: Bytes,
) -> Result<(), ClusterError> {
    let mut silence = Silence::default();
    let read = |answer: Result<Message, Unanswered>| {
        let message = match answer {
            Ok(message) => message,
            Err(why) => return silence.error("store", why).map(Err),
        };
        match PublishAnswer::read(&message.payload)? {
            PublishAnswer::Stored { .. } => Some(Ok(())),
            PublishAnswer::Refused { code, .. } if code == WRONG_LAST_SEQUENCE => Some(Ok(())),
            PublishAnswer::Refused { code, .. }
                if [WRITE_IN_PROCESS, TOO_MANY_REQUESTS].contains(&code) =>
            {
                None
            }
            PublishAnswer::Refused { code, description } => {
                let text = format!(
                    "the servers refuse a large payload ({code}: {description}); raise `QueueSettings::max_bytes`, or \
                     the limits of the account"
                );
                Some(Err(ClusterError::new(Problem::Full, text)))
            }
        }
    };
    connection
        .request_until(subject, replacing(0, None), part, ANSWER, read)
        .await
}

/// `None` if no replica has the chunk.
async fn get_chunk(
    connection: &NatsConnection,
    subject: &str,
) -> Result<Option<Bytes>, ClusterError> {
    let (started, mut silence) = (Instant::now(), Silence::default());
    let mut read = |answer: Result<Message, Unanswered>| match answer {
        Ok(message) => match message.status {
            None => Some(Ok(Some(message.payload))),
            Some(StatusCode::NOT_FOUND) => Some(Ok(None)),
            Some(_) => silence.error("read", Unanswered::NoResponders).map(Err),
        },
        Err(why) => silence.error("read", why).map(Err),
    };
    loop {
        let (headers, nothing) = (HeaderMap::new(), Bytes::new());
        let chunk = connection.request_until(subject, headers, nothing, ANSWER, &mut read);
        match chunk.await? {
            // A replica may not have received it yet.
            None if started.elapsed() < BEHIND => tokio::time::sleep(PAUSE).await,
            found => return Ok(found),
        }
    }
}

/// Since when the servers say that there is no stream. Servers that restart or choose a leader say so for seconds.
#[derive(Default)]
struct Silence(Option<Instant>);

impl Silence {
    /// The error of a request without a useful answer. `None` if it is to be repeated.
    fn error(&mut self, verb: &str, why: Unanswered) -> Option<ClusterError> {
        match why {
            Unanswered::Refused(refusal) => return Some(not_permitted(&refusal.subject)),
            Unanswered::TimedOut => {
                self.0 = None; // A server is stopped, or cut off. It may come back at any time.
                return None;
            }
            Unanswered::NoResponders => {
                let since = *self.0.get_or_insert_with(Instant::now);
                if since.elapsed() < NO_STREAM {
                    return None;
                }
            }
            Unanswered::TooLarge | Unanswered::Closed(_) => {}
        }
        let text =
            format!("cannot {verb} a large payload: {why}; check the servers and the network");
        Some(ClusterError::new(Problem::Unreachable, text))
    }
}

async fn digest(bytes: Bytes) -> String {
    let digest = unblock(move || Hash::hash(&bytes)).await; // Hashing takes milliseconds for each megabyte.
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn damaged(object: &str, why: &str) -> ClusterError {
    let shown: String = object.chars().take(200).collect();
    let text = format!(
        "the large payload {shown:?} cannot be read: {why}; it may be older than `QueueSettings::payload_ttl`"
    );
    ClusterError::new(Problem::Damaged, text)
}

fn not_permitted(subject: &str) -> ClusterError {
    let text = format!("the server does not permit this user large payloads; permit `{subject}`");
    ClusterError::new(Problem::PermissionDenied, text)
}
