//! A worker as a program of its own, which a test can kill, stop and end: this test program again, which runs only the
//! test `worker_program`. And the functions that it serves.

use std::fs::{self, OpenOptions};
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use std::{env, thread};

use concurrent_futures::cluster::{self, Functions, QueueSettings, Worker};
use concurrent_futures::{
    Executor, ProcessPoolExecutor, TaskError, ThreadPoolExecutor, functions, worker,
};
use rustix::process::{Pid, Signal, kill_process};

/// The functions of clients and workers.
pub(crate) fn tasks() -> Functions {
    functions![
        add, logged, gated, panics, exits, reports, sleeps, large, clock
    ]
}

/// Those of an older build: it lacks some, and one has another shape.
pub(crate) fn older_tasks() -> Functions {
    fn other(text: String) -> String {
        text
    }
    functions![add, large].add("panics", other)
}

pub(crate) fn add(left: u64, right: u64) -> u64 {
    left + right
}

/// Writes its number to a log, once for each start, and takes some time.
pub(crate) fn logged(log: String, number: u64, millis: u64) -> u64 {
    append(&log, number);
    thread::sleep(Duration::from_millis(millis));
    number
}

/// As `logged`, but runs until the file `gate` exists.
pub(crate) fn gated(log: String, number: u64, gate: String) -> u64 {
    append(&log, number);
    while !Path::new(&gate).exists() {
        thread::sleep(Duration::from_millis(2)); // It is what the function waits for, not the test.
    }
    number
}

pub(crate) fn panics(text: String) -> u64 {
    panic!("{text}")
}

pub(crate) fn exits(code: i32) -> u64 {
    eprintln!("last words");
    std::process::exit(code)
}

pub(crate) fn reports(total: u64) -> u64 {
    let task = worker::current().expect("a task runs");
    for done in 1..=total {
        task.report_progress(done, total);
        thread::sleep(Duration::from_millis(1)); // Its work.
    }
    total
}

/// Sleeps until it is cancelled, for a minute at most.
pub(crate) fn sleeps(log: String) -> bool {
    append(&log, 0);
    let task = worker::current().expect("a task runs");
    (0..30_000).any(|_| {
        thread::sleep(Duration::from_millis(2));
        task.is_cancelled()
    })
}

/// The seconds since 1970, as this program knows them.
pub(crate) fn clock() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.expect("after 1970").as_secs()
}

pub(crate) fn large(bytes: Vec<u8>) -> Vec<u8> {
    bytes.iter().map(|byte| !byte).collect()
}

fn append(log: &str, number: u64) {
    let mut log = OpenOptions::new()
        .create(true)
        .append(true)
        .open(log)
        .expect("the log");
    log.write_all(format!("{number}\n").as_bytes())
        .expect("written");
}

/// How often each number is in the log, in the order of the first.
pub(crate) fn starts(log: &Path) -> Vec<(u64, usize)> {
    let text = fs::read_to_string(log).unwrap_or_default();
    let mut starts: Vec<(u64, usize)> = Vec::new();
    let mut places = std::collections::HashMap::new();
    for number in text.lines().map(|line| line.parse().expect("a number")) {
        let place = *places.entry(number).or_insert_with(|| {
            starts.push((number, 0));
            starts.len() - 1
        });
        starts[place].1 += 1;
    }
    starts
}

/// Waits until the log has this number of lines.
pub(crate) async fn until_started(log: &Path, lines: usize) {
    while fs::read_to_string(log).unwrap_or_default().lines().count() < lines {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// The shortest times that a queue allows.
pub(crate) fn quick() -> QueueSettings {
    QueueSettings::new().ack_wait(Duration::from_secs(1))
}

/// A worker program. Dropping it kills it.
#[derive(Debug)]
pub(crate) struct WorkerProgram {
    child: Child,
    out: BufReader<ChildStdout>,
}

impl WorkerProgram {
    /// Starts one with `workers` threads, or processes.
    pub(crate) fn start(url: &str, kind: &str, workers: usize) -> Self {
        let program = env::current_exe().expect("this program");
        Self::start_with(&program, url, kind, workers, &[])
    }

    /// Starts this build of the program, with these variables too.
    pub(crate) fn start_with(
        program: &Path,
        url: &str,
        kind: &str,
        workers: usize,
        variables: &[(&str, &str)],
    ) -> Self {
        let mut child = Command::new(program)
            .args(["--exact", "worker_program", "--nocapture"])
            .env("CF_TEST_URL", url)
            .env("CF_TEST_KIND", kind)
            .env("CF_TEST_WORKERS", workers.to_string())
            .envs(variables.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("it starts");
        let out = BufReader::new(child.stdout.take().expect("it is piped"));
        let mut program = Self { child, out };
        while !program.line().contains("ready") {}
        program
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).expect("it is not reaped yet");
    }

    pub(crate) fn kill(mut self) {
        self.child.kill().expect("it is not reaped yet");
        self.child.wait().expect("it is a child");
    }

    /// Sends SIGTERM, and returns what it says at its end.
    pub(crate) fn terminate(mut self) -> String {
        self.signal(Signal::TERM);
        let mut text = String::new();
        self.out.read_to_string(&mut text).expect("text");
        self.child.wait().expect("it is a child");
        text
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        let read = self.out.read_line(&mut line).expect("text");
        assert!(read > 0, "the worker program ends");
        line
    }
}

impl Drop for WorkerProgram {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Serves, if this program was started for it.
pub(crate) fn serve() {
    let (Ok(url), Ok(kind)) = (env::var("CF_TEST_URL"), env::var("CF_TEST_KIND")) else {
        return;
    };
    let workers = env::var("CF_TEST_WORKERS")
        .expect("set")
        .parse()
        .expect("a number");
    let functions = match env::var("CF_TEST_BUILD").as_deref() {
        Ok("older") => older_tasks(),
        _ => tasks(),
    };
    let settings = match env::var("CF_TEST_ACK_WAIT").as_deref() {
        Ok("default") => QueueSettings::new(),
        _ => quick(),
    };
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(async {
        let worker = Worker::connect(url)
            .queue("q")
            .functions(functions)
            .settings(settings)
            .lost_after(Duration::from_millis(500));
        let worker = worker.build(pool(&kind, workers)).await.expect("a worker");
        println!("ready");
        let report = worker.run_until(cluster::sigterm()).await;
        println!("{report:?}");
    });
}

pub(crate) fn pool(kind: &str, workers: usize) -> Arc<dyn Executor> {
    match kind {
        "thread" => Arc::new(ThreadPoolExecutor::with_workers(workers).expect("a pool")),
        _ => Arc::new(ProcessPoolExecutor::with_workers(workers).expect("a pool")),
    }
}

/// What a test needs of an error.
pub(crate) fn facts(error: &TaskError) -> (bool, bool, u32) {
    (
        error.is_worker_lost(),
        error.was_started(),
        error.attempts(),
    )
}
