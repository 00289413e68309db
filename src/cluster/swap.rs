//! A compare-and-swap of a record: each write names the record that it replaces. The server accepts one writer; the
//! others read the record.

use std::time::Duration;

use async_nats::Message;
use bytes::Bytes;

use super::connection::{NatsConnection, Unanswered};
use super::headers::replacing;
use super::publish_answer::{
    MESSAGE_TOO_LARGE, PublishAnswer, WRITE_IN_PROCESS, WRONG_LAST_SEQUENCE, latest_sequence,
};

/// The sequence of a record in its stream. A later write of the record has a higher one. 0: there is no record.
pub(crate) type Seq = u64;

/// How long the server may take to answer. The connection may be lost without an error.
const ANSWER: Duration = Duration::from_secs(5);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Swapped {
    Stored(Seq),
    /// The record is not the expected one. This write itself may have stored it, if the answer to an earlier copy was
    /// lost.
    Conflict {
        /// The sequence of the record, according to the server.
        latest: Seq,
    },
}

/// The server, or the client library, refuses the write for another reason than the record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SwapRefusal {
    pub(crate) reason: String,
    pub(crate) is_too_large: bool,
}

/// Why a write had a conflict.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Conflict {
    /// This write stored the record, and its answer was lost.
    OwnWrite(Seq),
    /// Another writer has replaced the expected record.
    OtherWriter,
    /// The answers are too old to decide. The writer tries again.
    StaleAnswer,
}

/// Explains a conflict. `expected`: the record that the write was to replace. `latest`: the record according to the
/// server. `found`: what a read found after that, and whether its bytes are those of the write. Each write has
/// different bytes.
///
/// Any replica answers a read. A former leader refuses writes until it notices that there is a new one. So an answer
/// may be old. Only a record with a higher sequence proves that another writer was first.
pub(crate) fn explain_conflict(expected: Seq, latest: Seq, found: Option<(Seq, bool)>) -> Conflict {
    match found {
        Some((seq, true)) if seq > expected => Conflict::OwnWrite(seq),
        Some((seq, _)) if seq > expected && seq >= latest => Conflict::OtherWriter,
        _ => Conflict::StaleAnswer,
    }
}

/// Replaces the record at `subject` if its sequence is `expected`. Repeats the write until the server answers.
/// `ttl`: how long the server keeps it.
pub(crate) async fn swap(
    nats: &NatsConnection,
    subject: &str,
    expected: Seq,
    ttl: Option<Duration>,
    body: Bytes,
) -> Result<Swapped, SwapRefusal> {
    let headers = replacing(expected, ttl);
    let read = |answer| read_answer(answer, expected);
    nats.request_until(subject, headers, body, ANSWER, read)
        .await
}

/// Returns how a write that was to replace `expected` ended. `None` if it must be repeated.
fn read_answer(
    answer: Result<Message, Unanswered>,
    expected: Seq,
) -> Option<Result<Swapped, SwapRefusal>> {
    let refused = |reason, is_too_large| {
        Some(Err(SwapRefusal {
            reason,
            is_too_large,
        }))
    };
    match answer {
        Ok(message) => match PublishAnswer::read(&message.payload)? {
            PublishAnswer::Stored { seq, .. } => Some(Ok(Swapped::Stored(seq))),
            PublishAnswer::Refused { code, description } if code == WRONG_LAST_SEQUENCE => {
                let latest = latest_sequence(&description).unwrap_or(expected + 1);
                Some(Ok(Swapped::Conflict { latest }))
            }
            // It may be an earlier copy of this write, whose answer was lost.
            PublishAnswer::Refused { code, .. } if code == WRITE_IN_PROCESS => None,
            PublishAnswer::Refused { code, description } => refused(
                format!("the server refuses the record ({code}): {description}"),
                code == MESSAGE_TOO_LARGE,
            ),
        },
        Err(Unanswered::TooLarge) => refused("it is larger than a message may be".to_owned(), true),
        Err(Unanswered::Refused(refusal)) => {
            let subject = refusal.subject;
            let reason = format!("the server does not permit this user to publish to {subject}");
            refused(reason, false)
        }
        Err(Unanswered::NoResponders | Unanswered::TimedOut | Unanswered::Closed(_)) => None,
    }
}

#[cfg(all(test, not(properties)))]
mod tests {
    use super::*;

    #[test]
    fn a_record_that_is_older_than_the_claim_fences_no_outcome() {
        assert_eq!(
            explain_conflict(7, 7, Some((3, false))),
            Conflict::StaleAnswer
        );
        assert_eq!(explain_conflict(7, 0, None), Conflict::StaleAnswer);
        assert_eq!(
            explain_conflict(7, 7, Some((7, false))),
            Conflict::StaleAnswer
        );
        assert_eq!(
            explain_conflict(7, 9, Some((9, false))),
            Conflict::OtherWriter
        );
    }

    #[test]
    fn a_read_of_a_replica_that_lags_decides_nothing() {
        assert_eq!(explain_conflict(0, 9, None), Conflict::StaleAnswer);
        assert_eq!(
            explain_conflict(0, 9, Some((4, false))),
            Conflict::StaleAnswer
        );
        assert_eq!(
            explain_conflict(0, 9, Some((12, false))),
            Conflict::OtherWriter
        );
    }

    #[test]
    fn only_the_very_write_is_recognized_after_a_lost_answer() {
        assert_eq!(
            explain_conflict(0, 9, Some((9, true))),
            Conflict::OwnWrite(9)
        );
        assert_eq!(
            explain_conflict(0, 9, Some((9, false))),
            Conflict::OtherWriter
        );
    }
}
