//! The metrics of an executor, for the program's recorder (feature `metrics`). Names and units follow
//! Prometheus's conventions; the label `executor` has the executor's name.

use std::fmt;
use std::sync::{Arc, LazyLock, Once};
use std::time::{Duration, Instant};

use metrics::{Counter, Gauge, Histogram, Unit, counter, gauge, histogram};

const QUEUED: &str = "concurrent_futures_tasks_queued";
const RUNNING: &str = "concurrent_futures_tasks_running";
const TASKS: &str = "concurrent_futures_tasks_total";
const QUEUE_WAIT: &str = "concurrent_futures_task_queue_wait_seconds";
const RUN: &str = "concurrent_futures_task_run_seconds";
const WORKERS: &str = "concurrent_futures_workers";
const STARTS: &str = "concurrent_futures_worker_starts_total";
const ENDS: &str = "concurrent_futures_worker_ends_total";
#[cfg(feature = "cluster")]
const RECONNECTIONS: &str = "concurrent_futures_reconnections_total";

/// The metrics of one executor. Clones share them.
#[derive(Clone)]
pub(crate) struct Meter(Arc<Metrics>);

struct Metrics {
    executor: String,
    queued: Gauge,
    running: Gauge,
    queue_wait: Histogram,
    run: Histogram,
    succeeded: Counter,
    #[cfg(feature = "process")]
    workers: Gauge,
}

impl Meter {
    pub(crate) fn new(executor: &str) -> Self {
        static DESCRIBE: Once = Once::new();
        DESCRIBE.call_once(describe);
        let label = || executor.to_owned();
        Self(Arc::new(Metrics {
            queued: gauge!(QUEUED, "executor" => label()),
            running: gauge!(RUNNING, "executor" => label()),
            queue_wait: histogram!(QUEUE_WAIT, "executor" => label()),
            run: histogram!(RUN, "executor" => label()),
            succeeded: counter!(TASKS, "executor" => label(), "outcome" => "ok"),
            #[cfg(feature = "process")]
            workers: gauge!(WORKERS, "executor" => label()),
            executor: label(),
        }))
    }

    /// Whether it counts queued tasks.
    pub(crate) const COUNTS_QUEUED: bool = true;

    /// A task, or a chunk of a map, enters the queue.
    pub(crate) fn enter_queue(&self) {
        self.0.queued.increment(1);
    }

    /// A task, or a chunk of a map, leaves the queue.
    pub(crate) fn leave_queue(&self) {
        self.0.queued.decrement(1);
    }

    /// Counts a task or chunk as running until the result is dropped.
    pub(crate) fn running(&self) -> RunningCount {
        self.0.running.increment(1);
        RunningCount(Some(self.clone()))
    }

    /// Records that `items` items that travelled together waited for `wait`, then ran for `time` in all.
    pub(crate) fn ran(&self, items: u32, wait: Duration, time: Duration) {
        self.0.queue_wait.record(wait);
        let each = time.as_secs_f64() / f64::from(items.max(1));
        self.0.run.record_many(each, items as usize);
    }

    /// Counts tasks or items by their outcome.
    pub(crate) fn ended(&self, outcome: &'static str, count: usize) {
        match outcome {
            "ok" => self.0.succeeded.increment(count as u64),
            other => {
                let executor = self.0.executor.clone();
                counter!(TASKS, "executor" => executor, "outcome" => other).increment(count as u64);
            }
        }
    }

    #[cfg(feature = "process")]
    pub(crate) fn worker_started(&self) {
        self.0.workers.increment(1);
        counter!(STARTS, "executor" => self.0.executor.clone()).increment(1);
    }

    /// How many workers serve a cluster.
    #[cfg(feature = "cluster")]
    pub(crate) fn workers_are(&self, count: usize) {
        self.0.workers.set(count as f64);
    }

    /// The connection to a cluster was lost and made again.
    #[cfg(feature = "cluster")]
    pub(crate) fn reconnected(&self) {
        counter!(RECONNECTIONS, "executor" => self.0.executor.clone()).increment(1);
    }

    /// Counts the end of a worker that was ready.
    #[cfg(feature = "process")]
    pub(crate) fn worker_ended(&self, cause: &'static str) {
        self.0.workers.decrement(1);
        counter!(ENDS, "executor" => self.0.executor.clone(), "cause" => cause).increment(1);
    }
}

/// Counts a task as running until dropped, if there is a meter.
#[derive(Debug, Default)]
pub(crate) struct RunningCount(Option<Meter>);

impl Drop for RunningCount {
    fn drop(&mut self) {
        if let Some(meter) = &self.0 {
            meter.0.running.decrement(1);
        }
    }
}

/// When a task was submitted, in nanoseconds. Each queued task has one, so it has half the size of an `Instant`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SubmitTime(u64);

impl SubmitTime {
    pub(crate) fn now() -> Self {
        Self(Self::nanos())
    }

    pub(crate) fn elapsed(self) -> Duration {
        Duration::from_nanos(Self::nanos().saturating_sub(self.0))
    }

    fn nanos() -> u64 {
        static FIRST: LazyLock<Instant> = LazyLock::new(Instant::now);
        u64::try_from(FIRST.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }
}

impl fmt::Debug for Meter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Meter").field(&self.0.executor).finish()
    }
}

fn describe() {
    use metrics::{describe_counter, describe_gauge, describe_histogram};

    describe_gauge!(QUEUED, "Tasks and chunks of maps that wait for a worker.");
    describe_gauge!(
        RUNNING,
        "Tasks that run, or wait at a worker that runs another one."
    );
    describe_counter!(TASKS, "Tasks that ended, by outcome.");
    describe_histogram!(
        QUEUE_WAIT,
        Unit::Seconds,
        "Time that tasks waited before they ran."
    );
    describe_histogram!(RUN, Unit::Seconds, "Time that tasks ran.");
    describe_gauge!(
        WORKERS,
        "Worker processes that are ready, or workers of a cluster."
    );
    describe_counter!(STARTS, "Worker processes that became ready.");
    describe_counter!(ENDS, "Worker processes that ended, by cause.");
    #[cfg(feature = "cluster")]
    describe_counter!(
        RECONNECTIONS,
        "Connections to a cluster that were lost and made again."
    );
}
