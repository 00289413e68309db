//! A client that is killed. Its tasks run, since they belong to the queue. Nothing is left once their results have
//! expired.

use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;
use std::{env, iter};

use cluster_tests::{Act, NatsServer, Proxy, Side};
use concurrent_futures::ExecutorExt as _;
use concurrent_futures::cluster::QueueSettings;
use rustix::process::{Pid, Signal, kill_process};

use crate::common::{Log, brief, client, eventually, jetstream, kept, until_empty, worker};
use crate::program::{WorkerProgram, gated, large, logged, tasks};

const TASKS: u64 = 20;
/// More than fits in a message of this server.
const LARGE: usize = 200_000;
const SMALL_MESSAGES: &str = "max_payload: 65536\n";

/// A client in its own program. Dropping it kills it.
struct ClientProgram(Child, BufReader<ChildStdout>);

impl ClientProgram {
    /// Starts a program that submits a few tasks.
    fn start(url: &str, log: &Log, gate: &str) -> Self {
        let mut child = Command::new(env::current_exe().expect("this program"))
            .args(["--exact", "client_program", "--nocapture"])
            .envs([("CF_TEST_CLIENT", url), ("CF_TEST_GATE", gate)])
            .env("CF_TEST_LOG", log.text())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("it starts");
        let out = BufReader::new(child.stdout.take().expect("it is piped"));
        Self(child, out)
    }

    /// Waits until it prints `word`.
    fn until(&mut self, word: &str) {
        let mut lines = iter::from_fn(|| {
            let mut line = String::new();
            (self.1.read_line(&mut line).expect("text") > 0).then_some(line)
        });
        assert!(
            lines.any(|line| line.contains(word)),
            "it ends before {word}"
        );
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.0), signal).expect("it is not reaped yet");
    }
}

impl Drop for ClientProgram {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Submits tasks and prints its progress, if this program was started for that.
pub(crate) fn submit() {
    let (Ok(url), Ok(log)) = (env::var("CF_TEST_CLIENT"), env::var("CF_TEST_LOG")) else {
        return;
    };
    let gate = env::var("CF_TEST_GATE").expect("set");
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(async {
        let cluster = client(url, QueueSettings::new()).await; // The test has created the queue.
        println!("connected");
        let calls = (1..TASKS).map(|number| cluster.submit(logged, (log.clone(), number, 1)));
        let calls: Vec<_> = iter::once(cluster.submit(gated, (log.clone(), 0, gate)))
            .chain(calls)
            .collect();
        let bytes = cluster.submit(large, vec![7; LARGE]);
        cluster.stored(&bytes).await;
        for call in &calls {
            cluster.stored(call).await;
        }
        println!("stored");
        for (number, call) in (0..).zip(calls) {
            assert_eq!(call.await.expect("a result"), number);
        }
        assert_eq!(bytes.await.expect("bytes").len(), LARGE);
        println!("done");
    });
}

fn each_once() -> Vec<(u64, usize)> {
    (0..TASKS).map(|number| (number, 1)).collect()
}

/// Starts a client whose tasks the server has stored. Returns it with their log and the gate of the first one.
fn stored(server: &NatsServer) -> (ClientProgram, Log, PathBuf) {
    let (log, gate) = (Log::new(server, "log"), server.folder().join("gate"));
    let mut program = ClientProgram::start(&server.url(), &log, gate.to_str().expect("text"));
    program.until("stored");
    (program, log, gate)
}

/// Waits until all tasks have run and the server keeps nothing. Each has run once.
async fn all_run_once(server: &NatsServer, log: &Log) {
    eventually(async || log.starts() == each_once()).await;
    until_empty(server).await;
    assert_eq!(log.starts(), each_once());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_tasks_of_a_killed_client_run_once_and_leave_nothing_after_their_time_to_live() {
    let Some(server) = NatsServer::start(SMALL_MESSAGES) else {
        return;
    };
    let _queue = client(server.url(), brief()).await;
    let (program, log, gate) = stored(&server);
    let _worker = worker(server.url(), tasks()).await;
    eventually(async || log.starts().contains(&(0, 1))).await;
    drop(program); // While the first task runs.
    std::fs::write(gate, "").expect("opened");
    all_run_once(&server, &log).await;
}

/// Another worker runs the tasks that both have left.
#[tokio::test(flavor = "multi_thread")]
async fn a_client_and_a_worker_that_are_killed_together_leave_nothing() {
    let Some(server) = NatsServer::start(SMALL_MESSAGES) else {
        return;
    };
    let _queue = client(server.url(), brief()).await;
    let (program, log, _gate) = stored(&server);
    let first = WorkerProgram::start(&server.url(), "thread", 1);
    eventually(async || log.starts().contains(&(0, 1))).await;
    drop(program);
    first.kill();
    let raw = jetstream(&server).await;
    assert!(kept(&raw).await[1] > 0, "a claim is left");
    let _second = worker(server.url(), tasks()).await;
    all_run_once(&server, &log).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_is_killed_while_it_publishes_leaves_no_task_that_runs_twice() {
    for act in [Act::CutBefore, Act::CutAfter] {
        let Some(server) = NatsServer::start(SMALL_MESSAGES) else {
            return;
        };
        let _queue = client(server.url(), brief()).await;
        let proxy = Proxy::start(server.port());
        let log = Log::new(&server, "log");
        let gate = server.folder().to_str().expect("text").to_owned(); // It is open.
        let mut program = ClientProgram::start(&proxy.url(), &log, &gate);
        program.until("connected");
        proxy.on(Side::Program, "cf.q.l.", 0, act); // A part of the payload.
        eventually(async || proxy.has_cut()).await;
        drop(program);
        let _worker = worker(server.url(), tasks()).await;
        until_empty(&server).await;
        assert!(log.starts().iter().all(|(_, starts)| *starts == 1));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_was_stopped_for_a_while_has_all_results() {
    let Some(server) = NatsServer::start(SMALL_MESSAGES) else {
        return;
    };
    let settings = brief().result_ttl(Duration::from_secs(60)); // Its results do not expire while it is stopped.
    let _queue = client(server.url(), settings).await;
    let (mut program, log, gate) = stored(&server);
    program.signal(Signal::STOP);
    let _worker = worker(server.url(), tasks()).await;
    std::fs::write(gate, "").expect("opened");
    eventually(async || log.starts() == each_once()).await;
    program.signal(Signal::CONT);
    program.until("done");
}
