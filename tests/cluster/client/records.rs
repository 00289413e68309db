//! The servers keep no message of an ended task, and a record that expires.

use async_nats::jetstream::message::StreamMessage;
use async_nats::jetstream::{Context, new};
use cluster_tests::NatsServer;
use concurrent_futures::cluster::{Functions, TaskKey};
use concurrent_futures::{ExecutorExt as _, functions};
use futures::StreamExt as _;

use crate::common::{Serving, client, within};

fn double(x: u64) -> u64 {
    2 * x
}

fn size(bytes: Vec<u8>) -> u64 {
    bytes.len() as u64
}

fn tasks() -> Functions {
    functions![double, size]
}

async fn raw(server: &NatsServer) -> async_nats::Client {
    async_nats::connect(server.url()).await.expect("connected")
}

/// How many messages the stream of tasks has.
async fn messages(context: &Context) -> u64 {
    let stream = context.get_stream("CF_primes").await.expect("it is there");
    stream.cached_info().state.messages
}

/// The latest record.
async fn record(context: &Context) -> StreamMessage {
    let stream = context.get_stream("CFO_primes").await.expect("it is there");
    let read = stream.get_last_raw_message_by_subject("cf.primes.o.>");
    read.await.expect("a record")
}

fn expires(record: &StreamMessage) -> bool {
    record.headers.get("Nats-TTL").is_some()
}

/// Waits until no message is left and the latest record expires.
async fn until_nothing_is_left(context: &Context) {
    within(async {
        while messages(context).await > 0 || !expires(&record(context).await) {
            tokio::time::sleep(std::time::Duration::from_millis(2)).await;
        }
    })
    .await;
}

#[tokio::test]
async fn the_message_of_a_task_without_retries_is_gone_before_its_outcome_is_stored() {
    let Some(server) = NatsServer::start("") else {
        return;
    };
    let cluster = client(&server, tasks()).await;
    let _worker = Serving::start(&server, tasks(), 1).await;
    let raw = raw(&server).await;
    let mut records = raw.subscribe("cf.primes.r.>").await.expect("subscribed");
    raw.flush().await.expect("flushed");
    let context = new(raw);
    for number in 0..50 {
        let handle = cluster.submit(double, number);
        for _claim_and_outcome in 0..2 {
            within(records.next()).await.expect("a record");
        }
        assert_eq!(messages(&context).await, 0);
        assert_eq!(within(handle).await.expect("a result"), 2 * number);
    }
}

#[tokio::test]
async fn a_cancelled_task_leaves_no_message_and_a_record_that_expires() {
    let Some(server) = NatsServer::start("") else {
        return;
    };
    let cluster = client(&server, tasks()).await;
    let context = new(raw(&server).await);
    let handle = cluster.submit(double, 1);
    within(cluster.stored(&handle)).await;
    handle.abort();
    let error = within(handle).await.expect_err("cancelled");
    assert!(error.is_cancelled() && !error.was_started());
    until_nothing_is_left(&context).await;
}

/// The client ended after it wrote the cancel, and before it retired the record.
#[tokio::test]
async fn a_worker_ends_the_record_of_a_task_whose_client_has_ended() {
    let Some(server) = NatsServer::start("") else {
        return;
    };
    let cluster = client(&server, tasks()).await;
    let context = new(raw(&server).await);
    let cancelled = cluster.submit(double, 1);
    within(cluster.stored(&cancelled)).await;
    cancelled.abort();
    within(cancelled).await.expect_err("cancelled");
    until_nothing_is_left(&context).await;
    let body = record(&context).await.payload;
    let waiting = cluster.submit(double, 2);
    within(cluster.stored(&waiting)).await;
    let stream = context.get_stream("CF_primes").await.expect("it is there");
    let read = stream.get_last_raw_message_by_subject("cf.primes.t.>");
    let message = read.await.expect("the task");
    let reply = message.headers.get("Cf-Reply").expect("a reply").as_str();
    let published = context.publish(format!("cf.primes.o.{reply}"), body).await;
    published.expect("sent").await.expect("stored");
    let _worker = Serving::start(&server, tasks(), 1).await;
    let error = within(waiting).await.expect_err("cancelled");
    assert!(error.is_cancelled(), "{error:?}");
    until_nothing_is_left(&context).await;
}

/// The test writes the claim again, as a killed server restores it.
#[tokio::test]
async fn a_claim_that_a_killed_server_restored_ends_a_handle_of_its_task() {
    let Some(server) = NatsServer::start("") else {
        return;
    };
    let cluster = client(&server, tasks()).await;
    let worker = Serving::start(&server, tasks(), 1).await;
    let raw = raw(&server).await;
    let mut records = raw.subscribe("cf.primes.r.>").await.expect("subscribed");
    raw.flush().await.expect("flushed");
    let context = new(raw);
    let handle = cluster.submit(double, 3);
    let key: TaskKey = within(cluster.stored(&handle)).await;
    let claim = within(records.next()).await.expect("a claim").payload;
    within(handle).await.expect("a result");
    worker.stop().await;
    let subject = record(&context).await.subject;
    let published = context.publish(subject, claim).await;
    published.expect("sent").await.expect("stored");
    let later = client(&server, tasks()).await;
    let error = within(later.reattach::<u64>(&key))
        .await
        .expect_err("its worker has ended");
    assert!(error.is_worker_lost(), "{error:?}");
    until_nothing_is_left(&context).await;
}

#[tokio::test]
async fn a_payload_that_cannot_be_read_now_is_read_later_and_no_claim_is_spent() {
    let Some(server) = NatsServer::start("") else {
        return;
    };
    let cluster = client(&server, tasks()).await;
    let context = new(raw(&server).await);
    let handle = cluster.submit(size, vec![7; 1_200_000]);
    within(cluster.stored(&handle)).await;
    let payloads = context.get_stream("CFL_primes").await.expect("it is there");
    let read = payloads.get_last_raw_message_by_subject("cf.primes.l.>");
    let chunk = read.await.expect("a chunk");
    payloads
        .delete_message(chunk.sequence)
        .await
        .expect("deleted");
    let _worker = Serving::start(&server, tasks(), 1).await;
    // Its worker returned it, and the server delivered it again.
    within(async {
        let tasks = context.get_stream("CF_primes").await.expect("it is there");
        loop {
            let lane = tasks.consumer_info("lane1").await.expect("a lane");
            if lane.delivered.consumer_sequence > 1 {
                return;
            }
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    })
    .await;
    let published = context.publish(chunk.subject, chunk.payload).await;
    published.expect("sent").await.expect("stored");
    assert_eq!(within(handle).await.expect("a result"), 1_200_000);
}
