//! What a client of an axum service sees for each way in which a task can end.

#[path = "../common/mod.rs"]
mod common;

use std::time::Duration;

use axum::body::to_bytes;
use axum::response::{IntoResponse as _, Response};
use concurrent_futures::{
    ExecutorExt as _, ProcessPoolExecutor, TaskError, TaskOptions, ThreadPoolExecutor,
};

use self::common::{Gate, Key, within};

concurrent_futures::init_before_main!();

const SECRET: &str = "the inside of the service";

fn stand_at(key: Key) {
    key.wait();
}

/// The status, and whether to retry. Checks that the body has no details of the error.
async fn seen(error: TaskError) -> (u16, Option<String>) {
    let response: Response = error.into_response();
    let retry = response.headers().get("retry-after");
    let retry = retry.map(|value| value.to_str().expect("text").to_owned());
    let status = response.status().as_u16();
    let body = to_bytes(response.into_body(), 4096).await.expect("a body");
    let body = String::from_utf8(body.into()).expect("text");
    assert!(!body.is_empty());
    for inside in [
        SECRET, "axum::", "thread", "process", "worker", "signal", "queue",
    ] {
        assert!(!body.contains(inside), "{body:?} tells of {inside:?}");
    }
    (status, retry)
}

#[tokio::test]
async fn a_full_queue_or_a_long_wait_is_503_with_retry_after() {
    let pool = ThreadPoolExecutor::builder()
        .max_workers(1)
        .queue_capacity(1)
        .build();
    let pool = pool.expect("a pool");
    let gate = Gate::new();
    let running = pool.submit(stand_at, gate.key());
    let guest = gate.guest().await;
    let options = TaskOptions::new().queue_timeout(Duration::from_millis(1));
    let waiting = pool.submit_with(&options, || {}, ());
    let full = within(pool.submit(|| {}, ()))
        .await
        .expect_err("it is full");
    assert_eq!(seen(full).await, (503, Some("1".into())));
    let late = within(waiting).await.expect_err("it waited for too long");
    assert_eq!(seen(late).await, (503, Some("1".into())));
    guest.let_in().await;
    within(running).await.expect("it ends");
}

#[tokio::test]
async fn a_time_out_is_504() {
    let pool = ProcessPoolExecutor::with_workers(1).expect("a pool");
    let options = TaskOptions::new().timeout(Duration::from_millis(10));
    let error = within(pool.submit_with(&options, never_end, ()))
        .await
        .expect_err("too long");
    assert_eq!(seen(error).await, (504, None));
    pool.shutdown().await;
}

fn never_end() {
    loop {
        std::thread::park();
    }
}

#[tokio::test]
async fn a_lost_worker_and_a_panic_are_500_and_a_shutdown_503() {
    let pool = ProcessPoolExecutor::with_workers(1).expect("a pool");
    let crash = || -> () {
        eprintln!("{SECRET}");
        std::process::abort();
    };
    let lost = within(pool.submit(crash, ()))
        .await
        .expect_err("its worker died");
    assert_eq!(seen(lost).await, (500, None));
    let panicked = within(pool.submit(|| -> () { panic!("{SECRET}") }, ())).await;
    assert_eq!(seen(panicked.expect_err("it panicked")).await, (500, None));
    let cancelled = pool.submit(never_end, ());
    cancelled.abort();
    let cancelled = within(cancelled).await.expect_err("it was cancelled");
    assert_eq!(seen(cancelled).await, (503, None));
    pool.shutdown().await;
    let late = within(pool.submit(|| {}, ()))
        .await
        .expect_err("it is shut down");
    assert_eq!(seen(late).await, (503, None));
}
