//! A task that cannot be submitted, or that the servers refuse, is a typed error that says what to do.

use cluster_tests::{NatsServer, USERS};
use concurrent_futures::cluster::{
    ClusterExecutor, Credentials, Functions, QueueSettings, QueueSetup,
};
use concurrent_futures::{ExecutorExt as _, SharedArg, functions};

use crate::common::{Serving, builder, client, within};

fn double(x: u64) -> u64 {
    2 * x
}

fn unlisted(x: u64) -> u64 {
    x
}

fn sum(numbers: SharedArg<Vec<u64>>) -> u64 {
    numbers.iter().sum()
}

fn tasks() -> Functions {
    functions![double, sum]
}

#[tokio::test]
async fn a_function_without_a_name_and_a_closure_are_refused_before_anything_leaves() {
    let Some(server) = NatsServer::start("") else {
        return;
    };
    let client = client(&server, tasks()).await;
    for handle in [client.submit(unlisted, 1), client.submit(|x: u64| x, 1)] {
        let error = within(handle).await.expect_err("it has no name");
        assert!(error.is_rejected() && !error.was_started(), "{error:?}");
        assert!(error.to_string().contains("functions!["), "{error}");
    }
    let error = within(client.submit(sum, SharedArg::new(vec![1])))
        .await
        .expect_err("shared memory");
    assert!(
        error.is_codec() && error.to_string().contains("`SharedArg`"),
        "{error}"
    );
    assert_eq!(client.depth().await.expect("a depth").waiting(), 0);
}

#[tokio::test]
async fn a_full_stream_and_a_full_client_refuse_tasks() {
    let Some(server) = NatsServer::start("") else {
        return;
    };
    let settings = QueueSettings::new().max_tasks(3);
    let unbounded = builder(&server, tasks())
        .settings(settings)
        .build()
        .await
        .expect("a client");
    let accepted: Vec<_> = (0..3).map(|x| unbounded.submit(double, x)).collect();
    for handle in &accepted {
        within(unbounded.stored(handle)).await;
    }
    let error = within(unbounded.submit(double, 3))
        .await
        .expect_err("no room");
    assert!(
        error.is_rejected() && error.to_string().contains("stream is full"),
        "{error}"
    );
    let bounded = builder(&server, tasks())
        .queue("another")
        .queue_capacity(1)
        .build()
        .await
        .expect("a client");
    let _waits = bounded.submit(double, 1);
    let refused = bounded.try_submit(double, 2).expect_err("no room");
    assert!(refused.error().is_rejected() && refused.into_args() == 2);
    let _worker = Serving::start(&server, tasks(), 1).await;
    for (x, handle) in (0..).zip(accepted) {
        assert_eq!(within(handle).await.expect("a result"), 2 * x);
    }
}

/// An admin creates the queue, and a user without that right uses it.
async fn client_of_an_admins_queue(server: &NatsServer) -> ClusterExecutor {
    let user = |name: &str| Credentials::new().user(name, name);
    let setup = QueueSetup::new(server.url()).credentials(user("admin"));
    setup.create("primes").await.expect("a queue");
    let client = builder(server, tasks()).credentials(user("client"));
    client.build().await.expect("a client")
}

#[tokio::test]
async fn a_user_without_the_right_to_submit_is_told_which_right() {
    let permissions = USERS.replace("\"cf.primes.t.>\"", "\"cf.primes.t.0.>\"");
    let Some(server) = NatsServer::start(&permissions) else {
        return;
    };
    let client = client_of_an_admins_queue(&server).await;
    let error = within(client.submit(double, 1))
        .await
        .expect_err("not permitted");
    assert!(
        error.is_rejected() && error.to_string().contains("cf.primes.t.1."),
        "{error}"
    );
}

/// The client needs no right beyond those of `users.conf`.
#[tokio::test]
async fn narrow_permissions_are_enough_for_all_that_a_client_does() {
    let Some(server) = NatsServer::start(USERS) else {
        return;
    };
    let client = client_of_an_admins_queue(&server).await;
    let handle = client.submit(double, 1);
    within(client.stored(&handle)).await;
    let missing = client.reattach::<u64>(&"primes/x.1:u64".parse().expect("a key"));
    assert!(
        within(missing)
            .await
            .expect_err("there is none")
            .is_rejected()
    );
    let missing = client.reattach::<u64>(&"primes/x.1#77:u64".parse().expect("a key"));
    assert!(
        within(missing)
            .await
            .expect_err("there is none")
            .is_rejected()
    );
    handle.abort();
    let error = within(handle).await.expect_err("cancelled");
    assert!(error.is_cancelled() && !error.was_started(), "{error:?}");
    assert!(within(client.workers()).await.expect("it may").is_empty());
    within(async { while client.depth().await.expect("a depth").waiting() > 0 {} }).await;
}

#[tokio::test]
async fn workers_are_listed_with_their_functions() {
    let Some(server) = NatsServer::start("") else {
        return;
    };
    let client = client(&server, tasks()).await;
    let _workers = (
        Serving::start(&server, tasks(), 2).await,
        Serving::start(&server, functions![double], 3).await,
    );
    let mut workers = Vec::new();
    while workers.len() < 2 {
        workers = within(client.workers()).await.expect("an answer"); // A slow one may be missed.
    }
    workers.sort_by_key(|worker| worker.slots());
    let [first, second] = &workers[..] else {
        panic!("two: {workers:?}")
    };
    assert_eq!(first.functions().collect::<Vec<_>>(), ["double", "sum"]);
    assert_eq!(second.functions().collect::<Vec<_>>(), ["double"]);
    assert_eq!((first.slots(), second.slots()), (2, 3));
    assert!(
        first.pid() == std::process::id() && !first.host().is_empty() && first.id() != second.id()
    );
    assert!(!first.is_draining() && first.running() == 0);
    use concurrent_futures::Executor as _;
    assert_eq!((client.max_workers(), client.stats().workers), (5, 2));
}

#[tokio::test]
async fn while_no_server_answers_the_list_of_workers_is_an_error_and_not_empty() {
    let Some(server) = NatsServer::start("") else {
        return;
    };
    let client = client(&server, tasks()).await;
    let worker = Serving::start(&server, tasks(), 1).await;
    server.freeze();
    let error = within(client.workers()).await.expect_err("no answer");
    assert!(error.is_unreachable(), "{error:?}");
    server.resume();
    let mut workers = 0;
    while workers == 0 {
        workers = within(client.workers())
            .await
            .map_or(0, |workers| workers.len());
    }
    worker.stop().await;
    assert!(
        within(client.workers())
            .await
            .expect("the server")
            .is_empty()
    );
}

#[tokio::test]
async fn a_bad_setting_is_an_error_before_the_connection() {
    for (queue, capacity) in [("no.dots", None), ("", None), ("q", Some(0))] {
        let builder = ClusterExecutor::connect("nats://127.0.0.1:1").queue(queue);
        let builder = match capacity {
            Some(capacity) => builder.queue_capacity(capacity),
            None => builder,
        };
        let error = builder.build().await.expect_err("it is invalid");
        assert!(error.is_invalid(), "{error}");
    }
}
