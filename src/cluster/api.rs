//! Requests to the servers' API of streams and consumers, and what their errors mean.

use std::time::{Duration, Instant};

use async_nats::jetstream::consumer::Config as ConsumerConfig;
use async_nats::jetstream::context::RequestErrorKind;
use async_nats::jetstream::response::Response;
use async_nats::jetstream::{Error as ServerError, ErrorCode};
use serde::de::DeserializeOwned;
use serde::ser::{Serialize, SerializeStruct as _, Serializer};

use super::connection::{NatsConnection, refused};
use super::error::Problem;

/// The pause before a request is repeated to a server that cannot answer yet.
pub(super) const PAUSE: Duration = Duration::from_millis(100);

/// How long one request may take. A cluster without a leader does not answer; a repeated request may reach the new
/// leader.
const REQUEST: Duration = Duration::from_secs(2);

/// Why a request has no result.
pub(super) enum ApiFailure {
    /// The credentials do not permit it.
    Refused,
    /// The server, or its cluster, cannot answer now.
    Unavailable(String),
    Server(ServerError),
}

/// Sends one request, and repeats it until `until` while the servers cannot answer.
pub(super) async fn ask<T: Serialize, V: DeserializeOwned>(
    connection: &NatsConnection,
    until: Instant,
    subject: &str,
    request: &T,
) -> Result<V, ApiFailure> {
    loop {
        match ask_once(connection, subject, request).await {
            Err(ApiFailure::Unavailable(_)) if Instant::now() < until => {
                tokio::time::sleep(PAUSE).await;
            }
            answer => return answer,
        }
    }
}

async fn ask_once<T: Serialize, V: DeserializeOwned>(
    connection: &NatsConnection,
    subject: &str,
    request: &T,
) -> Result<V, ApiFailure> {
    let full = format!("$JS.API.{subject}");
    let refusals = connection.events(); // Before the request, because a refusal may arrive at once.
    let jetstream = connection.jetstream();
    let answer = tokio::select! {
        answer = jetstream.request::<_, T, Response<V>>(subject.to_owned(), request) => answer,
        _ = refused(refusals, &full) => return Err(ApiFailure::Refused),
        () = tokio::time::sleep(REQUEST) => {
            return Err(ApiFailure::Unavailable("the servers do not answer".to_owned()));
        }
    };
    match answer {
        Ok(Response::Ok(value)) => Ok(value),
        Ok(Response::Err { error }) if is_temporary(&error) => {
            Err(ApiFailure::Unavailable(error.to_string()))
        }
        Ok(Response::Err { error }) => Err(ApiFailure::Server(error)),
        Err(error) if error.kind() == RequestErrorKind::NoResponders => Err(
            ApiFailure::Unavailable("no server with JetStream answers".to_owned()),
        ),
        Err(error) => Err(ApiFailure::Unavailable(error.to_string())),
    }
}

/// Whether a stream or a consumer of this name exists with another configuration.
pub(super) fn is_taken(error: &ServerError) -> bool {
    matches!(
        error.kind(),
        ErrorCode::STREAM_NAME_EXIST
            | ErrorCode::CONSUMER_ALREADY_EXISTS
            | ErrorCode::CONSUMER_NAME_EXIST
    )
}

/// Whether the same request may succeed soon.
fn is_temporary(error: &ServerError) -> bool {
    // Code 503 is temporary, such as for a cluster without a leader. These errors have the code too, but are permanent.
    let stays = matches!(
        error.kind(),
        ErrorCode::JETSTREAM_NOT_ENABLED_FOR_ACCOUNT
            | ErrorCode::JETSTREAM_NOT_ENABLED
            | ErrorCode::STREAM_STORE_FAILED
            | ErrorCode::INSUFFICIENT_RESOURCES
    );
    error.code() == 503 && !stays
}

/// What kind of problem a server's error is, and what to do.
pub(super) fn meaning(error: &ServerError) -> (Problem, &'static str) {
    match error.kind() {
        ErrorCode::JETSTREAM_NOT_ENABLED_FOR_ACCOUNT | ErrorCode::JETSTREAM_NOT_ENABLED => {
            (Problem::Unreachable, "enable JetStream for this account")
        }
        ErrorCode::STREAM_REPLICAS_NOT_SUPPORTED | ErrorCode::CLUSTER_NO_PEERS => (
            Problem::Invalid,
            "replicas need a cluster of at least as many servers",
        ),
        ErrorCode::STREAM_SUBJECT_OVERLAP => (
            Problem::Mismatch,
            "another stream has subjects of the queue; remove it, or use a queue of another name",
        ),
        ErrorCode::INSUFFICIENT_RESOURCES
        | ErrorCode::ACCOUNT_RESOURCES_EXCEEDED
        | ErrorCode::STORAGE_RESOURCES_EXCEEDED
        | ErrorCode::MEMORY_RESOURCES_EXCEEDED => {
            (Problem::Full, "give the server, or the account, more space")
        }
        _ => (
            Problem::Invalid,
            "the server refuses it, so check its version, 2.11 or later, and the account's limits",
        ),
    }
}

/// A request whose subject contains everything.
pub(super) struct NoParameters;

impl Serialize for NoParameters {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_struct("NoParameters", 0)?.end()
    }
}

/// A request to create a consumer, unless one of its name has another configuration.
pub(super) struct CreateConsumer<'a> {
    pub(super) stream: &'a str,
    pub(super) config: &'a ConsumerConfig,
}

impl Serialize for CreateConsumer<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut fields = serializer.serialize_struct("CreateConsumer", 3)?;
        fields.serialize_field("stream_name", self.stream)?;
        fields.serialize_field("config", self.config)?;
        fields.serialize_field("action", "create")?;
        fields.end()
    }
}
