use async_nats::HeaderMap;
use bytes::Bytes;
use futures::StreamExt as _;
use tokio::time::timeout;

use super::super::error::{ClusterError, Problem};
use super::super::large::{delete, get, put};
use super::super::record::{OutcomeBody, OutcomeRecord, Record, WorkerId};
use super::super::{ClusterExecutor, Functions};
use super::*;
use crate::{Executor as _, ExecutorExt as _, Shutdown};

/// Pseudorandom bytes.
fn bytes(len: usize) -> Bytes {
    let mut state = 1_u64;
    let next = || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (state >> 56) as u8
    };
    std::iter::repeat_with(next).take(len).collect()
}

/// Runs `work` in a task of the connection.
async fn run<F, T>(connection: &NatsConnection, work: impl FnOnce(NatsConnection) -> F) -> T
where
    F: Future<Output = T> + Send + 'static,
    T: Send + 'static,
{
    connection
        .run(work(connection.clone()))
        .await
        .expect("it is open")
}

async fn stored(connection: &NatsConnection, bytes: Bytes) -> Result<String, ClusterError> {
    run(
        connection,
        |me| async move { put(&me, &names(), bytes).await },
    )
    .await
}

async fn read(
    connection: &NatsConnection,
    object: &str,
    size: usize,
) -> Result<Bytes, ClusterError> {
    let object = object.to_owned();
    run(connection, move |me| async move {
        get(&me, &names(), &object, size as u64).await
    })
    .await
}

async fn messages(connection: &NatsConnection) -> u64 {
    run(connection, |me| async move {
        let stream = me.jetstream().get_stream(names().payloads_stream()).await;
        stream.expect("the stream").cached_info().state.messages
    })
    .await
}

#[tokio::test]
async fn a_payload_of_any_size_survives_the_trip() {
    let Some(server) = NatsServer::start("") else {
        return;
    };
    let connection = with_queue(&server, &QueueSettings::new()).await;
    for size in [0, 1, (256 << 10) - 1, 256 << 10, (256 << 10) + 1, 5_000_000] {
        let payload = bytes(size);
        let object = stored(&connection, payload.clone()).await.expect("stored");
        assert!(
            read(&connection, &object, size).await.expect("read") == payload,
            "{size}"
        );
    }
}

#[tokio::test]
async fn a_server_with_small_messages_stores_large_payloads() {
    let Some(server) = NatsServer::start("max_payload: 8192\n") else {
        return;
    };
    let connection = with_queue(&server, &QueueSettings::new()).await;
    let payload = bytes(100_000);
    let object = stored(&connection, payload.clone()).await.expect("stored");
    assert!(
        read(&connection, &object, payload.len())
            .await
            .expect("read")
            == payload
    );
}

#[tokio::test]
async fn a_deleted_payload_leaves_nothing() {
    let Some(server) = NatsServer::start("") else {
        return;
    };
    let connection = with_queue(&server, &QueueSettings::new()).await;
    let object = stored(&connection, bytes(1_000_000)).await.expect("stored");
    let theirs = object.clone();
    run(&connection, |me| async move {
        delete(&me, &names(), &theirs).await
    })
    .await;
    // A deletion has no answer, so the server may handle a read before it.
    let emptied = async {
        while read(&connection, &object, 1_000_000).await.is_ok() {}
        while messages(&connection).await > 0 {}
    };
    tokio::time::timeout(LIMIT, emptied)
        .await
        .expect("nothing is left");
    let read = read(&connection, &object, 1_000_000)
        .await
        .map(|bytes| bytes.len());
    let error = read.expect_err("it is deleted");
    assert_eq!(error.problem(), Problem::Damaged, "{error}");
}

#[tokio::test]
async fn a_changed_or_foreign_payload_is_refused() {
    let Some(server) = NatsServer::start("") else {
        return;
    };
    let connection = with_queue(&server, &QueueSettings::new()).await;
    let object = stored(&connection, bytes(1000)).await.expect("stored");
    for (name, size) in [
        ("", 0),
        ("a-1-2-3", 1),
        (&*object, 999),
        (&object[1..], 1000),
        ("%", 1000),
    ] {
        let error = read(&connection, name, size).await.expect_err(name);
        assert_eq!(error.problem(), Problem::Damaged, "{error}");
    }
    let subject = names().payload(&object, 0);
    run(&connection, |me| async move {
        let published =
            me.jetstream()
                .publish_with_headers(subject, HeaderMap::new(), bytes(1001).slice(1..));
        published.await.expect("sent").await.expect("stored");
    })
    .await;
    let error = read(&connection, &object, 1000)
        .await
        .expect_err("it is changed");
    assert!(
        error.to_string().contains("not those that were stored"),
        "{error}"
    );
}

#[tokio::test]
async fn a_full_stream_of_payloads_is_an_error_that_says_so() {
    let Some(server) = NatsServer::start("") else {
        return;
    };
    let connection = with_queue(&server, &QueueSettings::new().max_bytes(1 << 20)).await;
    let error = stored(&connection, bytes(2 << 20))
        .await
        .expect_err("it has no space");
    assert!(error.is_full(), "{error}");
}

#[tokio::test]
async fn a_payload_survives_a_server_that_is_killed_meanwhile() {
    let Some(mut server) = NatsServer::start("") else {
        return;
    };
    let connection = with_queue(&server, &QueueSettings::new()).await;
    let payload = bytes(20_000_000);
    let (theirs, sent) = (connection.clone(), payload.clone());
    let put = connection.spawn(async move { put(&theirs, &names(), sent).await });
    // Some chunks are stored.
    while messages(&connection).await == 0 {}
    server.restart();
    let object = put.await.expect("no panic").expect("stored");
    assert!(
        read(&connection, &object, payload.len())
            .await
            .expect("read")
            == payload
    );
}

#[tokio::test]
async fn a_request_for_a_chunk_that_has_no_answer_is_repeated() {
    let Some(server) = NatsServer::start("") else {
        return;
    };
    let connection = connected(&server).await; // Without a queue: this test answers in place of its stream.
    let payload = bytes(1000);
    let (theirs, chunk) = (connection.clone(), payload.clone());
    let server_side = connection.run(async move {
        let client = theirs.client();
        let gets = format!("$JS.API.DIRECT.GET.{}.>", names().payloads_stream());
        let puts = client
            .subscribe(names().payloads())
            .await
            .expect("connected");
        let gets = client.subscribe(gets).await.expect("connected");
        client.flush().await.expect("connected");
        let client = client.clone();
        let answers = async move {
            for (mut requests, answer) in
                [(puts, r#"{"stream":"s","seq":1}"#.into()), (gets, chunk)]
            {
                requests.next().await.expect("the request that is lost");
                let repeated = requests.next().await.expect("its repetition");
                let reply = repeated.reply.expect("it is a request");
                client.publish(reply, answer).await.expect("connected");
            }
        };
        drop(theirs.spawn(answers));
    });
    server_side.await.expect("it is open");
    let object = stored(&connection, payload.clone()).await.expect("stored");
    let found = read(&connection, &object, payload.len()).await;
    assert!(found.expect("read") == payload);
}

fn same(number: u64) -> u64 {
    number
}

#[tokio::test]
async fn a_shutdown_waits_for_no_large_result_after_its_deadline() {
    let Some(server) = NatsServer::start("") else {
        return;
    };
    let connection = with_queue(&server, &QueueSettings::new()).await;
    let cluster = ClusterExecutor::connect(server.url())
        .queue("primes")
        .functions(Functions::new().add("same", same));
    let cluster = cluster.build().await.expect("a client");
    let handle = cluster.submit(same, 7);
    let key = cluster.stored(&handle).await.to_string();
    let (_, reply) = key.split_once('/').expect("a queue");
    let (reply, _) = reply.split_once('#').expect("a place");
    let (client, number) = reply.rsplit_once('.').expect("a client");
    let record = names().record(client, number.parse().expect("a number"));
    let payload = bytes(1000);
    let object = stored(&connection, payload.clone()).await.expect("stored");
    let body = Record::Outcome(OutcomeRecord {
        by: WorkerId::example("w1"),
        attempt: 1,
        body: OutcomeBody::Object {
            name: object,
            size: payload.len() as u64,
        },
    });
    let mut asked = run(&connection, |me| async move {
        let jetstream = me.jetstream();
        let stream = names().payloads_stream();
        jetstream.delete_stream(&stream).await.expect("it is there");
        // Nothing answers those who read the payload.
        let gets = format!("$JS.API.DIRECT.GET.{stream}.>");
        let asked = me.client().subscribe(gets).await.expect("connected");
        let published = jetstream.publish(record, body.encode()).await;
        published.expect("sent").await.expect("stored");
        asked
    })
    .await;
    asked.next().await.expect("the client reads the payload");
    let shutdown = cluster.shutdown_with(Shutdown::new().deadline(Duration::ZERO));
    let report = timeout(LIMIT, shutdown).await.expect("it ends");
    assert_eq!(report.killed, 1, "{report:?}");
    let error = handle.await.expect_err("it has no result");
    assert!(error.is_shutdown() && error.was_started(), "{error}");
    run(&connection, |_| async move { drop(asked) }).await;
}
