//! A worker serves its queue: each promise of `cluster::Worker`, on a real server.

#[allow(dead_code, reason = "other tests use the rest")]
mod program;

use std::future::pending;
use std::path::PathBuf;
use std::time::Duration;

use cluster_tests::NatsServer;
use concurrent_futures::cluster::{
    ClusterExecutor, ClusterWorkerInfo, Functions, Worker, WorkerReport,
};
use concurrent_futures::{ExecutorExt as _, TaskOptions, functions};
use futures::StreamExt as _;
use rustix::process::Signal;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use program::{
    WorkerProgram, add, facts, gated, logged, pool, quick, starts, tasks, until_started,
};

concurrent_futures::init_before_main!();

/// The worker program of the other tests.
#[test]
fn worker_program() {
    program::serve();
}

async fn client(server: &NatsServer) -> ClusterExecutor {
    let client = ClusterExecutor::connect(server.url())
        .queue("q")
        .functions(tasks());
    client.settings(quick()).build().await.expect("a client")
}

/// A worker in this program.
async fn worker(
    server: &NatsServer,
    functions: Functions,
    kind: &str,
    workers: usize,
) -> (oneshot::Sender<()>, JoinHandle<WorkerReport>) {
    let worker = Worker::connect(server.url())
        .queue("q")
        .functions(functions);
    let worker = worker
        .settings(quick())
        .lost_after(Duration::from_millis(500));
    let worker = worker.build(pool(kind, workers)).await.expect("a worker");
    let (stop, stopped) = oneshot::channel();
    let serving = worker.run_until(async {
        let _ = stopped.await;
    });
    (stop, tokio::spawn(serving))
}

/// Waits until the queue has this number of tasks, waiting or running.
async fn until_queued(cluster: &ClusterExecutor, tasks: u64) {
    loop {
        let depth = cluster.depth().await.expect("a depth");
        if depth.waiting() + depth.running() == tasks {
            return;
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// Where a test puts a file.
fn file(server: &NatsServer, name: &str) -> (PathBuf, String) {
    let path = server.folder().join(name);
    let text = path.to_str().expect("text").to_owned();
    (path, text)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_submit_and_a_map_run_on_the_threads_and_in_the_processes_of_a_worker() {
    for kind in ["thread", "process"] {
        let Some(server) = NatsServer::start("") else {
            return;
        };
        let cluster = client(&server).await;
        let (stop, serving) = worker(&server, tasks(), kind, 2).await;
        assert_eq!(cluster.submit(add, (20, 22)).await.expect("a sum"), 42);
        let sums = cluster.map(add, (0..1000_u64).map(|n| (n, n)));
        let sums: Vec<u64> = sums.map(|sum| sum.expect("a sum")).collect().await;
        assert_eq!(sums, (0..1000).map(|n| 2 * n).collect::<Vec<_>>());
        stop.send(()).expect("it serves");
        let report = serving.await.expect("no panic");
        assert!(report.done >= 2 && report.failed == 0, "{kind}: {report:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn panics_exit_codes_and_the_end_of_stderr_come_back_with_the_host_and_the_worker() {
    let Some(server) = NatsServer::start("") else {
        return;
    };
    let cluster = client(&server).await;
    let (_stop, _serving) = worker(&server, tasks(), "process", 1).await;
    let error = cluster
        .submit(program::panics, "out of cheese".to_owned())
        .await;
    let error = error.expect_err("a panic");
    assert_eq!(error.panic_message(), Some("out of cheese"));
    assert!(error.was_started() && error.host().is_some() && error.remote_worker().is_some());
    let options = TaskOptions::new().retries(2);
    let error = cluster
        .submit_with(&options, program::exits, 3)
        .await
        .expect_err("an exit");
    assert_eq!(error.exit_code(), Some(3));
    assert_eq!(error.stderr_tail().map(str::trim), Some("last words"));
    assert_eq!(facts(&error), (true, true, 3), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_task_of_a_killed_worker_runs_again_if_it_has_retries_and_otherwise_fails() {
    let Some(server) = NatsServer::start("") else {
        return;
    };
    let cluster = client(&server).await;
    let (log, path) = file(&server, "log");
    let (gate, opens) = file(&server, "gate");
    let first = WorkerProgram::start(&server.url(), "thread", 2);
    let once = cluster.submit(gated, (path.clone(), 1, opens.clone()));
    let again = TaskOptions::new().retries(1);
    let twice = cluster.submit_with(&again, gated, (path, 2, opens));
    until_started(&log, 2).await;
    let pid = first.pid();
    first.kill();
    let _second = WorkerProgram::start(&server.url(), "thread", 2);
    let error = once.await.expect_err("it may not run again");
    assert_eq!(facts(&error), (true, true, 1), "{error}");
    assert_eq!(error.worker_pid(), Some(pid));
    until_started(&log, 3).await;
    std::fs::write(gate, "").expect("opened");
    assert_eq!(twice.await.expect("a result"), 2);
    let mut starts = starts(&log);
    starts.sort_unstable();
    assert_eq!(starts, [(1, 1), (2, 2)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_ends_finishes_running_tasks_and_leaves_the_others_in_the_queue() {
    let Some(server) = NatsServer::start("") else {
        return;
    };
    let cluster = client(&server).await;
    let (log, path) = file(&server, "log");
    let (gate, opens) = file(&server, "gate");
    let first = WorkerProgram::start(&server.url(), "process", 1);
    let running = cluster.submit(gated, (path.clone(), 0, opens));
    until_started(&log, 1).await;
    let rest: Vec<_> = (1..20)
        .map(|n| cluster.submit(logged, (path.clone(), n, 0)))
        .collect();
    first.signal(Signal::TERM);
    let _second = WorkerProgram::start(&server.url(), "process", 1);
    for (n, handle) in (1..).zip(rest) {
        assert_eq!(handle.await.expect("the other worker runs it"), n);
    }
    std::fs::write(gate, "").expect("opened");
    assert_eq!(running.await.expect("it is finished"), 0);
    let said = first.terminate();
    assert!(said.contains("done: 1"), "{said}");
    assert!(starts(&log).iter().all(|(_, times)| *times == 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_deadline_of_a_drain_ends_running_tasks_by_the_rules_of_retries() {
    let Some(server) = NatsServer::start("") else {
        return;
    };
    let cluster = client(&server).await;
    let (log, path) = file(&server, "log");
    let (gate, opens) = file(&server, "gate");
    let first = Worker::connect(server.url()).queue("q").functions(tasks());
    let first = first.settings(quick()).drain_deadline(Duration::ZERO);
    let first = first.build(pool("process", 2)).await.expect("a worker");
    let (stop, stopped) = oneshot::channel::<()>();
    let serving = tokio::spawn(first.run_until(async {
        let _ = stopped.await;
    }));
    let once = cluster.submit(gated, (path.clone(), 1, opens.clone()));
    let again = TaskOptions::new().retries(1);
    let twice = cluster.submit_with(&again, gated, (path, 2, opens));
    until_started(&log, 2).await;
    stop.send(()).expect("it serves");
    let error = once.await.expect_err("it is ended");
    assert_eq!(facts(&error), (true, true, 1), "{error}");
    let report = serving.await.expect("no panic");
    assert_eq!((report.done, report.failed, report.given_back), (0, 1, 1));
    std::fs::write(gate, "").expect("opened");
    let (_stop, _serving) = worker(&server, tasks(), "thread", 1).await;
    assert_eq!(twice.await.expect("the next worker runs it"), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dropped_worker_ends_its_running_tasks_and_stores_their_errors() {
    let Some(server) = NatsServer::start("") else {
        return;
    };
    let cluster = client(&server).await;
    let (log, path) = file(&server, "log");
    let (_, never) = file(&server, "gate");
    let worker = Worker::connect(server.url()).queue("q").functions(tasks());
    let worker = worker
        .settings(quick())
        .build(pool("process", 1))
        .await
        .expect("a worker");
    let serving = tokio::spawn(worker.run_until(pending()));
    let running = cluster.submit(gated, (path, 1, never));
    until_started(&log, 1).await;
    serving.abort();
    let error = running.await.expect_err("it is ended");
    assert_eq!(facts(&error), (true, true, 1), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_was_stopped_for_too_long_is_lost_and_its_late_result_is_refused() {
    let Some(server) = NatsServer::start("") else {
        return;
    };
    let cluster = client(&server).await;
    let (log, path) = file(&server, "log");
    let (gate, opens) = file(&server, "gate");
    let stopped = WorkerProgram::start(&server.url(), "thread", 1);
    let again = TaskOptions::new().retries(1);
    let handle = cluster.submit_with(&again, gated, (path.clone(), 1, opens));
    until_started(&log, 1).await;
    stopped.signal(Signal::STOP);
    let second = WorkerProgram::start(&server.url(), "thread", 1);
    until_started(&log, 2).await;
    std::fs::write(gate, "").expect("opened");
    assert_eq!(handle.await.expect("the other worker runs it"), 1);
    stopped.signal(Signal::CONT);
    // It is a worker like any other now.
    let both = (2..6).map(|n| cluster.submit(logged, (path.clone(), n, 1)));
    for (n, handle) in (2..).zip(both.collect::<Vec<_>>()) {
        assert_eq!(handle.await.expect("a result"), n);
    }
    let (first, second) = (stopped.terminate(), second.terminate());
    let done = |said: &str| -> u64 {
        let (_, rest) = said.split_once("done: ").expect(said);
        rest.split(',').next().expect(said).parse().expect(said)
    };
    assert_eq!(done(&first) + done(&second), 5, "{first}{second}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_killed_costs_no_task_and_none_runs_twice() {
    let Some(mut server) = NatsServer::start("") else {
        return;
    };
    let cluster = client(&server).await;
    let (log, path) = file(&server, "log");
    let (_stop, _serving) = worker(&server, tasks(), "thread", 2).await;
    let handles = (0..200).map(|n| cluster.submit(logged, (path.clone(), n, 5)));
    let handles: Vec<_> = handles.collect();
    until_started(&log, 20).await;
    server.restart();
    until_started(&log, 60).await;
    server.restart();
    for (n, handle) in (0..).zip(handles) {
        assert_eq!(handle.await.expect("a result"), n);
    }
    assert!(starts(&log).iter().all(|(_, times)| *times == 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_of_an_unknown_function_goes_to_a_worker_that_knows_it() {
    let Some(server) = NatsServer::start("") else {
        return;
    };
    let cluster = client(&server).await;
    let (_stop, unlike) = worker(&server, functions![u64::pow], "thread", 1).await;
    let sum = cluster.submit(add, (1, 2));
    let (_stop2, _serving) = worker(&server, tasks(), "thread", 1).await;
    assert_eq!(sum.await.expect("a sum"), 3);
    drop(_stop);
    assert_eq!(unlike.await.expect("no panic").done, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_function_of_another_shape_is_refused_with_both_shapes() {
    fn other(text: String) -> String {
        text
    }
    let Some(server) = NatsServer::start("") else {
        return;
    };
    let cluster = client(&server).await;
    let (_stop, _serving) = worker(&server, Functions::new().add("add", other), "thread", 1).await;
    let error = cluster
        .submit(add, (1, 2))
        .await
        .expect_err("it is refused");
    assert!(error.is_codec() && !error.was_started(), "{error}");
    for shape in ["u64,u64>u64", "text>text"] {
        assert!(error.to_string().contains(shape), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_abort_ends_a_running_task_and_frees_its_slot() {
    let Some(server) = NatsServer::start("") else {
        return;
    };
    let cluster = client(&server).await;
    for kind in ["thread", "process"] {
        let (log, path) = file(&server, kind);
        let (stop, serving) = worker(&server, tasks(), kind, 1).await;
        let running = cluster.submit(program::sleeps, path);
        until_started(&log, 1).await;
        running.abort();
        assert!(running.await.expect_err("it is aborted").is_cancelled());
        assert_eq!(
            cluster.submit(add, (1, 2)).await.expect("the slot is free"),
            3
        );
        drop(stop);
        serving.await.expect("no panic");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_higher_lane_is_served_first() {
    let Some(server) = NatsServer::start("") else {
        return;
    };
    let cluster = client(&server).await;
    let (log, path) = file(&server, "log");
    let (gate, opens) = file(&server, "gate");
    let (_stop, _serving) = worker(&server, tasks(), "thread", 1).await;
    let first = cluster.submit(gated, (path.clone(), 0, opens));
    until_started(&log, 1).await;
    let lane_of = |number: u64| number as i32 % 3 - 1;
    let rest: Vec<_> = (1..=60)
        .map(|number| {
            let options = TaskOptions::new().priority(lane_of(number));
            cluster.submit_with(&options, logged, (path.clone(), number, 0))
        })
        .collect();
    until_queued(&cluster, 61).await;
    std::fs::write(gate, "").expect("opened");
    first.await.expect("a result");
    for handle in rest {
        handle.await.expect("a result");
    }
    /// How many pairs of tasks start in the wrong order.
    fn wrong_pairs(lanes: &[i32]) -> usize {
        let after = |place: usize| lanes[place + 1..].iter();
        let wrong = |place| after(place).filter(|later| **later > lanes[place]).count();
        (0..lanes.len()).map(wrong).sum()
    }
    let order = starts(&log);
    let started: Vec<_> = order[1..].iter().map(|(n, _)| lane_of(*n)).collect();
    let submitted: Vec<_> = (1..=60).map(lane_of).collect();
    assert_eq!(started.len(), submitted.len());
    // On a busy machine, a lane counts as empty if its next task is 50 ms late.
    assert!(
        wrong_pairs(&started) < wrong_pairs(&submitted) / 4,
        "{order:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn short_tasks_that_are_taken_ahead_of_a_long_one_go_to_another_worker() {
    let Some(server) = NatsServer::start("") else {
        return;
    };
    let cluster = client(&server).await;
    let (log, path) = file(&server, "log");
    let (gate, opens) = file(&server, "gate");
    let (_stop, _serving) = worker(&server, tasks(), "thread", 1).await;
    let short = (0..200).map(|n| cluster.submit(add, (n, n)));
    for sum in futures::future::join_all(short).await {
        sum.expect("a sum");
    }
    let long = cluster.submit(gated, (path.clone(), 0, opens));
    let rest: Vec<_> = (1..=8)
        .map(|n| cluster.submit(logged, (path.clone(), n, 0)))
        .collect();
    until_started(&log, 1).await;
    let (_stop, _serving) = worker(&server, tasks(), "thread", 1).await;
    for handle in rest {
        handle.await.expect("another worker runs it");
    }
    std::fs::write(gate, "").expect("opened");
    long.await.expect("a result");
    let once: Vec<_> = starts(&log).iter().map(|(_, times)| *times).collect();
    assert_eq!(once, [1; 9]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_reports_its_progress_across_the_cluster() {
    let Some(server) = NatsServer::start("") else {
        return;
    };
    let cluster = client(&server).await;
    let (_stop, _serving) = worker(&server, tasks(), "process", 1).await;
    let handle = cluster.submit(program::reports, 100);
    let reports: Vec<_> = handle.progress().collect().await;
    assert!(!reports.is_empty() && reports.is_sorted_by_key(|report| report.done));
    assert_eq!(handle.await.expect("a result"), 100);
}

#[tokio::test(flavor = "multi_thread")]
async fn payloads_beyond_a_message_travel_both_ways() {
    let Some(server) = NatsServer::start("max_payload: 65536\n") else {
        return;
    };
    let cluster = client(&server).await;
    let (_stop, _serving) = worker(&server, tasks(), "process", 1).await;
    let bytes = vec![7_u8; 1 << 20];
    let back = cluster.submit(program::large, bytes).await.expect("bytes");
    assert!(back.len() == 1 << 20 && back.iter().all(|byte| *byte == !7));
}

/// A worker, as soon as one serves.
async fn a_worker(cluster: &ClusterExecutor) -> ClusterWorkerInfo {
    loop {
        let workers = cluster.workers().await.expect("the server");
        if let Some(worker) = workers.into_iter().next() {
            return worker;
        }
    }
}

/// Anyone with the right to submit may write anything.
#[tokio::test(flavor = "multi_thread")]
async fn garbage_on_all_subjects_harms_no_task() {
    let Some(server) = NatsServer::start("") else {
        return;
    };
    let cluster = client(&server).await;
    let (_stop, serving) = worker(&server, tasks(), "thread", 1).await;
    let raw = async_nats::connect(server.url()).await.expect("the server");
    let id = a_worker(&cluster).await.id().to_owned();
    let mut headers = async_nats::HeaderMap::new();
    headers.insert("Cf-V", "77");
    headers.insert("Cf-Reply", "nobody.1");
    for subject in [
        "cf.q.t.0.add".to_owned(),
        "cf.q.t.1.nothing.at.all".to_owned(),
        "cf.q.t.2.%".to_owned(),
        "cf.q.o.nobody.2".to_owned(),
        "cf.q.p.nobody.2".to_owned(),
        "cf.q.who".to_owned(),
        format!("cf.q.w.{id}.ask"),
        format!("cf.q.w.{id}.cancel"),
        format!("cf.q.w.{id}.dance"),
    ] {
        for body in [
            &b""[..],
            b"\x01",
            b"\xff\xff\xff\xff\xff\xff\xff\xff",
            b"hello",
        ] {
            raw.publish(subject.clone(), body.into())
                .await
                .expect("sent");
            let answer = raw.publish_with_reply_and_headers(
                subject.clone(),
                "nobody.listens",
                headers.clone(),
                body.into(),
            );
            answer.await.expect("sent");
        }
    }
    raw.flush().await.expect("sent");
    for n in 0..20 {
        assert_eq!(cluster.submit(add, (n, n)).await.expect("a sum"), 2 * n);
    }
    until_queued(&cluster, 0).await; // All of it is taken out of the queue.
    assert!(!serving.is_finished());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_has_the_name_that_it_is_given_in_the_list_and_in_errors() {
    let Some(server) = NatsServer::start("") else {
        return;
    };
    let cluster = client(&server).await;
    let (_stop, _unnamed) = worker(&server, tasks(), "thread", 1).await;
    let unnamed = a_worker(&cluster).await;
    assert_eq!(
        unnamed.name(),
        format!("{}:{}", unnamed.host(), unnamed.pid())
    );
    drop(_stop);
    let named = Worker::connect(server.url()).queue("q").functions(tasks());
    let named = named.name("rack 7, left").timeout(Duration::from_secs(60));
    let named = named.build(pool("thread", 1)).await.expect("a worker");
    let id = named.id().to_owned();
    let _serving = tokio::spawn(named.run_until(pending()));
    let error = cluster
        .submit(program::panics, "no".to_owned())
        .await
        .expect_err("a panic");
    if error.remote_worker() == Some(&*id) {
        let text = error.to_string();
        assert!(
            text.contains(&format!("worker rack 7, left, id {id}")),
            "{text}"
        );
    }
    let is_named = |worker: &ClusterWorkerInfo| worker.name() == "rack 7, left";
    while !cluster
        .workers()
        .await
        .expect("the server")
        .iter()
        .any(is_named)
    {}
    for (name, limit, word) in [("", 1, "name"), ("x", 0, "timeout")] {
        let wrong = Worker::connect(server.url())
            .name(name)
            .timeout(Duration::from_secs(limit));
        let error = wrong
            .build(pool("thread", 1))
            .await
            .expect_err("it is invalid");
        assert!(
            error.is_invalid() && error.to_string().contains(word),
            "{error}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_with_no_limit_or_a_longer_one_ends_at_the_limit_of_its_worker() {
    let Some(server) = NatsServer::start("") else {
        return;
    };
    let cluster = client(&server).await;
    let limit = Duration::from_millis(200);
    let worker = Worker::connect(server.url()).queue("q").functions(tasks());
    let worker = worker
        .timeout(limit)
        .build(pool("process", 2))
        .await
        .expect("a worker");
    let _serving = tokio::spawn(worker.run_until(pending()));
    for (own, stated) in [
        (None, "200ms"),
        (Some(Duration::from_secs(3600)), "200ms"),
        (Some(limit / 2), "100ms"),
    ] {
        let (_, path) = file(&server, stated);
        let mut options = TaskOptions::new();
        if let Some(own) = own {
            options = options.timeout(own);
        }
        let error = cluster.submit_with(&options, program::sleeps, path).await;
        let error = error.expect_err("it takes too long");
        assert!(error.is_timeout() && error.was_started(), "{error}");
        assert!(error.to_string().contains(stated), "{error}");
    }
    assert_eq!(cluster.submit(add, (1, 2)).await.expect("a sum"), 3);
}
