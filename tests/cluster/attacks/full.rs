//! Full streams. A task waits for room, or its error says that there is none. Once there is room, all tasks continue.

use std::time::Duration;

use async_nats::jetstream::{self, stream::DiscardPolicy};
use cluster_tests::NatsServer;
use concurrent_futures::ExecutorExt as _;

use crate::common::{Log, brief, client, eventually, jetstream, until_empty, within, worker};
use crate::program::{add, large, logged, tasks};

/// Limits the bytes of a stream. -1: no limit.
async fn limit(raw: &jetstream::Context, stream: &str, bytes: i64) {
    let found = raw.get_stream(stream).await.expect("the stream");
    let mut config = found.cached_info().config.clone();
    config.max_bytes = bytes;
    config.discard = match bytes {
        -1 if stream == "CFO_q" => DiscardPolicy::Old, // As it was.
        _ => DiscardPolicy::New,
    };
    raw.update_stream(config).await.expect("changed");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_stream_of_tasks_refuses_more_and_takes_them_once_there_is_room() {
    let Some(server) = NatsServer::start("") else {
        return;
    };
    let cluster = client(server.url(), brief()).await;
    let raw = jetstream(&server).await;
    limit(&raw, "CF_q", 100).await;
    let error = within(cluster.submit(add, (1, 2)))
        .await
        .expect_err("no room");
    assert!(error.is_rejected() && !error.was_started(), "{error}");
    assert!(error.to_string().contains("full"), "{error}");
    limit(&raw, "CF_q", -1).await;
    let _worker = worker(server.url(), tasks()).await;
    assert_eq!(within(cluster.submit(add, (1, 2))).await.expect("a sum"), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn while_the_stream_of_records_is_full_no_task_starts_and_no_outcome_is_lost() {
    let Some(server) = NatsServer::start("") else {
        return;
    };
    let cluster = client(server.url(), brief()).await;
    let raw = jetstream(&server).await;
    let log = Log::new(&server, "log");
    let _worker = worker(server.url(), tasks()).await;
    // There is no room for the outcome of the first task, nor for the claim of the second.
    let first = cluster.submit(logged, (log.text(), 1, 300));
    eventually(async || log.starts() == [(1, 1)]).await;
    limit(&raw, "CFO_q", 1).await;
    let second = cluster.submit(logged, (log.text(), 2, 0));
    within(cluster.stored(&second)).await;
    tokio::time::sleep(Duration::from_millis(700)).await; // The stream is full meanwhile.
    assert_eq!(log.starts(), [(1, 1)]);
    limit(&raw, "CFO_q", -1).await;
    assert_eq!(within(first).await.expect("its outcome waited"), 1);
    assert_eq!(within(second).await.expect("a result"), 2);
    assert_eq!(log.starts(), [(1, 1), (2, 1)]);
    until_empty(&server).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_stream_of_payloads_is_the_error_of_a_large_task_and_keeps_no_part_of_it() {
    let Some(server) = NatsServer::start("max_payload: 65536\n") else {
        return;
    };
    let cluster = client(server.url(), brief()).await;
    let raw = jetstream(&server).await;
    let _worker = worker(server.url(), tasks()).await;
    // There is room for the arguments, but not for the result.
    let bytes = vec![7_u8; 600_000];
    for (room, word) in [
        (700_000, "cannot be sent back"),
        (300_000, "cannot be stored"),
    ] {
        limit(&raw, "CFL_q", room).await;
        let error = within(cluster.submit(large, bytes.clone()))
            .await
            .expect_err("no room");
        assert!(error.is_codec() || error.is_rejected(), "{error}");
        assert!(
            error.to_string().contains(word) && error.to_string().contains("max_bytes"),
            "{error}"
        );
        until_empty(&server).await;
    }
    limit(&raw, "CFL_q", -1).await;
    assert_eq!(
        within(cluster.submit(large, bytes))
            .await
            .expect("bytes")
            .len(),
        600_000
    );
    until_empty(&server).await;
}
