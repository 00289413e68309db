//! How many tasks wait in a queue.

use std::time::Duration;

use async_nats::HeaderMap;
use bytes::Bytes;

use super::core::ClientCore;
use crate::cluster::connection::Unanswered;
use crate::cluster::error::{ClusterError, Problem};
use crate::cluster::names::{LANES, QueueNames};
use crate::cluster::publish_answer::number_after;

/// How long the server may take.
const LIMIT: Duration = Duration::from_secs(5);

/// How many tasks of all clients are in a queue, from
/// [`ClusterExecutor::depth`](super::ClusterExecutor::depth). A chunk of a `map` is one task.
///
/// The number of waiting tasks is a signal to start or end workers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct QueueDepth {
    /// Those of a priority above 0.
    pub above: LaneDepth,
    /// Those of priority 0.
    pub normal: LaneDepth,
    /// Those of a priority below 0.
    pub below: LaneDepth,
}

/// How many tasks are in a lane of a queue.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct LaneDepth {
    /// Tasks that wait: no worker has them.
    pub waiting: u64,
    /// Tasks that a worker has, without an outcome yet.
    pub running: u64,
}

impl QueueDepth {
    /// All tasks that no worker has.
    pub fn waiting(&self) -> u64 {
        self.above.waiting + self.normal.waiting + self.below.waiting
    }

    /// All tasks that a worker has.
    pub fn running(&self) -> u64 {
        self.above.running + self.normal.running + self.below.running
    }
}

impl ClientCore {
    pub(super) async fn read_depth(&self) -> Result<QueueDepth, ClusterError> {
        let mut lanes = [LaneDepth::default(); LANES as usize];
        for (lane, depth) in (0..).zip(&mut lanes) {
            let stream = self.names.tasks_stream();
            let consumer = QueueNames::consumer(lane);
            let subject = format!("$JS.API.CONSUMER.INFO.{stream}.{consumer}");
            let answer = self
                .nats
                .request(&subject, HeaderMap::new(), Bytes::new(), LIMIT)
                .await;
            let answer = answer.map_err(|reason| unanswered(&subject, &reason))?;
            let text = String::from_utf8_lossy(&answer.payload);
            let number = |key| number_after(&text, key);
            let (waiting, running) = (number("\"num_pending\":"), number("\"num_ack_pending\":"));
            let (Some(waiting), Some(running)) = (waiting, running) else {
                let reason: String = text.chars().take(500).collect();
                let text = format!("the server does not say how long the queue is: {reason}");
                return Err(ClusterError::new(Problem::Mismatch, text));
            };
            *depth = LaneDepth { waiting, running };
        }
        let [above, normal, below] = lanes;
        Ok(QueueDepth {
            above,
            normal,
            below,
        })
    }
}

fn unanswered(subject: &str, reason: &Unanswered) -> ClusterError {
    let text = match reason {
        Unanswered::Refused(_) => return ClusterError::not_permitted(subject),
        Unanswered::NoResponders | Unanswered::TimedOut | Unanswered::TooLarge => {
            "no server with JetStream says how long the queue is; check that its cluster has a leader".to_owned()
        }
        Unanswered::Closed(reason) => format!("the connection is closed: {reason}"),
    };
    ClusterError::new(Problem::Unreachable, text)
}
