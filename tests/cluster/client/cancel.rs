//! A cancel and a queue timeout are exact before the start of a task, and say so after it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use cluster_tests::NatsServer;
use concurrent_futures::cluster::Functions;
use concurrent_futures::{CancellationToken, ExecutorExt as _, TaskOptions, functions, worker};

use crate::common::{Gate, Serving, client, eventually, within};

static STARTED: AtomicU64 = AtomicU64::new(0);
static RUNS: Gate = Gate::new();
static QUEUED: Gate = Gate::new();

fn count() {
    STARTED.fetch_add(1, Ordering::SeqCst);
}

fn run_until_cancelled() {
    let task = worker::current().expect("a task");
    RUNS.pass();
    while !task.is_cancelled() {
        std::thread::yield_now();
    }
}

fn wait() {
    QUEUED.pass();
}

fn nothing() {}

fn tasks() -> Functions {
    functions![count, run_until_cancelled, wait, nothing]
}

#[tokio::test]
async fn a_task_that_no_worker_has_is_cancelled_before_it_starts_and_leaves_the_queue() {
    let Some(server) = NatsServer::start("") else {
        return;
    };
    let client = client(&server, tasks()).await;
    let handle = client.submit(nothing, ());
    within(client.stored(&handle)).await;
    assert_eq!(client.depth().await.expect("a depth").waiting(), 1);
    handle.abort();
    let error = within(handle).await.expect_err("cancelled");
    assert!(error.is_cancelled() && !error.was_started(), "{error:?}");
    within(async { while client.depth().await.expect("a depth").waiting() > 0 {} }).await;
    let token = CancellationToken::new();
    let options = TaskOptions::new().cancel_token(token.clone());
    let handle = client.submit_with(&options, nothing, ());
    token.cancel();
    let error = within(handle).await.expect_err("cancelled");
    assert!(error.is_cancelled() && !error.was_started(), "{error:?}");
}

#[tokio::test]
async fn a_cancel_of_a_running_task_reaches_it_and_says_that_it_started() {
    let Some(server) = NatsServer::start("") else {
        return;
    };
    let client = client(&server, tasks()).await;
    let worker = Serving::start(&server, tasks(), 1).await;
    let handle = client.submit(run_until_cancelled, ());
    eventually(|| RUNS.arrived() == 1).await;
    RUNS.open();
    handle.abort();
    let error = within(handle).await.expect_err("cancelled");
    assert!(error.is_cancelled() && error.was_started(), "{error:?}");
    within(client.submit(nothing, ()))
        .await
        .expect("the place is free");
    worker.stop().await;
}

#[tokio::test]
async fn a_cancel_that_races_the_claim_is_right_about_whether_the_task_started() {
    let Some(server) = NatsServer::start("") else {
        return;
    };
    let client = client(&server, tasks()).await;
    let worker = Serving::start(&server, tasks(), 4).await;
    let handles: Vec<_> = (0..1000).map(|_| client.submit(count, ())).collect();
    for (number, handle) in handles.iter().enumerate() {
        if number % 10 == 0 {
            tokio::task::yield_now().await;
        }
        handle.abort();
    }
    let mut started = 0;
    for handle in handles {
        match within(handle).await {
            Ok(()) => started += 1,
            Err(error) => {
                assert!(error.is_cancelled(), "{error:?}");
                started += u64::from(error.was_started());
            }
        }
    }
    worker.stop().await;
    assert_eq!(STARTED.load(Ordering::SeqCst), started);
}

#[tokio::test]
async fn a_task_that_waits_longer_than_its_queue_timeout_is_refused_and_a_running_one_is_not() {
    let Some(server) = NatsServer::start("") else {
        return;
    };
    let client = client(&server, tasks()).await;
    let worker = Serving::start(&server, tasks(), 1).await;
    let options = TaskOptions::new().queue_timeout(Duration::from_millis(300));
    let runs = client.submit(wait, ());
    eventually(|| QUEUED.arrived() == 1).await;
    let waits = client.submit_with(&options, wait, ());
    let error = within(waits).await.expect_err("refused");
    assert!(error.is_rejected() && !error.was_started(), "{error:?}");
    assert!(
        error.to_string().contains("queue timeout of 300ms"),
        "{error}"
    );
    QUEUED.open();
    within(runs).await.expect("a result");
    within(client.submit_with(&options, nothing, ()))
        .await
        .expect("it starts in time");
    worker.stop().await;
    assert_eq!(QUEUED.arrived(), 1);
}

#[tokio::test]
async fn a_cancel_returns_although_the_server_is_away() {
    let Some(mut server) = NatsServer::start("") else {
        return;
    };
    let client = client(&server, tasks()).await;
    let handle = client.submit(nothing, ());
    within(client.stored(&handle)).await;
    server.kill();
    let unsent = client.submit(nothing, ());
    handle.abort();
    unsent.abort();
    let error = within(handle).await.expect_err("cancelled");
    assert!(
        error.is_cancelled() && error.was_started(),
        "no one knows: {error:?}"
    );
    assert!(within(unsent).await.expect_err("cancelled").is_cancelled());
    server.restart();
    within(async { while client.depth().await.map_or(1, |depth| depth.waiting()) > 0 {} }).await;
}
