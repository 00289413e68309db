//! What the loop of a worker and its tasks share.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use async_nats::{HeaderMap, Subject};
use bytes::Bytes;
use tokio::sync::Notify;

use super::gathered::RETURNED;
use super::lane_wait::LaneWait;
use super::report::WorkerReport;
use super::slots::Slots;
use super::table::{HeldTask, TaskTable};
use crate::cluster::connection::NatsConnection;
use crate::cluster::delivery::{DONE, give_back_after};
use crate::cluster::functions::Functions;
use crate::cluster::names::QueueNames;
use crate::cluster::record::WorkerId;
use crate::executor::Executor;
use crate::observe::WorkerMeter;

/// How long the server may take to confirm that a message is removed.
const CONFIRMATION: Duration = Duration::from_secs(2);

pub(super) struct WorkerCore {
    pub(super) nats: NatsConnection,
    pub(super) names: QueueNames,
    pub(super) functions: Functions,
    pub(super) executor: Arc<dyn Executor>,
    pub(super) me: WorkerId,
    pub(super) times: Times,
    pub(super) slots: Slots,
    pub(super) lane_wait: LaneWait,
    pub(super) tasks: TaskTable,
    pub(super) tally: WorkerTally,
    /// The number of claims that this worker has written.
    pub(super) claims: AtomicU64,
    /// Notified when the local executor accepts no more tasks.
    pub(super) executor_closed: Notify,
    /// When this program reconnected last.
    pub(super) reconnected: Mutex<Option<Instant>>,
}

/// The time limits of a worker.
#[derive(Clone, Copy, Debug)]
pub(super) struct Times {
    /// After this time without an acknowledgement the server delivers a task again.
    pub(super) ack_wait: Duration,
    /// After this time a silent worker counts as lost.
    pub(super) lost_after: Duration,
    /// How long the server keeps an outcome.
    pub(super) result_ttl: Duration,
    /// After this time a claim is written again.
    pub(super) claim_age: Duration,
    /// How long running tasks may take once the worker is asked to end.
    pub(super) drain_deadline: Option<Duration>,
    /// The longest run of a task. A shorter limit of its client applies.
    pub(super) longest_run: Option<Duration>,
}

/// How many tasks of a worker have ended, and how.
#[derive(Debug)]
pub(super) struct WorkerTally {
    done: AtomicU64,
    failed: AtomicU64,
    given_back: AtomicU64,
    pub(super) meter: WorkerMeter,
}

impl WorkerCore {
    pub(super) fn reconnected(&self) -> Option<Instant> {
        *self
            .reconnected
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn note_reconnect(&self) {
        *self
            .reconnected
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
        self.tally.meter.reconnected();
    }

    /// Acknowledges a delivery, or answers a request. If the acknowledgement is lost, the server delivers the task
    /// again.
    pub(super) async fn answer(&self, answer_to: Subject, answer: impl Into<Bytes>) {
        let _ = self.nats.client().publish(answer_to, answer.into()).await;
    }

    /// Removes the message of a task from the stream. Returns once the server has confirmed it. Then the task is never
    /// delivered again, even if workers and servers are killed.
    pub(super) async fn finish(&self, held: &HeldTask) {
        let (headers, done) = (HeaderMap::new(), Bytes::from(DONE));
        let answer = held.answer_to();
        let confirmed = |answer: Result<_, _>| answer.ok().map(|_| ());
        self.nats
            .request_until(&answer, headers, done, CONFIRMATION, confirmed)
            .await;
    }

    /// Returns a task of this worker to the queue. After a pause, the server delivers it to any worker.
    pub(super) async fn give_back(&self, held: &HeldTask, pause: Duration) {
        self.tasks.remove(held); // Before the server may deliver it here again.
        self.tally.gave_back();
        self.answer(held.answer_to(), give_back_after(pause)).await;
    }
}

impl WorkerTally {
    pub(super) fn new(queue: &str) -> Self {
        Self {
            done: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            given_back: AtomicU64::new(0),
            meter: WorkerMeter::new(queue),
        }
    }

    /// A task has ended. `kinds`: as `kinds_of` names its outcomes.
    pub(super) fn ended(&self, kinds: &[(&'static str, usize)]) {
        let count = match kinds.iter().all(|(kind, _)| *kind == RETURNED) {
            true => &self.done,
            false => &self.failed,
        };
        count.fetch_add(1, Ordering::Relaxed);
        for (kind, items) in kinds {
            self.meter.ended(kind, *items);
        }
    }

    pub(super) fn gave_back(&self) {
        self.given_back.fetch_add(1, Ordering::Relaxed);
        self.meter.gave_back();
    }

    pub(super) fn report(&self) -> WorkerReport {
        WorkerReport {
            done: self.done.load(Ordering::Relaxed),
            failed: self.failed.load(Ordering::Relaxed),
            given_back: self.given_back.load(Ordering::Relaxed),
        }
    }
}
