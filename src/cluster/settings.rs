//! The settings of a queue: where the servers keep it, and for how long.

use std::time::Duration;

use super::error::{ClusterError, Problem};

/// Where the servers keep a queue.
///
/// ```
/// use concurrent_futures::cluster::{Durability, QueueSettings};
///
/// let settings = QueueSettings::new().durability(Durability::replicas(3));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Durability {
    pub(super) in_memory: bool,
    pub(super) replicas: usize,
}

impl Durability {
    /// In the files of one server: tasks survive its restart, and wait while it is down. If the machine loses power,
    /// data that the server has not synced is lost.
    pub fn file() -> Self {
        Self::replicas(1)
    }

    /// In the memory of one server: a restart loses all tasks.
    pub fn memory() -> Self {
        Self {
            in_memory: true,
            replicas: 1,
        }
    }

    /// In the files of `count` servers, 1 to 5. With 3, the queue continues and loses nothing while one server is down.
    pub fn replicas(count: usize) -> Self {
        Self {
            in_memory: false,
            replicas: count,
        }
    }
}

/// How a queue is set up. A setting that a program does not state has its default in a new queue; in an existing queue,
/// any value is accepted. A stated setting must match, or the set-up fails.
///
/// ```
/// use std::time::Duration;
/// use concurrent_futures::cluster::QueueSettings;
///
/// let settings = QueueSettings::new().max_tasks(1_000_000).result_ttl(Duration::from_secs(3600));
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct QueueSettings {
    pub(super) durability: Option<Durability>,
    pub(super) ack_wait: Option<Duration>,
    pub(super) duplicate_window: Option<Duration>,
    pub(super) result_ttl: Option<Duration>,
    pub(super) payload_ttl: Option<Duration>,
    pub(super) max_tasks: Option<u64>,
    pub(super) max_bytes: Option<u64>,
}

impl QueueSettings {
    /// Creates settings without any stated value.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets where the servers keep the queue. Default: [`Durability::file`].
    #[must_use]
    pub fn durability(mut self, durability: Durability) -> Self {
        self.durability = Some(durability);
        self
    }

    /// Sets after which time without an acknowledgement a task is delivered to another worker, as in NATS. Default: 30
    /// s; at least 1 s. A worker acknowledges the progress of a running task three times in this period, so a task may
    /// run for any time. A client that waits for a task with retries checks its worker, and does not wait for this period
    /// if that has ended.
    #[must_use]
    pub fn ack_wait(mut self, wait: Duration) -> Self {
        self.ack_wait = Some(wait);
        self
    }

    /// Sets how long a second task with the same deduplication id is recognized. Default: 2 min; at least 100 ms.
    #[must_use]
    pub fn duplicate_window(mut self, window: Duration) -> Self {
        self.duplicate_window = Some(window);
        self
    }

    /// Sets how long the servers keep an outcome. Default: 10 min; whole seconds.
    #[must_use]
    pub fn result_ttl(mut self, ttl: Duration) -> Self {
        self.result_ttl = Some(ttl);
        self
    }

    /// Sets how long the servers keep a large payload that neither side deletes. A task with a large payload that waits
    /// longer in the queue fails. Default: 7 days.
    #[must_use]
    pub fn payload_ttl(mut self, ttl: Duration) -> Self {
        self.payload_ttl = Some(ttl);
        self
    }

    /// Limits how many tasks the queue holds, waiting or running. The servers refuse more. Default: no limit.
    #[must_use]
    pub fn max_tasks(mut self, tasks: u64) -> Self {
        self.max_tasks = Some(tasks);
        self
    }

    /// Limits how many bytes of tasks the queue holds, and of large payloads as many again. Default: no limit.
    #[must_use]
    pub fn max_bytes(mut self, bytes: u64) -> Self {
        self.max_bytes = Some(bytes);
        self
    }

    /// Rejects settings that no server accepts, or that servers interpret differently.
    pub(super) fn check(&self) -> Result<(), ClusterError> {
        let invalid = |text: String| Err(ClusterError::new(Problem::Invalid, text));
        if let Some(Durability { replicas, .. }) = self.durability
            && !(1..=5).contains(&replicas)
        {
            return invalid(format!(
                "a queue cannot have {replicas} replicas; use 1, 3 or 5"
            ));
        }
        let most = Duration::from_secs(100 * 365 * 24 * 3600);
        let second = Duration::from_secs(1);
        let times = [
            ("ack_wait", self.ack_wait, second),
            ("duplicate_window", self.duplicate_window, second / 10),
            ("result_ttl", self.result_ttl, second),
            ("payload_ttl", self.payload_ttl, second),
        ];
        for (name, time, least) in times {
            match time {
                Some(time) if time < least || time > most => {
                    return invalid(format!("`{name}` is {time:?}; use {least:?} to 100 years"));
                }
                _ => {}
            }
        }
        for (name, limit) in [("max_tasks", self.max_tasks), ("max_bytes", self.max_bytes)] {
            if limit.is_some_and(|limit| limit == 0 || i64::try_from(limit).is_err()) {
                return invalid(format!(
                    "`{name}` is {}; use 1 to 2^63 - 1",
                    limit.unwrap_or(0)
                ));
            }
        }
        Ok(())
    }
}
