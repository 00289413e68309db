//! A client ends its own tasks, and no worker.

use std::sync::Arc;
use std::time::Duration;

use cluster_tests::NatsServer;
use concurrent_futures::cluster::Functions;
use concurrent_futures::{Executor, ExecutorExt as _, Shutdown, TaskGroup, TaskOptions, functions};
use futures::StreamExt as _;

use crate::common::{Gate, Serving, client, eventually, within, without_runtime};

static FINISHED: Gate = Gate::new();
static KILLED: Gate = Gate::new();

fn finish() {
    FINISHED.pass();
}

fn never_end() {
    KILLED.pass();
}

fn square(x: u64) -> u64 {
    x * x
}

fn tasks() -> Functions {
    functions![finish, never_end, square]
}

#[tokio::test]
async fn a_shutdown_waits_for_submitted_tasks_and_the_worker_continues() {
    let Some(server) = NatsServer::start("") else {
        return;
    };
    let (first, second) = (
        client(&server, tasks()).await,
        client(&server, tasks()).await,
    );
    let worker = Serving::start(&server, tasks(), 1).await;
    let handle = first.submit(finish, ());
    eventually(|| FINISHED.arrived() == 1).await;
    let waits = first.submit(square, 3);
    FINISHED.open();
    let report = within(first.shutdown()).await;
    assert_eq!(
        (report.finished, report.cancelled, report.killed),
        (2, 0, 0)
    );
    within(handle).await.expect("a result");
    assert_eq!(within(waits).await.expect("a result"), 9);
    let error = within(first.submit(square, 3)).await.expect_err("too late");
    assert!(error.is_shutdown() && !error.was_started(), "{error:?}");
    assert_eq!(
        within(second.submit(square, 4)).await.expect("a result"),
        16
    );
    worker.stop().await;
}

#[tokio::test]
async fn a_shutdown_returns_by_its_deadline_and_counts_the_tasks_that_it_ended() {
    let Some(mut server) = NatsServer::start("") else {
        return;
    };
    let client = client(&server, tasks()).await;
    let _worker = Serving::start(&server, tasks(), 1).await;
    let runs = client.submit(never_end, ());
    eventually(|| runs.is_running()).await;
    let waits = client.submit(square, 1);
    within(client.stored(&waits)).await;
    assert_eq!((client.stats().running, client.stats().queued), (1, 1));
    server.kill(); // Nothing answers.
    let how = Shutdown::new().deadline(Duration::from_millis(200));
    let report = within(client.shutdown_with(how)).await;
    assert_eq!(
        (report.finished, report.cancelled, report.killed),
        (0, 1, 1)
    );
    assert!(within(runs).await.expect_err("given up").is_shutdown());
    assert!(within(waits).await.is_err());
    KILLED.open();
}

#[tokio::test]
async fn cancel_pending_cancels_the_tasks_that_no_worker_has() {
    let Some(server) = NatsServer::start("") else {
        return;
    };
    let client = client(&server, tasks()).await;
    let handles: Vec<_> = (0..10).map(|x| client.submit(square, x)).collect();
    let report = within(client.shutdown_with(Shutdown::new().cancel_pending(true))).await;
    assert_eq!(
        (report.finished, report.cancelled, report.killed),
        (0, 10, 0)
    );
    for handle in handles {
        let error = within(handle).await.expect_err("cancelled");
        assert!(error.is_cancelled() && !error.was_started(), "{error:?}");
    }
}

#[tokio::test]
async fn a_dropped_client_refuses_new_tasks_and_leaves_no_handle_unresolved() {
    let Some(server) = NatsServer::start("") else {
        return;
    };
    let client = client(&server, tasks()).await;
    let handle = client.submit(square, 5);
    let map = client.map(square, 0..3);
    drop(client);
    let outcomes: Vec<_> = within(map.collect()).await;
    assert!(
        outcomes
            .iter()
            .all(|outcome| outcome.as_ref().is_err_and(|error| error.is_shutdown()))
    );
    let _worker = Serving::start(&server, tasks(), 1).await;
    assert_eq!(within(handle).await.expect("a result"), 25);
}

#[test]
fn a_client_works_without_any_runtime() {
    let Some(server) = NatsServer::start("") else {
        return;
    };
    let url = server.url();
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let worker = runtime.block_on(Serving::start(&server, tasks(), 1));
    let square_of_six = without_runtime(move || {
        use concurrent_futures::cluster::ClusterExecutor;
        let build = ClusterExecutor::connect(url)
            .queue("primes")
            .functions(tasks())
            .build();
        let client = futures::executor::block_on(build).expect("a client");
        let value = client.submit(square, 6).blocking_join();
        client.blocking_shutdown();
        value
    });
    assert_eq!(square_of_six.expect("a result"), 36);
    runtime.block_on(worker.stop());
}

#[tokio::test]
async fn a_trait_object_submits_maps_reserves_and_groups() {
    let Some(server) = NatsServer::start("") else {
        return;
    };
    let executor: Arc<dyn Executor> = Arc::new(client(&server, tasks()).await);
    let _worker = Serving::start(&server, tasks(), 2).await;
    let options = TaskOptions::new().name("nine").priority(-3).retries(2);
    assert_eq!(
        within(executor.submit_with(&options, square, 3))
            .await
            .expect("a result"),
        9
    );
    let permit = within(executor.reserve()).await.expect("room");
    assert_eq!(
        within(permit.submit(square, 4)).await.expect("a result"),
        16
    );
    let mut squares = executor.map(square, 0..5).unordered();
    let mut sum = 0;
    while let Some(square) = within(squares.next()).await {
        sum += square.expect("a result");
    }
    assert_eq!(sum, 30);
    let mut group = TaskGroup::new();
    for x in [2, 3] {
        within(group.spawn(&executor, square, x)).await;
    }
    let members = within(group.join_all()).await;
    let mut members: Vec<u64> = members
        .into_iter()
        .map(|member| member.expect("a result"))
        .collect();
    members.sort_unstable();
    assert_eq!(members, [4, 9]);
    assert!(executor.max_workers() >= 1);
    assert!(format!("{executor:?}").contains("primes"));
}
