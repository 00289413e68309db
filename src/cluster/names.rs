//! The names of a queue's streams, consumers and subjects. Any text may be a part of a name: characters that a subject
//! does not allow are escaped, so no text can add a wildcard, an empty token or a token of its own. A name with any
//! other escaping is rejected.
//!
//! | subject | carries |
//! |---|---|
//! | `cf.<queue>.t.<lane>.<function>` | a task, in the stream `CF_<queue>` |
//! | `cf.<queue>.o.<client>.<number>` | the record of a task, in the stream `CFO_<queue>` |
//! | `cf.<queue>.r.<client>.<number>` | the record again, once it is stored |
//! | `cf.<queue>.l.<object>.<chunk>` | a part of a large payload, in the stream `CFL_<queue>` |
//! | `cf.<queue>.p.<client>.<number>` | a task's progress |
//! | `cf.<queue>.w.<worker>.<verb>` | a request to one worker |
//! | `cf.<queue>.who` | a question to all workers |

use std::error::Error;
use std::fmt;
use std::sync::Arc;

use super::task_message::ReplyTo;
pub(crate) use super::token::unique_id;
use super::token::{Dots, escape_into, token, unescape};

/// The number of lanes of a queue. Lane 0 is for priorities above 0, lane 1 for 0, lane 2 for those below 0.
pub(crate) const LANES: u8 = 3;
/// The most characters of a queue's name.
const MOST_QUEUE: usize = 32;

/// The names of one queue. Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct QueueNames(Arc<str>);

/// The error for a text that cannot be the name of a queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct BadQueueName(String);

impl QueueNames {
    pub(crate) fn new(queue: &str) -> Result<Self, BadQueueName> {
        let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
        match (1..=MOST_QUEUE).contains(&queue.len()) && queue.bytes().all(is_allowed) {
            true => Ok(Self(queue.into())),
            false => Err(BadQueueName(queue.chars().take(100).collect())),
        }
    }

    pub(crate) fn queue(&self) -> &str {
        &self.0
    }

    pub(crate) fn tasks_stream(&self) -> String {
        format!("CF_{}", self.0)
    }

    /// The prefix differs from that of tasks, since any suffix could be a part of another queue's name.
    pub(crate) fn records_stream(&self) -> String {
        format!("CFO_{}", self.0)
    }

    pub(crate) fn payloads_stream(&self) -> String {
        format!("CFL_{}", self.0)
    }

    pub(crate) fn consumer(lane: u8) -> String {
        format!("lane{lane}")
    }

    /// All subjects of tasks.
    pub(crate) fn tasks(&self) -> String {
        format!("cf.{}.t.>", self.0)
    }

    pub(crate) fn lane(&self, lane: u8) -> String {
        format!("cf.{}.t.{lane}.>", self.0)
    }

    pub(crate) fn task(&self, lane: u8, function: &str) -> String {
        let mut subject = format!("cf.{}.t.{lane}.", self.0);
        escape_into(&mut subject, function, Dots::Separate);
        subject
    }

    /// The lane and the function of a task's subject.
    pub(crate) fn parse_task(&self, subject: &str) -> Option<(u8, String)> {
        let (lane, function) = self.rest(subject, "t")?.split_once('.')?;
        let lane = (0..LANES).find(|known| known.to_string() == lane)?;
        Some((lane, unescape(function, Dots::Separate)?))
    }

    /// All subjects of records.
    pub(crate) fn records(&self) -> String {
        format!("cf.{}.o.>", self.0)
    }

    pub(crate) fn record(&self, client: &str, number: u64) -> String {
        self.numbered("o", client, number)
    }

    /// The record of the task with this reply subject.
    pub(crate) fn record_of(&self, reply: &ReplyTo) -> String {
        self.record(&reply.client, reply.number)
    }

    pub(crate) fn parse_record(&self, subject: &str) -> Option<ReplyTo> {
        self.parse_numbered("o", subject)
    }

    /// All subjects of records as the server repeats them.
    pub(crate) fn stored_records(&self) -> String {
        format!("cf.{}.r.>", self.0)
    }

    /// The record of one task, as the server repeats it.
    pub(crate) fn stored_record(&self, client: &str, number: u64) -> String {
        self.numbered("r", client, number)
    }

    /// The subjects that a client subscribes to for its records.
    pub(crate) fn stored_records_of(&self, client: &str) -> String {
        self.all_numbered("r", client)
    }

    pub(crate) fn parse_stored_record(&self, subject: &str) -> Option<ReplyTo> {
        self.parse_numbered("r", subject)
    }

    /// All parts of large payloads.
    pub(crate) fn payloads(&self) -> String {
        format!("cf.{}.l.>", self.0)
    }

    pub(crate) fn payload(&self, object: &str, chunk: u64) -> String {
        self.numbered("l", object, chunk)
    }

    pub(crate) fn progress(&self, client: &str, number: u64) -> String {
        self.numbered("p", client, number)
    }

    /// The subjects that a client subscribes to for the progress of its tasks.
    pub(crate) fn progress_of(&self, client: &str) -> String {
        self.all_numbered("p", client)
    }

    pub(crate) fn parse_progress(&self, subject: &str) -> Option<ReplyTo> {
        self.parse_numbered("p", subject)
    }

    /// The subject by which one worker receives a `verb`.
    pub(crate) fn worker(&self, worker: &str, verb: &str) -> String {
        format!("cf.{}.w.{}.{}", self.0, token(worker), token(verb))
    }

    /// All subjects of one worker.
    pub(crate) fn all_of_worker(&self, worker: &str) -> String {
        format!("cf.{}.w.{}.*", self.0, token(worker))
    }

    /// The verb of a subject of this worker.
    pub(crate) fn parse_worker(&self, worker: &str, subject: &str) -> Option<String> {
        let (theirs, verb) = self.rest(subject, "w")?.split_once('.')?;
        (theirs == token(worker)).then_some(())?;
        unescape(verb, Dots::Escaped)
    }

    /// The subject of questions to all workers.
    pub(crate) fn who(&self) -> String {
        format!("cf.{}.who", self.0)
    }

    /// The prefix of the subjects of answers to a `role`.
    pub(crate) fn inbox(&self, role: &str) -> String {
        format!("_INBOX.cf.{}.{}", self.0, token(role))
    }

    /// Whether answers of this queue may go there.
    pub(crate) fn is_inbox(&self, subject: &str) -> bool {
        let rest = subject.strip_prefix("_INBOX.cf.");
        let rest = rest.and_then(|rest| rest.strip_prefix(&*self.0));
        rest.is_some_and(|rest| rest.starts_with('.'))
    }

    fn numbered(&self, kind: &str, client: &str, number: u64) -> String {
        format!("cf.{}.{kind}.{}.{number}", self.0, token(client))
    }

    fn all_numbered(&self, kind: &str, client: &str) -> String {
        format!("cf.{}.{kind}.{}.*", self.0, token(client))
    }

    fn parse_numbered(&self, kind: &str, subject: &str) -> Option<ReplyTo> {
        let (client, digits) = self.rest(subject, kind)?.split_once('.')?;
        let number: u64 = digits.parse().ok()?;
        (number.to_string() == digits).then_some(())?; // Neither `+1` nor `01`.
        let client = unescape(client, Dots::Escaped)?.into();
        Some(ReplyTo { client, number })
    }

    /// The rest of the subject after `cf.<queue>.<kind>.`
    fn rest<'a>(&self, subject: &'a str, kind: &str) -> Option<&'a str> {
        let subject = subject.strip_prefix("cf.")?.strip_prefix(&*self.0)?;
        let subject = subject.strip_prefix('.')?.strip_prefix(kind)?;
        subject.strip_prefix('.')
    }
}

impl fmt::Display for BadQueueName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:?} is no name of a queue; use 1 to {MOST_QUEUE} ASCII letters, digits, `_` or `-`",
            self.0
        )
    }
}

impl Error for BadQueueName {}

#[cfg(all(test, not(properties)))]
mod tests {
    use super::*;

    #[test]
    fn answers_go_to_the_inboxes_of_the_queue_alone() {
        let names = QueueNames::new("q").expect("a name");
        assert!(names.is_inbox(&format!("{}.x", names.inbox("client"))));
        for other in [
            "_INBOX.x",
            "_INBOX.cf.q",
            "_INBOX.cf.qq.client.x",
            "cf.q.o.a.1",
            "",
        ] {
            assert!(!names.is_inbox(other), "{other}");
        }
    }
}

#[cfg(all(test, properties))]
#[path = "../../tests/properties/cluster/names.rs"]
mod properties;
