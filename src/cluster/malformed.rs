//! Why bytes from the network are refused. Any program with the right to publish may have written them, so each length
//! is checked before it is used.

use std::fmt;

/// The version of the messages between clients and workers. Increase it with a change that an older build would
/// misread.
pub(crate) const WIRE_VERSION: u8 = 1;

/// What is wrong with a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Malformed {
    /// The other side uses another version.
    Version { theirs: String },
    /// The bytes end before the message does.
    Torn,
    /// A part of the message is missing.
    Missing { field: &'static str },
    /// A part of the message has no valid value.
    Invalid { field: &'static str, reason: String },
}

impl Malformed {
    pub(super) fn invalid(field: &'static str, reason: impl Into<String>) -> Self {
        let reason = reason.into();
        Self::Invalid { field, reason }
    }
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Version { theirs } => write!(
                f,
                "version {theirs:?} of the cluster's messages meets version {WIRE_VERSION} of this program; run \
                 clients and workers with versions of concurrent-futures that agree, or on queues of their own"
            ),
            Self::Torn => f.write_str("the message ends in the middle"),
            Self::Missing { field } => write!(f, "the message has no {field}"),
            Self::Invalid { field, reason } => {
                write!(f, "the message has an invalid {field}: {reason}")
            }
        }
    }
}

impl std::error::Error for Malformed {}

/// Checks the first byte of a message, and returns the rest.
pub(super) fn of_this_version(bytes: &bytes::Bytes) -> Result<bytes::Bytes, Malformed> {
    match bytes.first() {
        Some(&WIRE_VERSION) => Ok(bytes.slice(1..)),
        Some(other) => Err(Malformed::Version {
            theirs: other.to_string(),
        }),
        None => Err(Malformed::Torn),
    }
}

/// Checks the length of a text that was read. The texts of a message are names, so they are short.
pub(super) fn within(field: &'static str, text: String, most: usize) -> Result<String, Malformed> {
    match text.len() {
        0 => Err(Malformed::invalid(field, "it is empty")),
        len if len > most => Err(Malformed::invalid(
            field,
            format!("it has {len} bytes, and at most {most} are allowed"),
        )),
        _ => Ok(text),
    }
}
