//! Connections that are cut, at each stage of a task.

use std::time::Duration;

use cluster_tests::{Act, NatsServer, Proxy, Side};
use concurrent_futures::cluster::{ClusterExecutor, QueueSettings};
use concurrent_futures::{ExecutorExt as _, TaskOptions};
use rustix::process::Signal;

use crate::common::{Log, brief, client, eventually, jetstream, until_empty, within, worker};
use crate::program::{WorkerProgram, logged, tasks};

use Act::{CutAfter, CutBefore};
use Side::{Program, Server};

/// A stage of a task: the side that sends, the text that it sends then, and how often it sends that before.
type Stage = (Side, &'static str, usize, Act);

const OF_CLIENT: [Stage; 7] = [
    (Program, "PUB cf.q.t.", 0, CutBefore),        // the task
    (Program, "PUB cf.q.t.", 0, CutAfter),         //
    (Server, "\"stream\":\"CF_q\"", 0, CutBefore), // it is stored
    (Server, "cf.q.r.", 0, CutBefore),             // its claim
    (Server, "cf.q.r.", 0, CutAfter),              //
    (Server, "cf.q.r.", 1, CutBefore),             // its outcome
    (Server, "cf.q.r.", 1, CutAfter),              //
];

const OF_WORKER: [Stage; 12] = [
    (Program, "MSG.NEXT", 0, CutBefore),    // the order of more tasks
    (Program, "MSG.NEXT", 0, CutAfter),     //
    (Server, "cf.q.t.", 0, CutBefore),      // the task
    (Server, "cf.q.t.", 0, CutAfter),       //
    (Program, "PUB cf.q.o.", 0, CutBefore), // its claim
    (Program, "PUB cf.q.o.", 0, CutAfter),  //
    (Server, "\"stream\":\"CFO_q\"", 0, CutBefore), // it is stored
    (Program, "PUB cf.q.o.", 1, CutBefore), // its outcome
    (Program, "PUB cf.q.o.", 1, CutAfter),  //
    (Server, "\"stream\":\"CFO_q\"", 1, CutBefore), // it is stored
    (Program, "+ACK", 0, CutBefore),        // the task is done
    (Program, "+ACK", 0, CutAfter),         //
];

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_loses_its_connection_at_any_stage_has_each_result_and_no_task_runs_twice() {
    let Some(server) = NatsServer::start("") else {
        return;
    };
    let proxy = Proxy::start(server.port());
    let cluster = client(proxy.url(), brief()).await;
    let _worker = worker(server.url(), tasks()).await;
    each_runs_once(&server, &proxy, &cluster, &OF_CLIENT).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_loses_its_connection_at_any_stage_gives_each_result_and_runs_no_task_twice()
{
    let Some(server) = NatsServer::start("") else {
        return;
    };
    let proxy = Proxy::start(server.port());
    let cluster = client(server.url(), brief()).await;
    let _worker = worker(proxy.url(), tasks()).await;
    each_runs_once(&server, &proxy, &cluster, &OF_WORKER).await;
}

/// Submits one task for each stage, at which `proxy` cuts the connection. Each gives its result and starts once.
async fn each_runs_once(
    server: &NatsServer,
    proxy: &Proxy,
    cluster: &ClusterExecutor,
    stages: &[Stage],
) {
    let log = Log::new(server, "log");
    for (number, (from, text, skip, act)) in (0..).zip(stages) {
        proxy.on(*from, text, *skip, act.clone());
        let value = within(cluster.submit(logged, (log.text(), number, 5))).await;
        assert_eq!(value.expect("a result"), number, "{text} {skip} {act:?}");
        eventually(async || proxy.has_cut()).await;
    }
    let once: Vec<_> = (0..stages.len() as u64).map(|n| (n, 1)).collect();
    assert_eq!(log.starts(), once);
    until_empty(server).await;
}

/// What happens to a worker program.
#[derive(Clone, Copy, Debug)]
enum Blow {
    Kill,
    /// It continues once its task has an outcome.
    Stop,
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_is_killed_or_stopped_at_any_stage_costs_its_task_at_most() {
    let Some(server) = NatsServer::start("") else {
        return;
    };
    let cluster = client(server.url(), brief()).await;
    let log = Log::new(&server, "log");
    let blows = [2, 5, 7, 10, 11].map(|stage| (stage, Blow::Kill));
    let blows = blows
        .into_iter()
        .chain([4, 7].map(|stage| (stage, Blow::Stop)));
    for (number, (stage, blow)) in (0..).zip(blows) {
        let (from, text, skip, act) = OF_WORKER[stage].clone();
        let proxy = Proxy::start(server.port());
        let struck = WorkerProgram::start(&proxy.url(), "thread", 1);
        proxy.on(from, text, skip, act);
        let task = cluster.submit(logged, (log.text(), number, 5));
        eventually(async || proxy.has_cut()).await;
        let struck = match blow {
            Blow::Kill => {
                struck.kill();
                None
            }
            Blow::Stop => {
                struck.signal(Signal::STOP);
                Some(struck)
            }
        };
        let other = worker(server.url(), tasks()).await;
        match within(task).await {
            Ok(value) => assert_eq!(value, number),
            Err(error) => assert!(
                error.is_worker_lost() && error.was_started(),
                "{stage} {blow:?}: {error}"
            ),
        }
        if let Some(struck) = struck {
            struck.signal(Signal::CONT);
            let said = struck.terminate();
            assert!(said.contains("WorkerReport"), "{said}");
        }
        drop(other);
    }
    assert!(
        log.starts().iter().all(|(_, starts)| *starts == 1),
        "{:?}",
        log.starts()
    );
    until_empty(&server).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancel_during_a_break_of_the_connection_is_made_later_and_the_task_never_starts() {
    let Some(server) = NatsServer::start("") else {
        return;
    };
    let proxy = Proxy::start(server.port());
    let cluster = client(proxy.url(), brief()).await;
    let log = Log::new(&server, "log");
    for act in [CutBefore, CutAfter] {
        let waits = cluster.submit(logged, (log.text(), 0, 0));
        within(cluster.stored(&waits)).await;
        proxy.on(Program, "PUB cf.q.o.", 0, act);
        waits.abort();
        assert!(within(waits).await.expect_err("cancelled").is_cancelled());
        eventually(async || proxy.has_cut()).await;
    }
    until_empty(&server).await; // There is no worker.
    assert!(log.starts().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_is_away_for_longer_than_the_duplicate_window_publishes_no_task_twice() {
    let Some(server) = NatsServer::start("") else {
        return;
    };
    let window = Duration::from_millis(100);
    let proxy = Proxy::start(server.port());
    let cluster = client(proxy.url(), brief().duplicate_window(window)).await;
    let raw = jetstream(&server).await;
    let log = Log::new(&server, "log");
    let mut tasks_of_log = Vec::new();
    for (number, act) in [(0, CutAfter), (1, CutBefore)] {
        proxy.on(Program, "PUB cf.q.t.", 0, act);
        let task = cluster.submit(logged, (log.text(), number, 0));
        eventually(async || proxy.has_cut()).await;
        proxy.shut();
        tokio::time::sleep(2 * window).await; // The window of the server must pass.
        proxy.open();
        tasks_of_log.push(task);
    }
    for task in &tasks_of_log {
        within(cluster.stored(task)).await;
    }
    eventually(async || {
        let stream = raw.get_stream("CF_q").await.expect("the stream");
        stream.cached_info().state.last_sequence == 2
    })
    .await;
    let _worker = worker(server.url(), tasks()).await;
    for (number, task) in (0..).zip(tasks_of_log) {
        assert_eq!(within(task).await.expect("a result"), number);
    }
    assert_eq!(log.starts(), [(0, 1), (1, 1)]);
    until_empty(&server).await;
    let stream = raw.get_stream("CF_q").await.expect("the stream");
    assert_eq!(
        stream.cached_info().state.last_sequence,
        2,
        "each was stored once"
    );
}

/// A time limit holds during the delay.
#[tokio::test(flavor = "multi_thread")]
async fn a_network_that_delays_everything_loses_nothing() {
    let Some(server) = NatsServer::start("") else {
        return;
    };
    let (near, far) = (Proxy::start(server.port()), Proxy::start(server.port()));
    let cluster = client(near.url(), QueueSettings::new()).await;
    let _worker = worker(far.url(), tasks()).await;
    let log = Log::new(&server, "log");
    for (round, held) in (0_u64..).zip([&near, &far]) {
        held.hold();
        let number = 10 * round;
        let tasks: Vec<_> = (number..number + 10)
            .map(|number| cluster.submit(logged, (log.text(), number, 0)))
            .collect();
        let limit = TaskOptions::new().queue_timeout(Duration::from_millis(300));
        let late = cluster.submit_with(&limit, logged, (log.text(), 100 + round, 0));
        tokio::time::sleep(Duration::from_millis(500)).await; // It is the delay.
        held.release();
        for (number, task) in (number..).zip(tasks) {
            assert_eq!(within(task).await.expect("a result"), number);
        }
        let late = within(late).await;
        let started = log.starts().contains(&(100 + round, 1));
        match late {
            Ok(_) => assert!(started),
            Err(error) => assert!(error.is_rejected() && !started, "{error}"),
        }
    }
    assert!(log.starts().iter().all(|(_, starts)| *starts == 1));
}
