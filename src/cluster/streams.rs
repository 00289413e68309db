//! The configuration of what the servers keep for a queue: three streams, and a consumer for each lane.

use std::time::Duration;

use async_nats::jetstream::consumer::{
    AckPolicy, Config as ConsumerConfig, DeliverPolicy, ReplayPolicy,
};
use async_nats::jetstream::stream::{
    Config, DiscardPolicy, Republish, RetentionPolicy, StorageType,
};

use super::names::QueueNames;
use super::settings::{Durability, QueueSettings};

/// The key of the result TTL, in seconds, in the metadata of the records' stream.
pub(super) const RESULT_TTL: &str = "cf-result-ttl";
/// The most pull requests that may wait at a lane: at least one for each worker program.
const MOST_PULLS: i64 = 1 << 14;

const DEFAULT_ACK_WAIT: Duration = Duration::from_secs(30);
const DEFAULT_DUPLICATE_WINDOW: Duration = Duration::from_secs(120);
const DEFAULT_RESULT_TTL: Duration = Duration::from_secs(600);
const DEFAULT_PAYLOAD_TTL: Duration = Duration::from_secs(7 * 24 * 3600);
/// The age limit of records. A server that is killed may restore a claim that an outcome has replaced, and no program
/// removes it.
const RECORD_AGE: Duration = Duration::from_secs(7 * 24 * 3600);

pub(super) fn tasks(names: &QueueNames, settings: &QueueSettings) -> Config {
    Config {
        retention: RetentionPolicy::WorkQueue,
        discard: DiscardPolicy::New,
        max_messages: limit(settings.max_tasks),
        max_bytes: limit(settings.max_bytes),
        duplicate_window: settings
            .duplicate_window
            .unwrap_or(DEFAULT_DUPLICATE_WINDOW),
        ..stream(names.tasks_stream(), names.tasks(), settings)
    }
}

/// Each record has a subject of its own. The server republishes the records that it stores, and only those, to the
/// clients.
pub(super) fn records(names: &QueueNames, settings: &QueueSettings) -> Config {
    let ttl = seconds(settings.result_ttl.unwrap_or(DEFAULT_RESULT_TTL));
    Config {
        max_messages_per_subject: 1,
        allow_message_ttl: true,
        republish: Some(Republish {
            source: names.records(),
            destination: names.stored_records(),
            headers_only: false,
        }),
        max_age: record_age(Duration::from_secs(ttl)),
        metadata: [(RESULT_TTL.to_owned(), ttl.to_string())].into(),
        ..stream(names.records_stream(), names.records(), settings)
    }
}

pub(super) fn payloads(names: &QueueNames, settings: &QueueSettings) -> Config {
    Config {
        discard: DiscardPolicy::New,
        max_messages_per_subject: 1,
        max_bytes: limit(settings.max_bytes),
        max_age: settings.payload_ttl.unwrap_or(DEFAULT_PAYLOAD_TTL),
        allow_message_ttl: true,
        ..stream(names.payloads_stream(), names.payloads(), settings)
    }
}

/// The settings that all streams share.
fn stream(name: String, subjects: String, settings: &QueueSettings) -> Config {
    let durability = settings.durability.unwrap_or(Durability::file());
    Config {
        name,
        subjects: vec![subjects],
        retention: RetentionPolicy::Limits,
        discard: DiscardPolicy::Old,
        storage: match durability.in_memory {
            true => StorageType::Memory,
            false => StorageType::File,
        },
        num_replicas: durability.replicas,
        max_messages: -1,
        max_bytes: -1,
        max_messages_per_subject: -1,
        max_consumers: -1,
        allow_direct: true,
        ..Config::default()
    }
}

pub(super) fn consumer(names: &QueueNames, lane: u8, settings: &QueueSettings) -> ConsumerConfig {
    let name = QueueNames::consumer(lane);
    ConsumerConfig {
        durable_name: Some(name.clone()),
        name: Some(name),
        deliver_policy: DeliverPolicy::All,
        ack_policy: AckPolicy::Explicit,
        ack_wait: settings.ack_wait.unwrap_or(DEFAULT_ACK_WAIT),
        max_deliver: -1,
        filter_subject: names.lane(lane),
        replay_policy: ReplayPolicy::Instant,
        max_waiting: MOST_PULLS,
        max_ack_pending: -1,
        ..ConsumerConfig::default()
    }
}

/// The age at which the server removes any record. A worker writes the claim of a long task again before that.
pub(crate) fn record_age(result_ttl: Duration) -> Duration {
    RECORD_AGE.max(2 * result_ttl)
}

/// The result TTL of an existing queue.
pub(super) fn result_ttl(records: &Config) -> Duration {
    let ttl = records
        .metadata
        .get(RESULT_TTL)
        .and_then(|ttl| ttl.parse().ok());
    ttl.map_or(DEFAULT_RESULT_TTL, |ttl: u64| {
        Duration::from_secs(ttl.max(1))
    })
}

fn limit(limit: Option<u64>) -> i64 {
    limit.map_or(-1, |limit| i64::try_from(limit).unwrap_or(i64::MAX))
}

fn seconds(time: Duration) -> u64 {
    time.as_secs() + u64::from(time.subsec_nanos() > 0)
}
