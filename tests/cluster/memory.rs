//! Client and worker need no more memory after thousands of tasks than before.

#[path = "../../examples/cluster_soak/program.rs"]
#[expect(dead_code, reason = "the stress test uses the rest")]
mod program;

use std::fs::{self, File};

use cluster_tests::NatsServer;
use concurrent_futures::cluster::ClusterExecutor;
use concurrent_futures::{Executor as _, ExecutorExt as _};
use futures::StreamExt as _;

use program::{Deed, Program, QUEUE, logged, settings, tasks};

/// The worker program of the other test.
#[test]
fn worker_program() {
    program::serve_if_worker();
}

const WARM_UP: u64 = 4_000;
const TASKS: u64 = 16_000;
const IN_FLIGHT: usize = 400;
/// Less than the total if each task kept a hundred bytes.
const GROWTH: u64 = 1500;

/// In KiB.
fn resident(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("it runs");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let size = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
    size.expect("a size")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn thousands_of_tasks_leave_nothing_in_client_and_worker() {
    let Some(server) = NatsServer::start("") else {
        return;
    };
    let log = server.folder().join("log");
    File::create(&log).expect("the folder is there");
    let log = log.to_str().expect("text");
    let worker = Program::start("thread", &server.url());
    let cluster = ClusterExecutor::connect(server.url())
        .queue(QUEUE)
        .functions(tasks())
        .settings(settings(1))
        .build()
        .await
        .expect("a client");
    let run = async |tasks: u64| {
        let calls = (0..tasks).map(|number| {
            let args = (log.to_owned(), number, 0, Deed::Work);
            cluster.submit(logged, args)
        });
        let outcomes = futures::stream::iter(calls).buffer_unordered(IN_FLIGHT);
        let failures = outcomes.filter(|outcome| std::future::ready(outcome.is_err()));
        assert_eq!(failures.count().await, 0);
    };
    run(WARM_UP).await;
    let pids = [std::process::id(), worker.id()];
    let before = pids.map(resident);
    run(TASKS).await;
    let after = pids.map(resident);
    println!("KiB of client and worker: {before:?}, and {after:?} later");
    for (before, after) in before.into_iter().zip(after) {
        assert!(
            after <= before + GROWTH,
            "{before} KiB before, {after} after"
        );
    }
    let stats = cluster.stats();
    assert_eq!((stats.running, stats.queued), (0, 0), "{stats:?}");
}
