//! The worker program: this program again, with an environment variable that says what to serve.

use std::fs::OpenOptions;
use std::io::{Read as _, Write as _};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};
use std::{env, io, process, thread};

use concurrent_futures::cluster::{Durability, Functions, QueueSettings, Worker, sigterm};
use concurrent_futures::{
    Executor, ExecutorExt as _, ProcessPoolExecutor, ThreadPoolExecutor, functions, worker,
};
use rustix::process::{Pid, Signal, kill_process};
use serde::{Deserialize, Serialize};

pub(crate) const QUEUE: &str = "soak";
/// How long a worker may be silent before it counts as lost.
pub(crate) const LOST_AFTER: Duration = Duration::from_secs(2);
/// The local workers of a program.
const SLOTS: usize = 4;
/// The kind of pool and the servers, separated by `;`.
const SERVE: &str = "CLUSTER_SOAK_SERVE";
/// If it is set, workers print their messages.
const VERBOSE: &str = "CLUSTER_SOAK_VERBOSE";

/// What a task does, after it has written its number to the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Deed {
    Work,
    Report,
    Panic,
}

pub(crate) fn tasks() -> Functions {
    functions![logged, same]
}

/// Writes its number to the log, once for each start, and takes some time.
pub(crate) fn logged(log: String, number: u64, millis: u64, deed: Deed) -> u64 {
    let line = format!("{number}\n");
    let file = OpenOptions::new().append(true).open(log);
    // In one write, because other tasks write there too. If there is no log, the session has ended.
    let written = file.and_then(|mut file| file.write_all(line.as_bytes()));
    written.expect("the session's folder is there");
    let start = Instant::now();
    while start.elapsed() < Duration::from_millis(millis) {
        thread::sleep(Duration::from_millis(2)); // The work.
        if let (Deed::Report, Some(task)) = (deed, worker::current()) {
            task.report_progress(start.elapsed().as_micros() as u64, 1000 * millis);
        }
    }
    assert!(deed != Deed::Panic, "the task panics as it should");
    number
}

pub(crate) fn same(log: String, number: u64, bytes: Vec<u8>) -> Vec<u8> {
    logged(log, number, 1, Deed::Work);
    bytes
}

/// `nodes`: the number of servers of the queue.
pub(crate) fn settings(nodes: usize) -> QueueSettings {
    let durability = match nodes {
        1 => Durability::file(),
        nodes => Durability::replicas(nodes),
    };
    QueueSettings::new()
        .durability(durability)
        .ack_wait(Duration::from_secs(2))
        .result_ttl(Duration::from_secs(30))
        .payload_ttl(Duration::from_secs(600))
}

/// Serves, if this is a worker program. Returns when it has ended.
pub(crate) fn serve_if_worker() -> bool {
    let Ok(order) = env::var(SERVE) else {
        return false;
    };
    thread::spawn(|| {
        let _ = io::stdin().read(&mut [0]);
        process::exit(1); // The session has ended without this worker.
    });
    let (kind, servers) = order.split_once(';').expect("kind and servers");
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(serve(kind, servers));
    true
}

async fn serve(kind: &str, servers: &str) {
    let pool: Arc<dyn Executor> = match kind {
        "process" => {
            let pool = ProcessPoolExecutor::builder().max_workers(SLOTS).build();
            Arc::new(pool.expect("a pool"))
        }
        _ => Arc::new(
            ThreadPoolExecutor::builder()
                .max_workers(SLOTS)
                .build()
                .expect("a pool"),
        ),
    };
    let mut stop = std::pin::pin!(sigterm());
    let worker = loop {
        let built = Worker::connect(servers)
            .queue(QUEUE)
            .functions(tasks())
            .settings(settings(servers.split(',').count()))
            .lost_after(LOST_AFTER)
            .build(pool.clone());
        tokio::select! {
            built = built => match built {
                Ok(worker) => break worker,
                Err(error) => eprintln!("worker program: {error}"), // The servers are unreachable. Try again.
            },
            () = &mut stop => return,
        }
    };
    worker.run_until(stop).await;
    pool.shutdown().await;
}

/// A worker program that runs. Dropping it kills it.
#[derive(Debug)]
pub(crate) struct Program(Child);

impl Program {
    pub(crate) fn start(kind: &str, servers: &str) -> Self {
        // Panics of tasks are printed to stderr.
        let stderr = match env::var(VERBOSE) {
            Ok(_) => Stdio::inherit(),
            Err(_) => Stdio::null(),
        };
        let child = Command::new(env::current_exe().expect("this program"))
            .args(["--exact", "worker_program", "--nocapture"]) // For a test program.
            .env(SERVE, format!("{kind};{servers}"))
            .env("RUST_BACKTRACE", "0")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(stderr)
            .spawn();
        Self(child.expect("it starts"))
    }

    pub(crate) fn id(&self) -> u32 {
        self.0.id()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        let pid = Pid::from_child(&self.0);
        kill_process(pid, signal).expect("it is not reaped yet");
    }

    /// Its exit status, if it has ended.
    pub(crate) fn end(&mut self) -> Option<ExitStatus> {
        self.0.try_wait().expect("it is a child")
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
