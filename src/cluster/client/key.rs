//! The name of a task that outlives the process that submitted it.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::cluster::names::QueueNames;
use crate::cluster::task_message::ReplyTo;

/// Names a task on a cluster, for [`ClusterExecutor::reattach`](super::ClusterExecutor::reattach): in another process,
/// later, or on another machine. Its text can be stored, such as in a database. It contains how the result is encoded.
///
/// ```
/// use concurrent_futures::cluster::TaskKey;
///
/// let key: TaskKey = "primes/0123456789abcdefABCDEF.7#12:bool".parse()?;
/// assert_eq!(key.queue(), "primes");
/// assert_eq!(key.to_string(), "primes/0123456789abcdefABCDEF.7#12:bool");
/// # Ok::<(), concurrent_futures::cluster::InvalidTaskKey>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct TaskKey {
    pub(super) queue: Box<str>,
    pub(super) reply: ReplyTo,
    /// The sequence of the task in the stream, if it was known.
    pub(super) seq: Option<u64>,
    /// How the result is encoded: the bytes of a number do not contain its type.
    pub(super) form: Box<str>,
}

/// The error for a text that is not a [`TaskKey`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidTaskKey(String);

impl TaskKey {
    /// The name of the queue.
    pub fn queue(&self) -> &str {
        &self.queue
    }
}

impl fmt::Display for TaskKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.queue, self.reply)?;
        if let Some(seq) = self.seq {
            write!(f, "#{seq}")?;
        }
        write!(f, ":{}", self.form)
    }
}

impl FromStr for TaskKey {
    type Err = InvalidTaskKey;

    fn from_str(text: &str) -> Result<Self, InvalidTaskKey> {
        let invalid = || InvalidTaskKey(text.chars().take(100).collect());
        // An id of the user may contain all of these characters: what follows it has them last.
        let (queue, rest) = text.split_once('/').ok_or_else(invalid)?;
        let (rest, form) = rest.rsplit_once(':').ok_or_else(invalid)?;
        QueueNames::new(queue).map_err(|_| invalid())?;
        let (reply, seq) = match rest.rsplit_once('#') {
            Some((reply, seq))
                if reply.parse::<ReplyTo>().is_ok() && seq.parse::<u64>().is_ok() =>
            {
                (reply, seq.parse().ok())
            }
            _ => (rest, None),
        };
        Ok(Self {
            queue: queue.into(),
            reply: reply.parse().map_err(|_| invalid())?,
            seq,
            form: form.into(),
        })
    }
}

impl Serialize for TaskKey {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for TaskKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

impl fmt::Display for InvalidTaskKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:?} is no key of a task; use what `key` returned",
            self.0
        )
    }
}

impl std::error::Error for InvalidTaskKey {}

#[cfg(all(test, not(properties)))]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_the_same_after_a_trip_as_text() {
        for (client, number, seq) in [
            ("abc", 7, Some(3)),
            ("abc", 7, None),
            ("~a/b#c.d#9", 0, None),
            ("~x#1:u", 0, Some(2)),
        ] {
            let reply = ReplyTo {
                client: client.into(),
                number,
            };
            let key = TaskKey {
                queue: "q".into(),
                reply,
                seq,
                form: "*".into(),
            };
            assert_eq!(key.to_string().parse(), Ok(key.clone()), "{key}");
            let bytes = rmp_serde::to_vec(&key).expect("text");
            assert_eq!(rmp_serde::from_slice::<TaskKey>(&bytes).expect("text"), key);
        }
    }

    #[test]
    fn another_text_is_no_key() {
        for text in [
            "",
            "q",
            "q/",
            "q/abc",
            "q/abc.",
            "q/abc.x",
            "q q/abc.7",
            "/abc.7",
            "q/.7",
        ] {
            assert!(text.parse::<TaskKey>().is_err(), "{text:?}");
        }
    }
}
