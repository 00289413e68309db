//! The metrics of an executor, for the program's recorder (feature `metrics`). Names and units follow
//! Prometheus's conventions; the label `executor` has the executor's name.

use std::fmt;
use std::sync::{Arc, Once};
use std::time::Duration;

use metrics::{Counter, Gauge, Histogram, Unit, counter, gauge, histogram};

const QUEUED: &str = "concurrent_futures_tasks_queued";
const RUNNING: &str = "concurrent_futures_tasks_running";
const TASKS: &str = "concurrent_futures_tasks_total";
const QUEUE_WAIT: &str = "concurrent_futures_task_queue_wait_seconds";
const RUN: &str = "concurrent_futures_task_run_seconds";
const WORKERS: &str = "concurrent_futures_workers";
const STARTS: &str = "concurrent_futures_worker_starts_total";
const ENDS: &str = "concurrent_futures_worker_ends_total";

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

    /// Counts a task, or a chunk of a map, as queued until the result is dropped.
    pub(crate) fn queued(&self) -> Raised {
        Raised::by_one(self, |metrics| &metrics.queued)
    }

    /// Counts one as running until the result is dropped.
    pub(crate) fn running(&self) -> Raised {
        Raised::by_one(self, |metrics| &metrics.running)
    }

    /// Records that `items` items that travelled together waited for `wait`, then ran for `time` in all.
    pub(crate) fn ran(&self, items: u32, wait: Duration, time: Duration) {
        self.0.queue_wait.record(wait);
        let each = time.as_secs_f64() / f64::from(items.max(1));
        self.0.run.record_many(each, items as usize);
    }

    /// Counts tasks, or items, with this outcome.
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

    /// Counts the end of a worker that was ready.
    #[cfg(feature = "process")]
    pub(crate) fn worker_ended(&self, cause: &'static str) {
        self.0.workers.decrement(1);
        counter!(ENDS, "executor" => self.0.executor.clone(), "cause" => cause).increment(1);
    }
}

/// Keeps a gauge raised by one until dropped, if there is a gauge.
#[derive(Default)]
pub(crate) struct Raised(Option<(Meter, Which)>);

/// Selects a gauge among the metrics.
type Which = fn(&Metrics) -> &Gauge;

impl Raised {
    fn by_one(meter: &Meter, gauge: Which) -> Self {
        gauge(&meter.0).increment(1);
        Self(Some((meter.clone(), gauge)))
    }
}

impl fmt::Debug for Meter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Meter").field(&self.0.executor).finish()
    }
}

impl fmt::Debug for Raised {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Raised").finish_non_exhaustive()
    }
}

impl Drop for Raised {
    fn drop(&mut self) {
        if let Some((meter, gauge)) = &self.0 {
            gauge(&meter.0).decrement(1);
        }
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
    describe_gauge!(WORKERS, "Worker processes that are ready.");
    describe_counter!(STARTS, "Worker processes that became ready.");
    describe_counter!(ENDS, "Worker processes that ended, by cause.");
}
