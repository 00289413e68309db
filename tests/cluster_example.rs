//! Runs the example of a cluster as its documentation describes: a server, workers, and clients.
#![cfg(all(feature = "cluster", target_os = "linux"))]

#[path = "common/nats.rs"]
#[allow(dead_code, unreachable_pub, reason = "other tests use the rest")]
mod nats;

use std::env;
use std::io::{BufRead as _, BufReader, Read as _};
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};

use rustix::process::{Pid, Signal, kill_process};

use self::nats::NatsServer;

/// A run of the example with some of its arguments. Dropping this kills the process.
struct Program {
    process: Child,
    output: BufReader<ChildStdout>,
}

impl Program {
    fn start(server: &NatsServer, arguments: &[&str]) -> Self {
        let path = example();
        let started = Command::new(&path)
            .args(arguments)
            .env("CLUSTER_URL", server.url())
            .env_remove("CLUSTER_ROOTS")
            .stdout(Stdio::piped())
            .spawn();
        let mut process = started.unwrap_or_else(|error| {
            let path = path.display();
            panic!("{path}: {error}; `cargo build --examples --all-features` builds it")
        });
        let output = BufReader::new(process.stdout.take().expect("it is piped"));
        Self { process, output }
    }

    /// Starts a worker that serves.
    fn worker(server: &NatsServer) -> Self {
        let mut worker = Self::start(server, &["worker"]);
        let line = worker.line();
        assert!(
            line.starts_with("worker ") && line.ends_with(" serves primes"),
            "{line:?}"
        );
        worker
    }

    /// The next line that it prints.
    fn line(&mut self) -> String {
        let mut line = String::new();
        self.output.read_line(&mut line).expect("text");
        line.trim_end().to_owned()
    }

    fn terminate(&self) {
        kill_process(Pid::from_child(&self.process), Signal::TERM).expect("it is not reaped yet");
    }

    /// What it prints until it ends, and how it ends.
    fn end(mut self) -> (String, ExitStatus) {
        let mut rest = String::new();
        self.output.read_to_string(&mut rest).expect("text");
        (rest, self.process.wait().expect("it is its parent"))
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Runs the example to its end. Returns its lines.
fn run(server: &NatsServer, arguments: &[&str]) -> Vec<String> {
    let (output, status) = Program::start(server, arguments).end();
    assert!(status.success(), "{arguments:?}: {status}\n{output}");
    output.lines().map(str::to_owned).collect()
}

/// Cargo puts tests into `deps`, and examples into a folder beside it.
fn example() -> PathBuf {
    let test = env::current_exe().expect("a test knows where it lies");
    let profile = test.ancestors().nth(2).expect("it lies in `deps`");
    profile.join("examples/cluster")
}

#[test]
fn two_workers_serve_a_client_and_one_of_them_ends_in_between() {
    let Some(server) = NatsServer::start("") else {
        return;
    };
    let (first, second) = (Program::worker(&server), Program::worker(&server));
    let mut client = Program::start(&server, &["client"]);
    assert_eq!(client.line(), "97 is prime: true");
    let counted = client.line();
    assert!(
        counted.starts_with("78498 primes below a million, "),
        "{counted}"
    );
    let failed = client.line();
    assert!(
        failed.starts_with("parse: \"ten\" is no number: "),
        "{failed}"
    );
    let crash = client.line();
    assert!(
        crash.starts_with("crash: ") && crash.contains("signal 6"),
        "{crash}"
    );
    let mut lines = Vec::new(); // The end of stderr, where the crash says more.
    let aborted = loop {
        match client.line() {
            line if line.starts_with("aborted") => break line,
            line => lines.push(line),
        }
        assert!(lines.len() < 20, "{lines:?}");
    };
    assert_eq!(aborted, "aborted, was started: true");
    assert_eq!(client.line(), "timed out");
    let urgent = client.line();
    assert!(urgent.starts_with("urgent, with "), "{urgent}");
    assert_eq!(client.line(), "half of the numbers");

    first.terminate();
    let (bye, status) = first.end();
    assert!(status.success(), "{status}");
    assert!(bye.starts_with("bye: "), "{bye}");
    let (rest, status) = client.end();
    assert!(status.success(), "{status}");
    assert_eq!(rest, "17984 primes below 200000\n");
    drop(second);
}

#[test]
fn a_key_finds_the_result_after_client_and_worker_have_ended() {
    let Some(server) = NatsServer::start("") else {
        return;
    };
    let keys: Vec<String> = (1..=4)
        .flat_map(|n| run(&server, &["submit", &(n * 100_000).to_string()]))
        .collect();
    assert_eq!(keys.len(), 4);
    let status = run(&server, &["status"]);
    assert_eq!(status[1], "priority 0: 4 wait, 0 run", "{status:?}");
    assert_eq!(status[3], "0 workers");

    let worker = Program::worker(&server);
    assert_eq!(run(&server, &["result", &keys[0]]), ["9592 primes"]);
    let status = loop {
        let status = run(&server, &["status"]); // On a busy machine, a worker may answer too late.
        if status[3] == "1 workers" {
            break status;
        }
        assert_eq!(status[3], "0 workers");
    };
    let functions = "crash is_prime primes.count primes.parse primes.spin";
    assert!(status[4].ends_with(functions), "{status:?}");
    worker.terminate();
    let (bye, ended) = worker.end(); // It finishes its running tasks. The others wait.
    assert!(
        ended.success() && bye.ends_with(" done, 0 failed\n"),
        "{bye:?}"
    );

    let _next = Program::worker(&server);
    for (key, primes) in keys[1..].iter().zip([17_984, 25_997, 33_860]) {
        assert_eq!(run(&server, &["result", key]), [format!("{primes} primes")]);
    }
}
