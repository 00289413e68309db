//! Creates what the servers keep for a queue, or checks what exists. Several programs may do so at once: the first one
//! creates it, and the others find it. A program without the right to create it needs only to find it.

use std::time::{Duration, Instant};

use async_nats::jetstream::ErrorCode;
use async_nats::jetstream::consumer::{Config as ConsumerConfig, Info as ConsumerInfo};
use async_nats::jetstream::stream::{Config, Info};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::api::{self, ApiFailure, CreateConsumer, NoParameters, PAUSE};
use super::connection::NatsConnection;
use super::differences::{Difference, consumer_differences, stream_differences};
use super::error::{ClusterError, Problem};
use super::names::{LANES, QueueNames};
use super::settings::QueueSettings;
use super::streams;

/// The settings that a queue has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct QueueInfo {
    pub(crate) ack_wait: Duration,
    pub(crate) duplicate_window: Duration,
    pub(crate) result_ttl: Duration,
}

/// Finds the queue, and creates its missing parts. Checks the settings in `stated`. Takes at most `limit` plus one
/// request, and runs in a task of the connection.
pub(crate) async fn set_up(
    connection: &NatsConnection,
    names: &QueueNames,
    stated: &QueueSettings,
    limit: Duration,
) -> Result<QueueInfo, ClusterError> {
    let setup = Setup {
        connection: connection.clone(),
        names: names.clone(),
        stated: stated.clone(),
        until: Instant::now() + limit,
    };
    let run = connection.run(async move { setup.run().await }).await;
    run.unwrap_or_else(|| Err(ClusterError::closed()))
}

/// How to find a stream or a consumer.
struct Lookup<'a> {
    /// Its name in errors.
    what: &'a str,
    subject: &'a str,
    /// The error of a server that does not have it.
    missing: ErrorCode,
}

struct Setup {
    connection: NatsConnection,
    names: QueueNames,
    stated: QueueSettings,
    /// When to give up on a server that cannot answer.
    until: Instant,
}

impl Setup {
    async fn run(&self) -> Result<QueueInfo, ClusterError> {
        let tasks = self
            .stream(streams::tasks(&self.names, &self.stated))
            .await?;
        let records = self
            .stream(streams::records(&self.names, &self.stated))
            .await?;
        self.stream(streams::payloads(&self.names, &self.stated))
            .await?;
        let mut ack_wait = Duration::MAX;
        for lane in 0..LANES {
            let consumer = self.consumer(
                &tasks.name,
                streams::consumer(&self.names, lane, &self.stated),
            );
            ack_wait = ack_wait.min(consumer.await?.ack_wait);
        }
        Ok(QueueInfo {
            ack_wait,
            duplicate_window: tasks.duplicate_window,
            result_ttl: streams::result_ttl(&records),
        })
    }

    /// Finds or creates the stream. Returns its configuration.
    async fn stream(&self, wanted: Config) -> Result<Config, ClusterError> {
        let what = format!("stream `{}`", wanted.name);
        let info = format!("STREAM.INFO.{}", wanted.name);
        let create = format!("STREAM.CREATE.{}", wanted.name);
        let found = Lookup {
            what: &what,
            subject: &info,
            missing: ErrorCode::STREAM_NOT_FOUND,
        };
        let found: Info = self.find_or_make(&found, &create, &wanted).await?;
        let differences = stream_differences(&wanted, &found.config, &self.stated);
        self.agree(&what, &differences)?;
        Ok(found.config)
    }

    /// Finds or creates the consumer. Returns its configuration.
    async fn consumer(
        &self,
        stream: &str,
        wanted: ConsumerConfig,
    ) -> Result<ConsumerConfig, ClusterError> {
        let name = wanted.durable_name.as_deref().unwrap_or_default();
        let what = format!("consumer `{name}` of stream `{stream}`");
        let info = format!("CONSUMER.INFO.{stream}.{name}");
        let create = format!("CONSUMER.CREATE.{stream}.{name}.{}", wanted.filter_subject);
        let request = CreateConsumer {
            stream,
            config: &wanted,
        };
        let found = Lookup {
            what: &what,
            subject: &info,
            missing: ErrorCode::CONSUMER_NOT_FOUND,
        };
        let found: ConsumerInfo = self.find_or_make(&found, &create, &request).await?;
        let differences = consumer_differences(&wanted, &found.config, &self.stated);
        self.agree(&what, &differences)?;
        Ok(found.config)
    }

    /// Finds the stream or consumer, or creates it.
    async fn find_or_make<T: Serialize, V: DeserializeOwned>(
        &self,
        lookup: &Lookup<'_>,
        create: &str,
        request: &T,
    ) -> Result<V, ClusterError> {
        if let Some(found) = self.find(lookup).await? {
            return Ok(found);
        }
        match self.ask(create, request).await {
            Ok(made) => Ok(made),
            // Another program was faster, and chose a different configuration.
            Err(ApiFailure::Server(error)) if api::is_taken(&error) => self.find_made(lookup).await,
            Err(failure) => Err(self.cannot("make", lookup.what, create, failure)),
        }
    }

    /// `None` if the server does not have it.
    async fn find<V: DeserializeOwned>(
        &self,
        lookup: &Lookup<'_>,
    ) -> Result<Option<V>, ClusterError> {
        match self.ask(lookup.subject, &NoParameters).await {
            Ok(found) => Ok(Some(found)),
            Err(ApiFailure::Server(error)) if error.kind() == lookup.missing => Ok(None),
            Err(failure) => Err(self.cannot("find", lookup.what, lookup.subject, failure)),
        }
    }

    /// Finds what another program has just created. Not all nodes may have it yet.
    async fn find_made<V: DeserializeOwned>(&self, lookup: &Lookup<'_>) -> Result<V, ClusterError> {
        loop {
            if let Some(found) = self.find(lookup).await? {
                return Ok(found);
            }
            if Instant::now() >= self.until {
                let failure = ApiFailure::Unavailable(
                    "it is created and removed at the same time".to_owned(),
                );
                return Err(self.cannot("find", lookup.what, lookup.subject, failure));
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    async fn ask<T: Serialize, V: DeserializeOwned>(
        &self,
        subject: &str,
        request: &T,
    ) -> Result<V, ApiFailure> {
        api::ask(&self.connection, self.until, subject, request).await
    }

    fn agree(&self, what: &str, differences: &[Difference]) -> Result<(), ClusterError> {
        if differences.is_empty() {
            return Ok(());
        }
        let texts: Vec<String> = differences.iter().map(Difference::to_string).collect();
        let text = format!(
            "queue `{}` exists with other settings: of {what}, {}; state the settings that it has, change it with the \
             `nats` tool, or use a queue of another name",
            self.names.queue(),
            texts.join(", ")
        );
        Err(ClusterError::new(Problem::Mismatch, text))
    }

    fn cannot(&self, verb: &str, what: &str, subject: &str, failure: ApiFailure) -> ClusterError {
        let text = format!("cannot {verb} {what} of queue `{}`", self.names.queue());
        match failure {
            ApiFailure::Refused => {
                let advice = match verb {
                    "make" => "let an admin make the queue by `QueueSetup::create`, or permit",
                    _ => "permit",
                };
                let text = format!(
                    "{text}: the server permits this user no publish to `$JS.API.{subject}` or no \
                                    subscription to its answers; {advice} it"
                );
                ClusterError::new(Problem::PermissionDenied, text)
            }
            ApiFailure::Unavailable(why) => {
                let text = format!(
                    "{text}; run `nats-server` with JetStream (`-js`), and check that its cluster has a leader"
                );
                ClusterError::with_source(Problem::Unreachable, text, why)
            }
            ApiFailure::Server(error) => {
                let (problem, advice) = api::meaning(&error);
                ClusterError::with_source(problem, format!("{text}; {advice}"), error)
            }
        }
    }
}
