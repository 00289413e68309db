//! Handles of tasks that another handle submitted.

use std::sync::atomic::{AtomicU64, Ordering};

use cluster_tests::NatsServer;
use concurrent_futures::cluster::{Functions, TaskKey};
use concurrent_futures::{ExecutorExt as _, TaskOptions, functions};
use futures::StreamExt as _;

use crate::common::{Serving, client, within};

static CHARGED: AtomicU64 = AtomicU64::new(0);

fn double(x: u64) -> u64 {
    2 * x
}

fn charge(amount: u64) -> u64 {
    CHARGED.fetch_add(amount, Ordering::SeqCst) + amount
}

fn tasks() -> Functions {
    functions![double, charge]
}

#[tokio::test]
async fn a_key_finds_a_task_that_waits_and_its_outcome_later() {
    let Some(server) = NatsServer::start("") else {
        return;
    };
    let first = client(&server, tasks()).await;
    let handle = first.submit(double, 4);
    let key = within(first.stored(&handle)).await.to_string();
    let second = client(&server, tasks()).await;
    let key: TaskKey = key.parse().expect("a key");
    let early = second.reattach::<u64>(&key);
    let same_client = first.reattach::<u64>(&key);
    let worker = Serving::start(&server, tasks(), 1).await;
    assert_eq!(within(early).await.expect("a result"), 8);
    assert_eq!(within(same_client).await.expect("a result"), 8);
    assert_eq!(within(handle).await.expect("a result"), 8);
    worker.stop().await;
    let third = client(&server, tasks()).await;
    assert_eq!(
        within(third.reattach::<u64>(&key)).await.expect("a result"),
        8
    );
    let error = within(third.reattach::<String>(&key))
        .await
        .expect_err("another type");
    assert!(error.is_codec(), "{error:?}");
}

/// Such a key is made if the client ended before the stream answered.
#[tokio::test]
async fn a_key_without_the_place_in_the_stream_finds_the_task_too() {
    let Some(server) = NatsServer::start("") else {
        return;
    };
    let first = client(&server, tasks()).await;
    let handles: Vec<_> = (0..600).map(|x| first.submit(double, x)).collect();
    within(first.stored(&handles[599])).await;
    let key = first.key(&handles[599]).to_string();
    let key = format!("{}:u64", key.split('#').next().expect("a key"));
    let key: TaskKey = key.parse().expect("a key");
    let second = client(&server, tasks()).await;
    let handle = second.reattach::<u64>(&key);
    let _worker = Serving::start(&server, tasks(), 4).await;
    assert_eq!(within(handle).await.expect("a result"), 1198);
}

#[tokio::test]
async fn a_key_of_a_task_that_does_not_exist_is_an_error() {
    let Some(server) = NatsServer::start("") else {
        return;
    };
    let client = client(&server, tasks()).await;
    for (key, word) in [
        ("primes/nobody.7:u64", "neither the task nor its outcome"),
        ("primes/nobody.7#3:u64", "neither the task nor its outcome"),
        ("others/nobody.7:u64", "use a client of its queue"),
    ] {
        let handle = client.reattach::<u64>(&key.parse().expect("a key"));
        let error = within(handle).await.expect_err("there is none");
        assert!(
            error.is_rejected() && error.to_string().contains(word),
            "{key}: {error}"
        );
    }
}

#[tokio::test]
async fn tasks_with_one_deduplication_id_run_once_and_have_one_outcome() {
    let Some(server) = NatsServer::start("") else {
        return;
    };
    let (first, second) = (
        client(&server, tasks()).await,
        client(&server, tasks()).await,
    );
    let options = TaskOptions::new().deduplication_id("invoice 4711.a*>é");
    let handles = [
        first.submit_with(&options, charge, 10),
        first.submit_with(&options, charge, 10),
        second.submit_with(&options, charge, 10),
    ];
    let worker = Serving::start(&server, tasks(), 2).await;
    for handle in handles {
        assert_eq!(within(handle).await.expect("a result"), 10);
    }
    // The key also works after the run.
    assert_eq!(
        within(second.submit_with(&options, charge, 10))
            .await
            .expect("a result"),
        10
    );
    worker.stop().await;
    assert_eq!(CHARGED.load(Ordering::SeqCst), 10);
    let mut map = second.map(double, 0..2).options(options);
    let error = within(map.next())
        .await
        .expect("an item")
        .expect_err("of several items");
    assert!(error.is_rejected(), "{error:?}");
}
