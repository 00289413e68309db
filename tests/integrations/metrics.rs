//! What a Prometheus server would scrape from two working pools.

#[path = "../common/mod.rs"]
mod common;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::channel;
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::Duration;

use concurrent_futures::{
    Executor as _, ExecutorExt as _, ProcessPoolExecutor, TaskOptions, ThreadPoolExecutor,
};
use futures::TryStreamExt as _;
use metrics::{
    Counter, Gauge, GaugeFn, Histogram, KeyName, Metadata, Recorder, SharedString, Unit,
};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};

use self::common::{Gate, Key, eventually, within};

concurrent_futures::init_before_main!();

fn stand_at(key: Key) {
    key.wait();
}

/// The value of a line, by its name and labels. `None` if there is no line.
fn value(text: &str, name: &str) -> Option<f64> {
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.map(|value| value.parse().expect("a number"))
}

struct Scrape(PrometheusHandle);

impl Scrape {
    #[track_caller]
    fn expect(&self, expected: &[(&str, f64)]) {
        let text = self.0.render();
        for (name, number) in expected {
            assert_eq!(value(&text, name), Some(*number), "{name} in\n{text}");
        }
    }
}

// The recorder is global, so only one test uses it.
#[tokio::test]
async fn executors_are_measured_under_names_that_prometheus_expects() {
    let recorder = PrometheusBuilder::new().build_recorder();
    let scrape = Scrape(recorder.handle());
    metrics::set_global_recorder(recorder).expect("there is no other");
    let threads = ThreadPoolExecutor::builder()
        .max_workers(1)
        .queue_capacity(1)
        .name("t")
        .build();
    let threads = threads.expect("a pool");
    let processes = ProcessPoolExecutor::builder()
        .max_workers(1)
        .name("p")
        .build()
        .expect("a pool");

    let gate = Gate::new();
    let first = threads.submit(stand_at, gate.key());
    let guest = gate.guest().await;
    let second = threads.submit(|| {}, ());
    within(threads.submit(|| {}, ()))
        .await
        .expect_err("the queue is full");
    scrape.expect(&[
        (r#"concurrent_futures_tasks_running{executor="t"}"#, 1.0),
        (r#"concurrent_futures_tasks_queued{executor="t"}"#, 1.0),
        (
            r#"concurrent_futures_tasks_total{executor="t",outcome="rejected"}"#,
            1.0,
        ),
    ]);
    guest.let_in().await;
    within(first).await.expect("a result");
    within(second).await.expect("a result");
    within(threads.submit(|| panic!("on purpose"), ()))
        .await
        .map(|(): ()| ())
        .expect_err("it panicked");
    let running = r#"concurrent_futures_tasks_running{executor="t"}"#;
    eventually(|| value(&scrape.0.render(), running) == Some(0.0)).await;
    scrape.expect(&[
        (r#"concurrent_futures_tasks_queued{executor="t"}"#, 0.0),
        (
            r#"concurrent_futures_tasks_total{executor="t",outcome="ok"}"#,
            2.0,
        ),
        (
            r#"concurrent_futures_tasks_total{executor="t",outcome="panicked"}"#,
            1.0,
        ),
        (
            r#"concurrent_futures_task_run_seconds_count{executor="t"}"#,
            3.0,
        ),
        (
            r#"concurrent_futures_task_queue_wait_seconds_count{executor="t"}"#,
            3.0,
        ),
    ]);

    let running = processes.submit(stand_at, gate.key());
    let guest = gate.guest().await;
    let waiting = processes.submit(|| (), ());
    scrape.expect(&[
        (r#"concurrent_futures_workers{executor="p"}"#, 1.0),
        (
            r#"concurrent_futures_worker_starts_total{executor="p"}"#,
            1.0,
        ),
        (r#"concurrent_futures_tasks_running{executor="p"}"#, 1.0),
        (r#"concurrent_futures_tasks_queued{executor="p"}"#, 1.0),
    ]);
    waiting.abort();
    guest.let_in().await;
    within(running).await.expect("a result");
    let _ = within(waiting).await.expect_err("it was cancelled");
    let items: Vec<u32> = within(processes.map(|x: u32| x, 0..100).try_collect())
        .await
        .expect("results");
    assert_eq!(items.len(), 100);
    let slow = TaskOptions::new().timeout(Duration::from_millis(1));
    let late = within(processes.submit_with(
        &slow,
        || loop {
            std::thread::park()
        },
        (),
    ))
    .await;
    late.map(|(): ()| ()).expect_err("it took too long");
    within(processes.submit(|| -> () { std::process::abort() }, ()))
        .await
        .expect_err("it crashed");
    processes.shutdown().await;
    scrape.expect(&[
        (
            r#"concurrent_futures_tasks_total{executor="p",outcome="ok"}"#,
            101.0,
        ),
        (
            r#"concurrent_futures_tasks_total{executor="p",outcome="cancelled"}"#,
            1.0,
        ),
        (
            r#"concurrent_futures_tasks_total{executor="p",outcome="timed_out"}"#,
            1.0,
        ),
        (
            r#"concurrent_futures_tasks_total{executor="p",outcome="worker_lost"}"#,
            1.0,
        ),
        (
            r#"concurrent_futures_task_run_seconds_count{executor="p"}"#,
            101.0,
        ),
        (
            r#"concurrent_futures_worker_ends_total{executor="p",cause="timed_out"}"#,
            1.0,
        ),
        (
            r#"concurrent_futures_worker_ends_total{executor="p",cause="crashed"}"#,
            1.0,
        ),
        (r#"concurrent_futures_workers{executor="p"}"#, 0.0),
        (r#"concurrent_futures_tasks_running{executor="p"}"#, 0.0),
        (r#"concurrent_futures_tasks_queued{executor="p"}"#, 0.0),
    ]);
}

/// The longest wait for one answer.
const TIME_LIMIT: Duration = Duration::from_secs(10);

/// A recorder whose gauges query the state of the pool at each change.
#[derive(Default)]
struct AskingRecorder(Arc<AskingGauge>);

#[derive(Default)]
struct AskingGauge {
    pool: OnceLock<Arc<ProcessPoolExecutor>>,
    answered: AtomicUsize,
    unanswered: AtomicUsize,
}

impl GaugeFn for AskingGauge {
    fn increment(&self, _: f64) {
        self.ask();
    }

    fn decrement(&self, _: f64) {
        self.ask();
    }

    fn set(&self, _: f64) {}
}

impl AskingGauge {
    fn ask(&self) {
        let Some(pool) = self.pool.get().cloned() else {
            return;
        };
        // On another thread, so that a lock that is held here causes a failure and not a hang.
        let (answer, answered) = channel();
        thread::spawn(move || answer.send(pool.stats()));
        if answered.recv_timeout(TIME_LIMIT).is_ok() {
            self.answered.fetch_add(1, Ordering::Relaxed);
        } else {
            self.unanswered.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl Recorder for AskingRecorder {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn register_counter(&self, _: &metrics::Key, _: &Metadata<'_>) -> Counter {
        Counter::noop()
    }

    fn register_gauge(&self, key: &metrics::Key, _: &Metadata<'_>) -> Gauge {
        match key.name() {
            "concurrent_futures_tasks_queued" | "concurrent_futures_tasks_running" => {
                Gauge::from_arc(self.0.clone())
            }
            _ => Gauge::noop(),
        }
    }

    fn register_histogram(&self, _: &metrics::Key, _: &Metadata<'_>) -> Histogram {
        Histogram::noop()
    }
}

#[tokio::test]
async fn a_recorder_may_ask_the_pool_whose_metrics_change() {
    let recorder = AskingRecorder::default();
    let builder = ProcessPoolExecutor::builder().max_workers(1);
    let pool = metrics::with_local_recorder(&recorder, || builder.build().expect("a pool"));
    let gauge = recorder.0;
    let pool = gauge.pool.get_or_init(|| Arc::new(pool));
    let gate = Gate::new();
    let busy = pool.submit(stand_at, gate.key());
    let guest = gate.guest().await;
    let runs = pool.submit(|| (), ());
    let options = TaskOptions::new().queue_timeout(Duration::from_millis(30));
    let expires = pool.submit_with(&options, || (), ());
    let aborted = pool.submit(|| (), ());
    let urgent = pool.submit_with(&TaskOptions::new().priority(1), || (), ());
    within(expires).await.expect_err("it waited too long");
    aborted.abort();
    guest.let_in().await;
    within(busy).await.expect("a result");
    within(runs).await.expect("a result");
    within(urgent).await.expect("a result");
    let mut items = pool.map(|x: u32| x, 0..1000);
    within(items.try_next()).await.expect("an item");
    drop(items);
    within(pool.shutdown()).await;
    // Each of the five tasks entered the queue and left it, and three of them ran.
    assert!(gauge.answered.load(Ordering::Relaxed) >= 16);
    assert_eq!(gauge.unanswered.load(Ordering::Relaxed), 0);
}
