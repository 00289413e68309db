//! The answer of a stream to a publish: JSON with few fields. This searches for the fields, without a parser.

/// The answer of a stream to a publish.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum PublishAnswer {
    Stored {
        seq: u64,
        /// Whether an earlier message has the same id. `seq` is then the sequence of the earlier one.
        is_duplicate: bool,
    },
    Refused {
        code: u64,
        description: String,
    },
}

/// The message of the subject is not the one to be replaced.
pub(crate) const WRONG_LAST_SEQUENCE: u64 = 10071;
/// Replicas have not stored another write of the subject yet.
pub(crate) const WRITE_IN_PROCESS: u64 = 10164;
/// A limit of the stream is reached; the description names it.
pub(crate) const STORE_FAILED: u64 = 10077;
/// The message is larger than the stream allows.
pub(crate) const MESSAGE_TOO_LARGE: u64 = 10054;
/// Replicas have not stored the message with the same id yet, so its sequence is unknown.
pub(crate) const DUPLICATE_IN_PROCESS: u64 = 10158;
/// The server has more publishes than it can currently store.
pub(crate) const TOO_MANY_REQUESTS: u64 = 10167;

/// The most bytes of a description that is kept.
const MOST_DESCRIPTION: usize = 1000;

impl PublishAnswer {
    /// `None` if it is not an answer of a stream.
    pub(crate) fn read(answer: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(answer).ok()?;
        if let Some(code) = number_after(text, "\"err_code\":") {
            let description = text.split_once("\"description\":\"");
            let description = description.and_then(|(_, rest)| rest.split_once('"'));
            let description = description.map_or("no reason", |(text, _)| text);
            let description = description.chars().take(MOST_DESCRIPTION).collect();
            return Some(Self::Refused { code, description });
        }
        match number_after(text, "\"seq\":")? {
            0 => None,
            seq => Some(Self::Stored {
                seq,
                is_duplicate: text.contains("\"duplicate\":true")
                    || text.contains("\"duplicate\": true"),
            }),
        }
    }
}

/// The sequence in a refusal with [`WRONG_LAST_SEQUENCE`]: that of the existing message.
pub(crate) fn latest_sequence(description: &str) -> Option<u64> {
    number_after(description, "sequence:")
}

/// The number that follows the first `key`.
pub(crate) fn number_after(text: &str, key: &str) -> Option<u64> {
    let (_, rest) = text.split_once(key)?;
    let rest = rest.trim_start();
    let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
    rest[..digits].parse().ok()
}

#[cfg(all(test, not(properties)))]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_a_sequence_or_a_reason() {
        let stored = br#"{"stream":"CF_q", "domain":"hub", "seq":12}"#;
        let answer = PublishAnswer::Stored {
            seq: 12,
            is_duplicate: false,
        };
        assert_eq!(PublishAnswer::read(stored), Some(answer));
        let again = br#"{"stream":"CF_q","seq":12,"duplicate":true}"#;
        let answer = PublishAnswer::Stored {
            seq: 12,
            is_duplicate: true,
        };
        assert_eq!(PublishAnswer::read(again), Some(answer));
        let refused =
            br#"{"error":{"code":400,"err_code":10071,"description":"wrong last sequence: 1"},"stream":"CF_q","seq":0}"#;
        assert_eq!(latest_sequence("wrong last sequence: 1"), Some(1));
        assert_eq!(latest_sequence("wrong last sequence"), None);
        let answer = PublishAnswer::Refused {
            code: WRONG_LAST_SEQUENCE,
            description: "wrong last sequence: 1".to_owned(),
        };
        assert_eq!(PublishAnswer::read(refused), Some(answer));
    }

    #[test]
    fn a_message_of_no_stream_is_no_answer() {
        let others = [
            &b""[..],
            b"{}",
            b"\xff",
            br#"{"seq":}"#,
            br#"{"stream":"x","seq":0}"#,
            br#"{"seq":99999999999999999999}"#,
        ];
        for other in others {
            assert_eq!(PublishAnswer::read(other), None, "{other:?}");
        }
    }
}
