//! Headers of the server, in messages and answers.

use std::str::FromStr;
use std::time::Duration;

use async_nats::header::{NATS_EXPECTED_LAST_SUBJECT_SEQUENCE, NATS_MESSAGE_TTL};
use async_nats::{HeaderMap, Message};

/// The sequence of a message in its stream.
pub(crate) const SEQUENCE: &str = "Nats-Sequence";

/// The number in a server's header.
pub(crate) fn number_in<N: FromStr>(message: &Message, name: &str) -> Option<N> {
    let headers = message.headers.as_ref()?;
    headers.get(name)?.as_str().parse().ok()
}

/// Headers of a write that replaces the message `expected` of its subject; 0 means that there must be none. `ttl`: how
/// long the server keeps the message.
pub(crate) fn replacing(expected: u64, ttl: Option<Duration>) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(NATS_EXPECTED_LAST_SUBJECT_SEQUENCE, expected.to_string());
    if let Some(ttl) = ttl {
        headers.insert(NATS_MESSAGE_TTL, format!("{}s", ttl.as_secs().max(1)));
    }
    headers
}
