//! Reports and errors as data: what a task returns, a log keeps or another program reads.

#![cfg(target_os = "linux")]

#[path = "../common/mod.rs"]
mod common;

use std::time::Duration;

use concurrent_futures::{
    Executor as _, ExecutorExt as _, ProcessPoolExecutor, Restarts, ShutdownReport, Stats,
    TaskError, TaskOptions, ThreadPoolExecutor, WorkerInfo, WorkerState,
};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, from_value, json, to_value};

use self::common::within;

concurrent_futures::init_before_main!();

/// Encodes a value as JSON and decodes it.
fn again<T: Serialize + DeserializeOwned>(value: &T) -> T {
    let text = serde_json::to_string(value).expect("it can be written");
    serde_json::from_str(&text).expect("it can be read")
}

fn as_data<T: Serialize>(value: &T) -> Value {
    to_value(value).expect("it can be written")
}

fn echo<T>(value: T) -> T {
    value
}

fn abort() {
    eprintln!("last words");
    std::process::abort();
}

/// A task with its own pool. Returns the outcome of a call there.
fn call_on_threads() -> Result<u32, TaskError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let runtime = runtime.expect("a runtime");
    runtime.block_on(async {
        let pool = ThreadPoolExecutor::with_workers(1).expect("a pool");
        pool.submit(|| -> u32 { panic!("out of cheese") }, ()).await
    })
}

#[tokio::test]
async fn a_task_may_return_a_task_error() {
    let pool = ProcessPoolExecutor::with_workers(1).expect("a pool");
    let error = within(pool.submit(call_on_threads, ()))
        .await
        .expect("the task itself ran");
    let error = error.expect_err("its call panicked");
    assert!(error.is_panic() && error.was_started(), "{error}");
    assert_eq!(error.panic_message(), Some("out of cheese"));
    let place = error.panic_location().expect("a place");
    assert_eq!(place.file(), file!());
    assert!(error.panic_backtrace().is_some());
}

#[tokio::test]
async fn the_loss_of_a_worker_keeps_all_that_is_known_of_it() {
    let pool = ProcessPoolExecutor::with_workers(1).expect("a pool");
    let options = TaskOptions::new().name("doomed").retries(1);
    let error = within(pool.submit_with(&options, abort, ())).await;
    let error = error.expect_err("it aborts");
    let sent = within(pool.submit(echo::<TaskError>, error.clone()))
        .await
        .expect("it ran");
    for other in [again(&error), sent] {
        assert!(other.is_worker_lost() && other.was_started(), "{other}");
        assert_eq!(other.to_string(), error.to_string());
        assert_eq!(format!("{other:?}"), format!("{error:?}"));
        assert_eq!((other.task_name(), other.signal()), ("doomed", Some(6)));
        assert_eq!(other.worker_pid(), error.worker_pid());
        assert!(
            other
                .stderr_tail()
                .is_some_and(|tail| tail.contains("last words"))
        );
    }
}

#[tokio::test]
async fn a_time_out_keeps_its_limit() {
    let pool = ProcessPoolExecutor::with_workers(1).expect("a pool");
    let options = TaskOptions::new().timeout(Duration::from_millis(1500));
    let error = within(pool.submit_with(&options, hang, ())).await;
    let error = error.expect_err("it takes too long");
    assert_eq!(
        as_data(&error)["limit"],
        json!({"secs": 1, "nanos": 500_000_000})
    );
    assert!(again(&error).is_timeout());
    assert_eq!(again(&error).to_string(), error.to_string());
}

fn hang() {
    loop {
        std::thread::park();
    }
}

#[tokio::test]
async fn workers_and_counters_are_the_same_after_a_trip() {
    let pool = ProcessPoolExecutor::with_workers(2).expect("a pool");
    assert!(within(pool.submit(abort, ())).await.is_err());
    within(pool.warm_up()).await.expect("workers");

    let workers = pool.workers();
    let sent = within(pool.submit(echo::<Vec<WorkerInfo>>, workers.clone()))
        .await
        .expect("it ran");
    for others in [again(&workers), sent] {
        assert_eq!(others.len(), 2);
        for (other, worker) in others.iter().zip(&workers) {
            assert_eq!((other.id(), other.pid()), (worker.id(), worker.pid()));
            assert_eq!(
                (other.state(), other.tasks_done()),
                (worker.state(), worker.tasks_done())
            );
            assert_eq!(other.started_at(), worker.started_at());
        }
    }
    let fields = as_data(&workers[0]);
    let fields: Vec<&String> = fields.as_object().expect("fields").keys().collect();
    let mut expected = ["id", "pid", "state", "tasks_done", "started_at"];
    expected.sort_unstable();
    assert_eq!(fields, expected);

    let stats = pool.stats();
    assert_eq!(stats.restarts.crashed, 1);
    assert_eq!(again(&stats), stats);
    assert_eq!(
        within(pool.submit(echo::<Stats>, stats))
            .await
            .expect("it ran"),
        stats
    );

    let report = within(pool.shutdown()).await;
    assert_eq!(again(&report), report);
    assert_eq!(
        as_data(&report),
        json!({"finished": 0, "cancelled": 0, "killed": 0})
    );
}

#[test]
fn the_names_of_the_counters_are_stable() {
    let restarts = json!({
        "crashed": 1, "timed_out": 2, "cancelled": 3, "retired": 4, "failed_to_start": 5, "idle": 6,
    });
    let stats = json!({
        "queued": 1, "running": 2, "workers": 3, "finished": 4, "failed": 5, "restarts": restarts,
    });
    let read: Stats = from_value(stats.clone()).expect("it can be read");
    assert_eq!((read.queued, read.running, read.workers), (1, 2, 3));
    assert_eq!((read.finished, read.failed, read.restarts.idle), (4, 5, 6));
    assert_eq!(as_data(&read), stats);
    assert_eq!(
        from_value::<Restarts>(restarts).expect("it can be read"),
        read.restarts
    );
    let report: ShutdownReport =
        from_value(json!({"killed": 7, "finished": 8})).expect("it can be read");
    assert_eq!(
        (report.finished, report.cancelled, report.killed),
        (8, 0, 7)
    );
    let newer: Stats = from_value(json!({"queued": 1, "parked": 2})).expect("it can be read");
    assert_eq!((newer.queued, newer.running), (1, 0));
}

#[test]
fn the_states_of_a_worker_are_words() {
    for (state, word) in [
        (WorkerState::Idle, "idle"),
        (WorkerState::Busy, "busy"),
        (WorkerState::Ending, "ending"),
    ] {
        assert_eq!(as_data(&state), word);
        assert_eq!(again(&state), state);
    }
    assert!(from_value::<WorkerState>(json!("asleep")).is_err());
}

#[test]
fn a_build_error_can_be_cloned() {
    let error = ThreadPoolExecutor::with_workers(0).expect_err("no workers");
    let clone = error.clone();
    assert!(clone.is_invalid_setting());
    assert_eq!(clone.to_string(), error.to_string());
}

/// Each error as data, with all its fields, and its text. A change here changes the documented format.
fn documented() -> Vec<(Value, &'static str)> {
    let base = json!({
        "task": "shop::open", "kind": null, "started": false, "limit": null, "capacity": null,
        "attempts": 1, "host": null, "worker": null, "worker_name": null, "refusal": null, "reason": null, "panic": null,
        "death": null, "broken": false,
        "ready": null, "wanted": null, "index": null,
    });
    let panic = json!({
        "message": "out of cheese", "backtrace": "0: main",
        "location": {"file": "src/shop.rs", "line": 12, "column": 5},
    });
    let death = json!({
        "pid": 4711, "exit_code": null, "signal": 9, "stderr_tail": "last words\n",
        "out_of_memory": true, "runs": 3, "protocol": null, "exit_discarded": false,
    });
    let limit = json!({"secs": 3, "nanos": 500_000_000});
    let cases = [
        (
            json!({"kind": "cancelled"}),
            "was cancelled before it started",
        ),
        (
            json!({"kind": "cancelled", "started": true}),
            "was cancelled while it ran",
        ),
        (
            json!({"kind": "panicked", "panic": panic}),
            "panicked at src/shop.rs:12:5: out of cheese",
        ),
        (
            json!({"kind": "worker_lost", "death": death}),
            "process 4711 was killed by signal 9",
        ),
        (
            json!({"kind": "panicked", "panic": panic, "attempts": 3}),
            "(attempt 3) panicked at src/shop.rs:12:5: out of cheese",
        ),
        (
            json!({"kind": "timed_out", "limit": limit}),
            "timeout of 3.5s",
        ),
        (
            json!({"kind": "cancelled", "index": 7}),
            "task `shop::open` (item 7) was cancelled",
        ),
        (
            json!({"kind": "rejected", "refusal": "queue_full", "capacity": 16}),
            "16",
        ),
        (
            json!({"kind": "rejected", "refusal": "waited_too_long", "limit": limit}),
            "3.5s",
        ),
        (
            json!({"kind": "rejected", "refusal": "other_process"}),
            "process",
        ),
        (
            json!({"kind": "rejected", "refusal": "invalid_setting", "reason": "chunk_size is 0"}),
            "was refused: chunk_size is 0",
        ),
        (json!({"kind": "shutdown"}), "shut down"),
        (
            json!({"kind": "codec", "reason": "cannot be sent: why"}),
            "cannot be sent: why",
        ),
        (
            json!({"kind": "init_failed", "reason": "the initializer", "panic": panic, "death": death, "broken": true}),
            "the initializer panicked at src/shop.rs:12:5",
        ),
        (
            json!({"kind": "init_failed", "reason": "no licence", "ready": 2, "wanted": 4}),
            "2 of 4 workers are ready, and another could not be made ready: no licence",
        ),
    ];
    let filled = cases.map(|(given, text)| {
        let mut record = base.clone();
        for (field, value) in given.as_object().expect("fields") {
            record[field] = value.clone();
        }
        (record, text)
    });
    filled.into()
}

#[test]
fn the_format_of_errors_is_the_documented_one() {
    for (record, text) in documented() {
        let error: TaskError = from_value(record.clone()).expect("it can be read");
        assert!(error.to_string().contains(text), "{error}");
        assert_eq!(error.task_name(), "shop::open");
        assert_eq!(as_data(&error), record);
        let kind = record["kind"].as_str().expect("a word");
        let predicates = [
            ("cancelled", error.is_cancelled()),
            ("panicked", error.is_panic()),
            ("worker_lost", error.is_worker_lost()),
            ("timed_out", error.is_timeout()),
            ("rejected", error.is_rejected()),
            ("shutdown", error.is_shutdown()),
            ("codec", error.is_codec()),
            ("init_failed", error.is_init_failed()),
        ];
        for (other, holds) in predicates {
            assert_eq!(holds, other == kind, "{other} of {error}");
        }
        let death = record["death"].as_object();
        assert_eq!(error.signal(), death.map(|_| 9));
        assert_eq!(error.is_out_of_memory(), death.is_some());
        let panic = record["panic"].as_object();
        assert_eq!(error.panic_message(), panic.map(|_| "out of cheese"));
        assert_eq!(error.panic_backtrace(), panic.map(|_| "0: main"));
    }
}

#[test]
fn unknown_fields_of_an_error_are_ignored_and_absent_ones_have_defaults() {
    let data = json!({
        "task": "open", "kind": "worker_lost", "started": true, "since": [1, {"a": 2}],
        "death": {"pid": 7, "core_file": "/tmp/core"},
    });
    let error: TaskError = from_value(data).expect("it can be read");
    assert!(error.is_worker_lost() && error.was_started());
    assert_eq!((error.worker_pid(), error.signal()), (Some(7), None));
    assert_eq!(error.stderr_tail(), Some(""));
    assert_eq!(error.attempts(), 1);
}

#[test]
fn an_error_without_a_field_that_its_kind_needs_is_refused() {
    let cases = [
        ("panicked", None, "missing field `panic`"),
        ("worker_lost", None, "missing field `death`"),
        ("timed_out", None, "missing field `limit`"),
        ("codec", None, "missing field `reason`"),
        ("init_failed", None, "missing field `reason`"),
        ("rejected", None, "missing field `refusal`"),
        ("rejected", Some("queue_full"), "missing field `capacity`"),
        ("rejected", Some("waited_too_long"), "missing field `limit`"),
        (
            "rejected",
            Some("invalid_setting"),
            "missing field `reason`",
        ),
        ("rejected", Some("moody"), "unknown variant `moody`"),
        ("vanished", None, "unknown variant `vanished`"),
    ];
    for (kind, refusal, expected) in cases {
        let data = json!({"task": "open", "started": true, "kind": kind, "refusal": refusal});
        let error = from_value::<TaskError>(data).expect_err("it lacks something");
        assert!(error.to_string().contains(expected), "{kind}: {error}");
    }
}
