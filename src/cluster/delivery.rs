//! What the server reports about a delivery, in the reply subject of the message, and the answers to it.

use std::time::Duration;

use super::names::{LANES, QueueNames};

/// The answer that removes a task from the stream.
pub(super) const DONE: &str = "+ACK";
/// The answer that extends the time until the next delivery.
pub(super) const IN_PROGRESS: &str = "+WPI";
/// The answer that the task is to be delivered again at once.
pub(super) const AGAIN: &str = "-NAK";

const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// The position of a task in its consumer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct DeliveryInfo {
    pub(super) lane: u8,
    /// How often the task was delivered, this time included.
    pub(super) delivered: u64,
    /// How many more tasks the lane has.
    pub(super) pending: u64,
}

impl DeliveryInfo {
    /// Reads the reply subject of a message. `None` if it is not a delivery of this queue: any program can publish to
    /// an inbox if it knows the name.
    pub(super) fn read(names: &QueueNames, subject: &str) -> Option<Self> {
        // $JS.ACK.<stream>.<consumer>.<delivered>.<stream seq>.<consumer seq>.<time>.<pending>, or the same with
        // <domain>.<account> before the stream and one more token at the end.
        let rest: Vec<&str> = subject.strip_prefix("$JS.ACK.")?.split('.').collect();
        let tokens: &[&str] = match rest.len() {
            7 => &rest,
            9.. => rest.get(2..9)?,
            _ => return None,
        };
        let &[stream, consumer, delivered, _, _, _, pending] = tokens else {
            return None;
        };
        let lane = (0..LANES).find(|lane| QueueNames::consumer(*lane) == consumer)?;
        (stream == names.tasks_stream()).then_some(Self {
            lane,
            delivered: delivered.parse().ok()?,
            pending: pending.parse().ok()?,
        })
    }
}

/// The answer that returns a task to the queue: the server delivers it again after the pause.
pub(super) fn give_back_after(pause: Duration) -> String {
    format!("-NAK {{\"delay\": {}}}", pause.as_nanos().max(1))
}

/// The pause before the next delivery of a task that this worker cannot run: it does not have the function, or cannot
/// read the payload. It grows with the number of deliveries, because no other worker may be able to run it either.
pub(super) fn growing_pause(delivered: u64) -> Duration {
    let doublings =
        u32::try_from(delivered.saturating_sub(1)).map_or(6, |delivered| delivered.min(6));
    (Duration::from_millis(100) * (1 << doublings)).min(LONGEST_PAUSE)
}

#[cfg(all(test, not(properties)))]
mod tests {
    use super::*;

    fn read(subject: &str) -> Option<DeliveryInfo> {
        DeliveryInfo::read(&QueueNames::new("q").expect("a name"), subject)
    }

    #[test]
    fn both_forms_of_the_subject_are_read() {
        let info = DeliveryInfo {
            lane: 1,
            delivered: 2,
            pending: 17,
        };
        for subject in [
            "$JS.ACK.CF_q.lane1.2.30.31.1790000000000000000.17",
            "$JS.ACK.hub.ACCOUNT.CF_q.lane1.2.30.31.1790000000000000000.17.token",
            "$JS.ACK._.ACCOUNT.CF_q.lane1.2.30.31.1790000000000000000.17",
        ] {
            assert_eq!(read(subject).as_ref(), Some(&info), "{subject}");
        }
    }

    #[test]
    fn a_task_of_another_queue_and_a_message_of_no_consumer_are_no_deliveries() {
        for subject in [
            "",
            "_INBOX.x",
            "$JS.ACK.",
            "$JS.ACK.CF_q.lane1.2.30.31.17",
            "$JS.ACK.CF_other.lane1.2.30.31.17.0",
            "$JS.ACK.CF_q.lane3.2.30.31.17.0",
            "$JS.ACK.CF_q.lane1.-2.30.31.17.0",
            "$JS.ACK.CF_q.lane1.2.30.31.17.",
        ] {
            assert_eq!(read(subject), None, "{subject}");
        }
    }
}
