//! Calls and their outcomes.

use cluster_tests::NatsServer;
use concurrent_futures::cluster::Functions;
use concurrent_futures::tower::TaskService;
use concurrent_futures::{ExecutorExt as _, functions, worker};
use futures::{StreamExt as _, TryStreamExt as _};
use tower::{Service as _, ServiceExt as _};

use crate::common::{Gate, Serving, builder, client, eventually, within};

fn double(x: u64) -> u64 {
    x * 2
}

fn fail(text: String) -> u64 {
    panic!("{text}")
}

fn told_id() -> Option<u64> {
    worker::current().map(|task| task.task_id())
}

static PROGRESS: Gate = Gate::new();

fn report_then_wait() {
    worker::current().expect("a task").report_progress(3, 7);
    PROGRESS.pass();
}

fn tasks() -> Functions {
    functions![double, fail, told_id, report_then_wait]
}

#[tokio::test]
async fn a_submitted_function_runs_elsewhere_and_its_result_comes_back() {
    let Some(server) = NatsServer::start("") else {
        return;
    };
    let client = client(&server, tasks()).await;
    let _worker = Serving::start(&server, tasks(), 2).await;
    assert_eq!(
        within(client.submit(double, 21)).await.expect("a result"),
        42
    );
    let handle = client.submit(told_id, ());
    let id = handle.id();
    assert_eq!(within(handle).await.expect("a result"), Some(id));
    let error = within(client.submit(fail, "out of cheese".to_owned()))
        .await
        .expect_err("a panic");
    assert!(error.is_panic() && error.was_started(), "{error:?}");
    assert_eq!(error.panic_message(), Some("out of cheese"));
    assert!(error.host().is_some(), "{error}");
    let report = client.shutdown().await;
    assert_eq!(
        (report.finished, report.cancelled, report.killed),
        (0, 0, 0)
    );
}

#[tokio::test]
async fn a_map_gives_results_in_order_and_in_chunks() {
    let Some(server) = NatsServer::start("") else {
        return;
    };
    let client = client(&server, tasks()).await;
    let _worker = Serving::start(&server, tasks(), 2).await;
    let doubled: Vec<u64> = within(client.map(double, 0..100_000).try_collect())
        .await
        .expect("results");
    assert_eq!(doubled, (0..100_000).map(|x| 2 * x).collect::<Vec<u64>>());
}

#[tokio::test]
async fn progress_arrives_while_the_task_runs() {
    let Some(server) = NatsServer::start("") else {
        return;
    };
    let client = client(&server, tasks()).await;
    let _worker = Serving::start(&server, tasks(), 2).await;
    let handle = client.submit(report_then_wait, ());
    let report = within(handle.progress().next()).await.expect("a report");
    assert_eq!((report.done, report.total), (3, 7));
    eventually(|| handle.is_running()).await;
    PROGRESS.open();
    within(handle).await.expect("a result");
}

#[tokio::test]
async fn a_service_of_tower_runs_its_requests_on_the_cluster() {
    let Some(server) = NatsServer::start("") else {
        return;
    };
    let client = builder(&server, tasks()).queue_capacity(1);
    let client = client.build().await.expect("a client");
    let mut service = TaskService::new(&client, double);
    let response = within(service.ready()).await.expect("it is open").call(4);
    let mut second = service.clone();
    let ready = second.ready(); // There is no worker, so the queue is full.
    let mut ready = std::pin::pin!(ready);
    assert!(futures::poll!(&mut ready).is_pending());
    let _worker = Serving::start(&server, tasks(), 1).await;
    assert_eq!(within(response).await.expect("a result"), 8);
    let response = within(ready).await.expect("there is room").call(5);
    assert_eq!(within(response).await.expect("a result"), 10);
    drop(client);
    within(second.ready()).await.expect_err("it was dropped");
}
