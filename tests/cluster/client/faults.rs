//! Servers, messages and workers that are lost.

use std::path::Path;
use std::time::Duration;

use cluster_tests::NatsServer;
use concurrent_futures::cluster::{ClusterExecutor, Functions, QueueSettings};
use concurrent_futures::{ExecutorExt as _, JoinHandle, TaskOptions, functions};

use crate::common::{Gate, Serving, client, eventually, within};
use crate::program::{self, WorkerProgram};

static RESTART: Gate = Gate::new();

fn pass() -> u64 {
    RESTART.pass();
    7
}

fn double(x: u64) -> u64 {
    2 * x
}

fn reverse(mut bytes: Vec<u8>) -> Vec<u8> {
    bytes.reverse();
    bytes
}

fn tasks() -> Functions {
    functions![pass, double, reverse]
}

#[tokio::test]
async fn tasks_wait_while_the_server_is_away_and_run_when_it_is_back() {
    let Some(mut server) = NatsServer::start("") else {
        return;
    };
    let client = client(&server, tasks()).await;
    let _worker = Serving::start(&server, tasks(), 2).await;
    let runs = client.submit(pass, ());
    eventually(|| runs.is_running()).await;
    server.kill();
    let waits: Vec<_> = (0..100).map(|x| client.submit(double, x)).collect();
    RESTART.open();
    server.restart();
    assert_eq!(within(runs).await.expect("its outcome is found"), 7);
    for (x, handle) in (0..).zip(waits) {
        assert_eq!(within(handle).await.expect("a result"), 2 * x);
    }
}

/// The end of the subject of a task's record.
async fn subject_of<T: 'static>(client: &ClusterExecutor, task: &JoinHandle<T>) -> String {
    let key = within(client.stored(task)).await.to_string();
    let subject = key
        .split_once('/')
        .and_then(|(_, rest)| rest.split_once('#'));
    subject.expect("a key").0.to_owned()
}

#[tokio::test]
async fn garbage_on_every_subject_costs_no_other_task_its_outcome() {
    let Some(server) = NatsServer::start("") else {
        return;
    };
    let client = client(&server, tasks()).await;
    let waits = client.submit(double, 4);
    let subject = subject_of(&client, &waits).await;
    let (id, number) = subject.split_once('.').expect("a client and a number");
    let raw = async_nats::connect(server.url()).await.expect("the server");
    for garbage in [
        &b""[..],
        b"\x01",
        b"\x01\xff\xff\xff\xff\xff",
        b"\x02abc",
        &[1; 10_000],
    ] {
        for kind in ["r", "p"] {
            for task in [number, "0", "x", "99999999999999999999"] {
                let subject = format!("cf.primes.{kind}.{id}.{task}");
                raw.publish(subject, garbage.into()).await.expect("sent");
            }
        }
        for token in ["t0", "s0", "r0", "a0", "l0", "t", "", "zzz"] {
            let subject = format!("_INBOX.cf.primes.client.x.{token}x");
            raw.publish(subject, garbage.into()).await.expect("sent");
        }
        raw.publish("cf.primes.who", garbage.into())
            .await
            .expect("sent");
    }
    raw.flush().await.expect("sent");
    let _worker = Serving::start(&server, tasks(), 1).await;
    assert_eq!(within(waits).await.expect("a result"), 8);
}

#[tokio::test]
async fn a_malformed_record_is_the_error_of_its_task() {
    let Some(server) = NatsServer::start("") else {
        return;
    };
    let client = client(&server, tasks()).await;
    let waits = client.submit(double, 4);
    let subject = subject_of(&client, &waits).await;
    let raw = async_nats::connect(server.url()).await.expect("the server");
    let record = format!("cf.primes.o.{subject}");
    raw.publish(record, (&b"\x09nonsense"[..]).into())
        .await
        .expect("sent");
    let error = within(waits).await.expect_err("nonsense");
    assert!(
        error.is_codec() && error.to_string().contains("version \"9\""),
        "{error}"
    );
}

#[tokio::test]
async fn large_payloads_travel_both_ways_and_through_a_map() {
    let Some(server) = NatsServer::start("") else {
        return;
    };
    let client = client(&server, tasks()).await;
    let _worker = Serving::start(&server, tasks(), 2).await;
    let bytes: Vec<u8> = (0..5_000_000_u32).map(|n| (n % 251) as u8).collect();
    let mut expected = bytes.clone();
    expected.reverse();
    let reversed = within(client.submit(reverse, bytes.clone()))
        .await
        .expect("a result");
    assert!(reversed == expected);
    let items = vec![vec![1; 2_000_000], vec![2; 10], vec![3; 1_000_000]];
    let results = futures::StreamExt::collect::<Vec<_>>(client.map(reverse, items.clone()));
    let results = within(results).await;
    let results: Vec<Vec<u8>> = results
        .into_iter()
        .map(|result| result.expect("a result"))
        .collect();
    assert!(results == items);
}

#[tokio::test]
async fn a_queue_that_was_emptied_is_an_error_of_its_tasks() {
    let Some(server) = NatsServer::start("") else {
        return;
    };
    let client = client(&server, tasks()).await;
    let waits = client.submit(double, 4);
    let key = within(client.stored(&waits)).await;
    let raw = async_nats::connect(server.url()).await.expect("the server");
    let raw = async_nats::jetstream::new(raw);
    let stream = raw.get_stream("CF_primes").await.expect("the stream");
    stream.purge().await.expect("purged");
    let again = client.reattach::<u64>(&key);
    let error = within(again).await.expect_err("it is deleted");
    assert!(error.is_rejected(), "{error:?}");
    waits.abort();
    within(waits).await.expect_err("cancelled");
}

#[tokio::test]
async fn a_stream_that_was_deleted_is_an_error_in_bounded_time() {
    let Some(server) = NatsServer::start("") else {
        return;
    };
    let limit = Duration::from_secs(2);
    let client = crate::common::builder(&server, tasks())
        .timeout(limit)
        .build();
    let client = client.await.expect("a client");
    let raw = async_nats::connect(server.url()).await.expect("the server");
    let raw = async_nats::jetstream::new(raw);
    raw.delete_stream("CF_primes").await.expect("deleted");
    let error = within(client.submit(double, 4))
        .await
        .expect_err("no stream");
    assert!(error.is_rejected() && !error.was_started(), "{error:?}");
    assert!(error.to_string().contains("set the queue up"), "{error}");
}

/// The worker is killed while it runs the task, and there is no other worker to notice it.
#[tokio::test]
async fn a_killed_worker_loses_its_task_although_no_other_worker_is_there() {
    let Some(server) = NatsServer::start("") else {
        return;
    };
    let client = ClusterExecutor::connect(server.url())
        .queue("q")
        .functions(program::tasks());
    let client = client
        .settings(program::quick())
        .build()
        .await
        .expect("a client");
    let (log, gate) = (server.folder().join("log"), server.folder().join("gate"));
    let text = |path: &Path| path.to_str().expect("text").to_owned();
    let worker = WorkerProgram::start(&server.url(), "thread", 1);
    let handle = client.submit(program::gated, (text(&log), 1, text(&gate)));
    eventually(|| handle.is_running() && log.exists()).await;
    worker.kill();
    let error = within(handle).await.expect_err("lost");
    assert!(error.is_worker_lost() && error.was_started(), "{error:?}");
    assert!(error.host().is_some(), "{error}");
}

/// The server would deliver the task again after an hour.
#[tokio::test]
async fn the_task_of_a_killed_worker_runs_again_long_before_the_ack_wait() {
    let Some(server) = NatsServer::start("") else {
        return;
    };
    let client = ClusterExecutor::connect(server.url())
        .queue("q")
        .functions(program::tasks())
        .settings(QueueSettings::new().ack_wait(Duration::from_secs(3600)));
    let client = client.build().await.expect("a client");
    let (log, gate) = (server.folder().join("log"), server.folder().join("gate"));
    let text = |path: &Path| path.to_str().expect("text").to_owned();
    let start = || {
        let program = std::env::current_exe().expect("this program");
        let variables = [("CF_TEST_ACK_WAIT", "default")];
        WorkerProgram::start_with(&program, &server.url(), "thread", 1, &variables)
    };
    let worker = start();
    let options = TaskOptions::new().retries(1);
    let arguments = (text(&log), 1, text(&gate));
    let handle = client.submit_with(&options, program::gated, arguments);
    eventually(|| handle.is_running() && log.exists()).await;
    worker.kill();
    let _other = start();
    within(program::until_started(&log, 2)).await;
    std::fs::write(gate, "").expect("opened");
    assert_eq!(within(handle).await.expect("the second attempt"), 1);
    assert_eq!(program::starts(&log), [(1, 2)]);
}
