//! Workers and the server are killed while tasks run. A log counts the starts of each task.

#[allow(dead_code, reason = "other tests use the rest")]
mod program;

use std::collections::HashMap;
use std::time::Duration;

use cluster_tests::NatsServer;
use concurrent_futures::cluster::ClusterExecutor;
use concurrent_futures::{ExecutorExt as _, TaskOptions};
use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use tokio::time::MissedTickBehavior;

use program::{WorkerProgram, logged, quick, starts, tasks};

concurrent_futures::init_before_main!();

/// The worker program of the other tests.
#[test]
fn worker_program() {
    program::serve();
}

const TASKS: u64 = 3000;
const PROGRAMS: usize = 3;
const BETWEEN_KILLS: Duration = Duration::from_millis(200);
/// After this time nothing is killed, so the remaining tasks can end.
const MOST_KILLS: usize = 40;

/// How the tasks ended.
#[derive(Debug, Default)]
struct Counts {
    results: u64,
    lost: u64,
    /// The most starts of one task.
    most_starts: usize,
    kills: usize,
}

/// Runs the tasks. Kills a worker every 200 ms, and the server at a third and at two thirds of the tasks.
async fn chaos(server: &mut NatsServer, retries: u32) -> Counts {
    let client = ClusterExecutor::connect(server.url())
        .queue("q")
        .functions(tasks());
    let cluster = client.settings(quick()).build().await.expect("a client");
    let log = server.folder().join(format!("log{retries}"));
    let path = log.to_str().expect("text").to_owned();
    let start = |url: &str| WorkerProgram::start(url, "thread", 4);
    let url = server.url();
    let mut workers: Vec<_> = (0..PROGRAMS).map(|_| start(&url)).collect();
    let options = TaskOptions::new().retries(retries);
    let handles = (0..TASKS).map(|number| {
        let handle = cluster.submit_with(&options, logged, (path.clone(), number, 10));
        async move { (number, handle.await) }
    });
    let mut handles: FuturesUnordered<_> = handles.collect();
    let mut counts = Counts::default();
    let mut answered = 0;
    let mut next_kill = tokio::time::interval(BETWEEN_KILLS);
    next_kill.set_missed_tick_behavior(MissedTickBehavior::Delay);
    next_kill.tick().await;
    while answered < TASKS {
        tokio::select! {
            Some((number, outcome)) = handles.next() => {
                match outcome {
                    Ok(value) => {
                        assert_eq!(value, number);
                        counts.results += 1;
                    }
                    Err(error) => {
                        assert!(error.is_worker_lost() && error.was_started(), "{error}");
                        counts.lost += 1;
                    }
                }
                answered += 1;
                if answered == TASKS / 3 || answered == TASKS * 2 / 3 {
                    server.restart();
                }
            }
            _ = next_kill.tick(), if counts.kills < MOST_KILLS => {
                workers.remove(0).kill();
                counts.kills += 1;
                workers.push(start(&url));
            }
        }
    }
    let starts: HashMap<u64, usize> = starts(&log).into_iter().collect();
    counts.most_starts = starts.values().copied().max().unwrap_or(0);
    counts
}

#[tokio::test(flavor = "multi_thread")]
async fn without_retries_no_task_runs_twice_and_each_has_an_outcome() {
    let Some(mut server) = NatsServer::start("") else {
        return;
    };
    let counts = chaos(&mut server, 0).await;
    println!("{counts:?}");
    assert_eq!(counts.results + counts.lost, TASKS);
    assert_eq!(counts.most_starts, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn with_retries_every_task_gives_its_result() {
    let Some(mut server) = NatsServer::start("") else {
        return;
    };
    let counts = chaos(&mut server, 3).await;
    println!("{counts:?}");
    assert_eq!((counts.results, counts.lost), (TASKS, 0));
    assert!(counts.most_starts <= 4);
}
