//! The events of a connection after it is created.

use async_nats::{ClientError, Event, ServerError};

/// An event of a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ConnectionEvent {
    /// Connected for the first time, or again after a loss. `count` is 1 for the first time.
    Connected { count: u64 },
    /// The connection is lost. The client is reconnecting.
    Disconnected,
    /// An attempt to reconnect failed. The next attempt follows.
    Failed(String),
    /// The server ignored a message or a subscription, because the credentials do not permit it. No answer will arrive.
    Refused(ServerRefusal),
    /// Messages of a subscription were dropped, since the program did not read them in time.
    Overflowed,
    /// Anything else that the server reports.
    Reported(String),
}

/// An operation that the credentials do not permit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ServerRefusal {
    pub(crate) verb: RefusedVerb,
    pub(crate) subject: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RefusedVerb {
    Publish,
    Subscribe,
}

impl ConnectionEvent {
    /// The event for users of the connection. `None` if they need not know of it.
    pub(super) fn of(event: &Event, connects: u64) -> Option<Self> {
        Some(match event {
            Event::Connected => Self::Connected { count: connects },
            Event::Disconnected => Self::Disconnected,
            Event::SlowConsumer(_) | Event::ServerError(ServerError::SlowConsumer(_)) => {
                Self::Overflowed
            }
            Event::ServerError(ServerError::Other(text)) => match ServerRefusal::parse(text) {
                Some(refusal) => Self::Refused(refusal),
                None => Self::Reported(text.clone()),
            },
            Event::ServerError(error @ ServerError::AuthorizationViolation) => {
                Self::Reported(error.to_string())
            }
            Event::ClientError(ClientError::Other(text)) => Self::Failed(text.clone()),
            Event::ClientError(error) => Self::Failed(error.to_string()),
            Event::LameDuckMode | Event::Draining | Event::Closed => return None,
        })
    }
}

impl ServerRefusal {
    /// Reads `Permissions Violation for Publish to "subject"`, and the same for subscriptions.
    fn parse(text: &str) -> Option<Self> {
        let text = text.trim().trim_matches('\'');
        let lower = text.to_ascii_lowercase(); // It has the length of `text`.
        let start = lower.find("permissions violation for ")? + "permissions violation for ".len();
        let (verb, start) = if lower[start..].starts_with("publish to \"") {
            (RefusedVerb::Publish, start + "publish to \"".len())
        } else if lower[start..].starts_with("subscription to \"") {
            (RefusedVerb::Subscribe, start + "subscription to \"".len())
        } else {
            return None;
        };
        let (subject, _queue) = text[start..].split_once('"')?;
        let subject = subject.to_owned();
        Some(Self { verb, subject })
    }
}

#[cfg(all(test, not(properties)))]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_names_the_subject_and_anything_else_is_a_report() {
        let refused = |verb, subject: &str| {
            let subject = subject.to_owned();
            Some(ServerRefusal { verb, subject })
        };
        let publish = "Permissions Violation for Publish to \"cf.q.t.1.F\"";
        assert_eq!(
            ServerRefusal::parse(publish),
            refused(RefusedVerb::Publish, "cf.q.t.1.F")
        );
        let subscribe = "Permissions Violation for Subscription to \"a.>\" using queue \"q\"";
        assert_eq!(
            ServerRefusal::parse(subscribe),
            refused(RefusedVerb::Subscribe, "a.>")
        );
        for other in [
            "",
            "Permissions Violation",
            "Permissions Violation for Publish to ",
            "maximum payload",
            "é",
        ] {
            assert_eq!(ServerRefusal::parse(other), None);
        }
    }
}
