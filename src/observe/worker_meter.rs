//! The metrics of a worker of a cluster (feature `metrics`). The label `queue` has the name of its queue. The local
//! executor has its own metrics.

use std::fmt;
use std::sync::{Arc, Once};

use metrics::{Counter, Gauge, counter, gauge};

const CLAIMS: &str = "concurrent_futures_cluster_claims_total";
const RUNNING: &str = "concurrent_futures_cluster_claims_running";
const ENDED: &str = "concurrent_futures_cluster_claims_ended_total";
const GIVEN_BACK: &str = "concurrent_futures_cluster_given_back_total";
const LOST: &str = "concurrent_futures_cluster_lost_total";
const WAITING: &str = "concurrent_futures_cluster_waiting";
const RECONNECTIONS: &str = "concurrent_futures_cluster_reconnections_total";

/// The metrics of one worker.
pub(crate) struct WorkerMeter(Arc<WorkerMetrics>);

struct WorkerMetrics {
    queue: String,
    claims: Counter,
    running: Gauge,
    succeeded: Counter,
    given_back: Counter,
    lost: Counter,
    /// By lane.
    waiting: [Gauge; 3],
    reconnections: Counter,
}

/// Counts a task as claimed until dropped.
pub(crate) struct ClaimCount(Arc<WorkerMetrics>);

impl WorkerMeter {
    pub(crate) fn new(queue: &str) -> Self {
        static DESCRIBE: Once = Once::new();
        DESCRIBE.call_once(describe);
        let label = || queue.to_owned();
        let lane = |lane| gauge!(WAITING, "queue" => label(), "lane" => lane);
        Self(Arc::new(WorkerMetrics {
            queue: label(),
            claims: counter!(CLAIMS, "queue" => label()),
            running: gauge!(RUNNING, "queue" => label()),
            succeeded: counter!(ENDED, "queue" => label(), "outcome" => "ok"),
            given_back: counter!(GIVEN_BACK, "queue" => label()),
            lost: counter!(LOST, "queue" => label()),
            waiting: ["high", "normal", "low"].map(lane),
            reconnections: counter!(RECONNECTIONS, "queue" => label()),
        }))
    }

    /// The worker has claimed a task.
    pub(crate) fn claimed(&self) -> ClaimCount {
        self.0.claims.increment(1);
        self.0.running.increment(1);
        ClaimCount(self.0.clone())
    }

    /// A claimed task, or `items` items of one, have this outcome.
    pub(crate) fn ended(&self, outcome: &'static str, items: usize) {
        let items = items as u64;
        match outcome {
            "ok" => self.0.succeeded.increment(items),
            other => {
                let queue = self.0.queue.clone();
                counter!(ENDED, "queue" => queue, "outcome" => other).increment(items);
            }
        }
    }

    /// A task goes back to the queue.
    pub(crate) fn gave_back(&self) {
        self.0.given_back.increment(1);
    }

    /// The worker of another claim is lost, and its task fails.
    pub(crate) fn found_lost(&self) {
        self.0.lost.increment(1);
    }

    /// The server reports this number of waiting tasks in a lane.
    pub(crate) fn saw_waiting(&self, lane: usize, tasks: u64) {
        if let Some(waiting) = self.0.waiting.get(lane) {
            waiting.set(tasks as f64);
        }
    }

    pub(crate) fn reconnected(&self) {
        self.0.reconnections.increment(1);
    }
}

impl Drop for ClaimCount {
    fn drop(&mut self) {
        self.0.running.decrement(1);
    }
}

impl fmt::Debug for WorkerMeter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("WorkerMeter").field(&self.0.queue).finish()
    }
}

fn describe() {
    use metrics::{describe_counter, describe_gauge};

    describe_counter!(
        CLAIMS,
        "Tasks that the worker claimed; each attempt counts."
    );
    describe_gauge!(RUNNING, "Tasks that the worker has claimed and not ended.");
    describe_counter!(
        ENDED,
        "Tasks, and items of maps, that the worker ended, by outcome."
    );
    describe_counter!(GIVEN_BACK, "Tasks that the worker returned to the queue.");
    describe_counter!(
        LOST,
        "Tasks that fail since their worker, another one, is lost."
    );
    describe_gauge!(
        WAITING,
        "Tasks that waited in the queue at the latest delivery, by lane."
    );
    describe_counter!(RECONNECTIONS, "Connections that were lost and made again.");
}
