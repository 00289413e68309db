//! Compares what the servers have for a queue with what they should have.

use std::fmt;

use async_nats::jetstream::consumer::Config as ConsumerConfig;
use async_nats::jetstream::stream::{Config, DiscardPolicy, RetentionPolicy};

use super::settings::QueueSettings;
use super::streams::{RESULT_TTL, record_age, result_ttl};

/// A setting that exists with a different value.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Difference {
    setting: &'static str,
    wanted: String,
    found: String,
}

/// The differences in an existing stream: from what the crate needs, and from what the program states.
pub(super) fn stream_differences(
    wanted: &Config,
    found: &Config,
    stated: &QueueSettings,
) -> Vec<Difference> {
    let mut all = Differences::default();
    all.compare("subjects", &wanted.subjects, &found.subjects);
    all.compare("retention", &wanted.retention, &found.retention);
    all.compare("discard", &wanted.discard, &found.discard);
    all.compare(
        "max_msgs_per_subject",
        &limited(wanted.max_messages_per_subject),
        &limited(found.max_messages_per_subject),
    );
    all.compare(
        "discard_new_per_subject",
        &wanted.discard_new_per_subject,
        &found.discard_new_per_subject,
    );
    all.compare("allow_direct", &wanted.allow_direct, &found.allow_direct);
    all.compare(
        "allow_msg_ttl",
        &(wanted.allow_message_ttl || found.allow_message_ttl),
        &found.allow_message_ttl,
    );
    all.compare("republish", &wanted.republish, &found.republish);
    all.compare("no_ack", &wanted.no_ack, &found.no_ack);
    all.compare("sealed", &wanted.sealed, &found.sealed);
    if wanted.metadata.contains_key(RESULT_TTL) {
        all.compare("max_age", &record_age(result_ttl(found)), &found.max_age);
    } else if wanted.max_age.is_zero() || stated.payload_ttl.is_some() {
        all.compare("max_age", &wanted.max_age, &found.max_age);
    }
    if stated.durability.is_some() {
        all.compare("storage", &wanted.storage, &found.storage);
        all.compare("num_replicas", &wanted.num_replicas, &found.num_replicas);
    }
    let has_limits = wanted.discard == DiscardPolicy::New;
    let holds_tasks = wanted.retention == RetentionPolicy::WorkQueue;
    if !has_limits || (holds_tasks && stated.max_tasks.is_some()) {
        all.compare(
            "max_msgs",
            &limited(wanted.max_messages),
            &limited(found.max_messages),
        );
    }
    if !has_limits || stated.max_bytes.is_some() {
        all.compare(
            "max_bytes",
            &limited(wanted.max_bytes),
            &limited(found.max_bytes),
        );
    }
    if holds_tasks && stated.duplicate_window.is_some() {
        all.compare(
            "duplicate_window",
            &wanted.duplicate_window,
            &found.duplicate_window,
        );
    }
    if wanted.metadata.contains_key(RESULT_TTL) && stated.result_ttl.is_some() {
        all.compare("result TTL", &result_ttl(wanted), &result_ttl(found));
    }
    all.0
}

/// As `stream_differences`, for a consumer.
pub(super) fn consumer_differences(
    wanted: &ConsumerConfig,
    found: &ConsumerConfig,
    stated: &QueueSettings,
) -> Vec<Difference> {
    let mut all = Differences::default();
    all.compare(
        "filter_subject",
        &wanted.filter_subject,
        &found.filter_subject,
    );
    all.compare(
        "deliver_policy",
        &wanted.deliver_policy,
        &found.deliver_policy,
    );
    all.compare(
        "deliver_subject",
        &wanted.deliver_subject,
        &found.deliver_subject,
    );
    all.compare("ack_policy", &wanted.ack_policy, &found.ack_policy);
    all.compare(
        "max_deliver",
        &limited(wanted.max_deliver),
        &limited(found.max_deliver),
    );
    all.compare(
        "max_ack_pending",
        &limited(wanted.max_ack_pending),
        &limited(found.max_ack_pending),
    );
    all.compare("headers_only", &wanted.headers_only, &found.headers_only);
    all.compare(
        "inactive_threshold",
        &wanted.inactive_threshold,
        &found.inactive_threshold,
    );
    if stated.ack_wait.is_some() {
        all.compare("ack_wait", &wanted.ack_wait, &found.ack_wait);
    }
    all.0
}

#[derive(Default)]
struct Differences(Vec<Difference>);

impl Differences {
    fn compare<T: PartialEq + fmt::Debug>(&mut self, setting: &'static str, wanted: &T, found: &T) {
        if wanted != found {
            self.0.push(Difference {
                setting,
                wanted: format!("{wanted:?}"),
                found: format!("{found:?}"),
            });
        }
    }
}

/// Servers represent "no limit" as -1 or as 0.
fn limited(limit: i64) -> Option<i64> {
    (limit > 0).then_some(limit)
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            setting,
            wanted,
            found,
        } = self;
        write!(f, "`{setting}` is {found} and should be {wanted}")
    }
}
