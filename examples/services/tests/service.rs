//! The example service as its clients see it: a process to which they connect by HTTP on loopback.
#![cfg(target_os = "linux")]

#[path = "../../../tests/common/mod.rs"]
mod common;
#[path = "../../../tests/common/nats.rs"]
#[allow(
    clippy::duplicate_mod,
    dead_code,
    unreachable_pub,
    reason = "other tests use the rest; `common` has its folder too"
)]
mod nats;

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs::{File, OpenOptions};
use std::io::{BufRead as _, BufReader, Cursor};
use std::net::SocketAddr;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::stream::{self, StreamExt as _};
use http_body_util::{BodyExt as _, Full};
use hyper::Request;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use image::{ImageFormat, RgbImage};
use rustix::fs::OFlags;
use rustix::process::{Pid, Signal, kill_process};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

use self::common::{eventually, within};
use self::nats::NatsServer;

/// The largest prime below 2^64: checking it takes longer than the service allows.
const TOO_HARD: &str = "/prime/18446744073709551557";

/// The service. Dropping this ends it.
struct Service {
    process: Child,
    output: BufReader<ChildStdout>,
    address: SocketAddr,
    client: Client<HttpConnector, Full<Bytes>>,
}

#[derive(Debug)]
struct Answer {
    status: u16,
    retry_after: bool,
    body: Bytes,
}

impl Service {
    fn start() -> Self {
        Self::start_binary(env!("CARGO_BIN_EXE_axum_service"))
    }

    fn start_binary(path: &str) -> Self {
        Self::start_command(Command::new(path).env_remove("CLUSTER_URL"))
    }

    fn start_with(path: &str, variables: &[(&str, &OsStr)]) -> Self {
        Self::start_command(Command::new(path).envs(variables.iter().copied()))
    }

    /// Starts the service on the cluster of `server`.
    fn start_on(server: &NatsServer) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_axum_service"));
        Self::start_command(command.env("CLUSTER_URL", server.url()))
    }

    fn start_command(command: &mut Command) -> Self {
        let mut process = command
            .args(["--port", "0"])
            .stdout(Stdio::piped())
            .spawn()
            .expect("it starts");
        let mut output = BufReader::new(process.stdout.take().expect("it is piped"));
        let mut line = String::new();
        output
            .read_line(&mut line)
            .expect("it says where it listens");
        let address = line.trim().strip_prefix("listening on http://");
        let address = address.unwrap_or_else(|| panic!("{line:?}"));
        Self {
            process,
            output,
            address: address.parse().expect("an address"),
            client: Client::builder(TokioExecutor::new()).build_http(),
        }
    }

    fn pid(&self) -> Pid {
        Pid::from_child(&self.process)
    }

    async fn ask(
        &self,
        method: &str,
        path: &str,
        body: impl Into<Bytes>,
    ) -> Result<Answer, String> {
        let request = Request::builder()
            .method(method)
            .uri(format!("http://{}{path}", self.address))
            .body(Full::new(body.into()))
            .expect("a request");
        let response = self
            .client
            .request(request)
            .await
            .map_err(|error| format!("{error:?}"))?;
        let (head, body) = response.into_parts();
        let body = body.collect().await.map_err(|error| error.to_string())?;
        Ok(Answer {
            status: head.status.as_u16(),
            retry_after: head.headers.contains_key("retry-after"),
            body: body.to_bytes(),
        })
    }

    async fn get(&self, path: &str) -> Answer {
        within(self.ask("GET", path, "")).await.expect("an answer")
    }

    async fn post(&self, path: &str, body: impl Into<Bytes>) -> Answer {
        within(self.ask("POST", path, body))
            .await
            .expect("an answer")
    }

    /// Sends a request, and closes the connection without waiting for the response.
    async fn ask_and_leave(&self, path: &str) -> TcpStream {
        let mut stream = within(TcpStream::connect(self.address))
            .await
            .expect("it listens");
        let request = format!("GET {path} HTTP/1.1\r\nhost: loopback\r\n\r\n");
        within(stream.write_all(request.as_bytes()))
            .await
            .expect("it reads");
        stream
    }

    /// A value of the process pool in `/metrics`. 0 if it does not exist yet.
    async fn measured(&self, name: &str, labels: &str) -> u64 {
        let text = self.get("/metrics").await.body;
        let text = String::from_utf8(text.into()).expect("text");
        let line = format!("concurrent_futures_{name}{{executor=\"processes\"{labels}}} ");
        let value = text.lines().find_map(|found| found.strip_prefix(&line));
        value.map_or(0, |value| value.parse().expect("a number"))
    }

    async fn running(&self) -> u64 {
        self.measured("tasks_running", "").await
    }

    async fn queued(&self) -> u64 {
        self.measured("tasks_queued", "").await
    }

    /// How many tasks ended with an outcome.
    async fn ended(&self, outcome: &str) -> u64 {
        self.measured("tasks_total", &format!(",outcome=\"{outcome}\""))
            .await
    }

    /// Waits until both pools are idle.
    async fn idle(&self) {
        let idle = async {
            while self.running().await + self.queued().await > 0 {
                tokio::task::yield_now().await;
            }
        };
        within(idle).await;
    }

    /// How many descriptors the service has open, except for its connections.
    fn descriptors(&self) -> usize {
        let folder = format!("/proc/{}/fd", self.process.id());
        let open = std::fs::read_dir(folder).expect("it runs").flatten();
        let is_socket = |entry: &std::fs::DirEntry| {
            std::fs::read_link(entry.path())
                .is_ok_and(|to| to.to_string_lossy().starts_with("socket:"))
        };
        open.filter(|entry| !is_socket(entry)).count()
    }

    /// The descendants of the service.
    fn descendants(&self) -> Vec<u32> {
        let mut found = vec![self.process.id()];
        let mut next = 0;
        while let Some(parent) = found.get(next) {
            let children = format!("/proc/{parent}/task/{parent}/children");
            let children = std::fs::read_to_string(children).unwrap_or_default();
            found.extend(
                children
                    .split_whitespace()
                    .filter_map(|pid| pid.parse::<u32>().ok()),
            );
            next += 1;
        }
        found.split_off(1)
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The same program as a worker of a cluster. Dropping this ends it.
struct ClusterWorker(Child, BufReader<ChildStdout>);

impl ClusterWorker {
    /// What it logs.
    fn log(server: &NatsServer) -> PathBuf {
        server.folder().join("worker.log")
    }

    fn start(server: &NatsServer) -> Self {
        let mut process = Command::new(env!("CARGO_BIN_EXE_axum_service"))
            .arg("worker")
            .env("CLUSTER_URL", server.url())
            .stdout(Stdio::piped())
            .stderr(File::create(Self::log(server)).expect("the folder is there"))
            .spawn()
            .expect("it starts");
        let mut output = BufReader::new(process.stdout.take().expect("it is piped"));
        let mut line = String::new();
        output.read_line(&mut line).expect("text");
        assert!(line.starts_with("worker "), "{line:?}");
        Self(process, output)
    }

    /// Sends SIGTERM, and returns the last line.
    fn end(mut self) -> String {
        kill_process(Pid::from_child(&self.0), Signal::TERM).expect("it is not reaped yet");
        let mut line = String::new();
        self.1.read_line(&mut line).expect("text");
        assert!(self.0.wait().expect("it ends").success());
        line
    }
}

impl Drop for ClusterWorker {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A square picture of `side` pixels a side.
fn picture(side: u32) -> Bytes {
    let picture = RgbImage::from_fn(side, side, |x, y| {
        image::Rgb([x as u8, y as u8, (x ^ y) as u8])
    });
    let mut jpeg = Cursor::new(Vec::new());
    picture
        .write_to(&mut jpeg, ImageFormat::Jpeg)
        .expect("memory");
    jpeg.into_inner().into()
}

#[tokio::test]
async fn each_route_does_its_work() {
    let service = Service::start();
    assert_eq!(service.get("/healthz").await.body, "ok\n");
    let prime = service.get("/prime/1009").await;
    assert_eq!(prime.body, r#"{"number":1009,"is_prime":true}"#);
    let hash = service.post("/hash", "correct horse").await;
    assert!(hash.body.starts_with(b"$argon2id$"), "{hash:?}");
    let thumbnail = service.post("/thumbnail?width=32", picture(200)).await;
    let small = image::load_from_memory(&thumbnail.body).expect("a picture");
    assert_eq!((small.width(), small.height()), (32, 32));
    let lines = service.get("/primes?from=96&count=3").await;
    let lines: Vec<_> = lines
        .body
        .split(|byte| *byte == b'\n')
        .map(<[u8]>::to_vec)
        .collect();
    assert_eq!(lines[1], br#"{"number":97,"is_prime":true}"#);
    assert_eq!((lines.len(), &lines[3][..]), (4, &b""[..]));
    for (path, status) in [("/prime/x", 400), ("/nowhere", 404), ("/primes", 400)] {
        assert_eq!(service.get(path).await.status, status, "{path}");
    }
    assert_eq!(
        service
            .post("/thumbnail?width=8", "no picture")
            .await
            .status,
        422
    );
    // One byte too many. The service has read everything when it refuses, so the client can still send all of it.
    let too_large = service.post("/thumbnail?width=8", vec![0; (16 << 20) + 1]);
    assert_eq!(too_large.await.status, 413);
}

#[tokio::test]
async fn a_poisonous_upload_kills_a_worker_and_nobody_else_notices() {
    let service = Service::start();
    let slow = service.get("/prime/100000000000031"); // About ten million divisions.
    let poison = service.post("/thumbnail?width=8", "poison");
    let (slow, poison) = tokio::join!(slow, poison);
    assert_eq!((slow.status, poison.status), (200, 500));
    assert_eq!(poison.body, "the request failed\n");
    assert_eq!(service.get("/prime/97").await.status, 200);
    assert_eq!(service.ended("worker_lost").await, 1);
}

#[tokio::test]
async fn a_request_that_takes_too_long_is_504_and_frees_its_worker() {
    let service = Service::start();
    assert_eq!(service.get(TOO_HARD).await.status, 504);
    service.idle().await;
    assert_eq!(service.get("/prime/97").await.status, 200);
}

#[tokio::test]
async fn a_client_that_goes_away_frees_its_worker() {
    let service = Service::start();
    let client = service.ask_and_leave(TOO_HARD).await;
    within(async { while service.running().await == 0 {} }).await;
    drop(client);
    service.idle().await; // Before its timeout, or the next request would be late.
    assert_eq!(service.get("/prime/97").await.status, 200);
    assert_eq!(service.ended("cancelled").await, 1);
}

#[tokio::test]
async fn overload_is_503_at_once_and_the_service_recovers() {
    let service = Service::start();
    let mut clients = Vec::new();
    while service.queued().await < 64 {
        clients.push(service.ask_and_leave(TOO_HARD).await);
    }
    for _ in 0..20 {
        let refused = service.get("/prime/97").await;
        assert_eq!(
            (refused.status, refused.retry_after),
            (503, true),
            "{refused:?}"
        );
    }
    assert_eq!(service.get("/healthz").await.status, 200);
    assert_eq!(service.ended("ok").await, 0, "none of it has ended");
    drop(clients);
    service.idle().await;
    assert_eq!(service.get("/prime/97").await.status, 200);
}

#[tokio::test]
async fn sigterm_drains_what_runs_and_takes_no_more() {
    use std::io::Read as _;

    let mut service = Service::start();
    let asked = service.ask("GET", "/prime/1000000000000000003", ""); // A billion divisions.
    let told = async {
        within(async { while service.running().await == 0 {} }).await;
        kill_process(service.pid(), Signal::TERM).expect("it runs");
        // The service closes its socket before it answers the requests that it has.
        within(async { while TcpStream::connect(service.address).await.is_ok() {} }).await;
    };
    let (answer, ()) = tokio::join!(within(asked), told);
    let answer = answer.expect("an answer");
    assert!([200, 504].contains(&answer.status), "{answer:?}");
    let ended = within(tokio::task::spawn_blocking(move || {
        let status = service.process.wait().expect("it ends");
        let mut output = String::new();
        service.output.read_to_string(&mut output).expect("text");
        (status, output)
    }));
    let (status, output) = ended.await.expect("no panic");
    assert!(status.success(), "{status}");
    assert_eq!(output, "shutting down\nbye: 0 tasks killed\n");
}

/// A pipe to which no process writes, like a file on a network file system that does not answer.
#[tokio::test]
async fn a_service_ends_though_a_thread_never_returns() {
    let directory = PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
    let pipe = directory.join(format!("news-{}", std::process::id()));
    let made = Command::new("mkfifo").arg(&pipe).status();
    assert!(made.expect("coreutils are here").success());
    let mut service = Service::start_with(
        env!("CARGO_BIN_EXE_axum_service"),
        &[("NEWS", pipe.as_os_str())],
    );
    let client = service.ask_and_leave("/news").await;
    // A pipe can be opened for writing once the thread of the service has it open.
    let open = || {
        let flags = OFlags::NONBLOCK.bits() as i32;
        let mut options = OpenOptions::new();
        options.write(true).custom_flags(flags).open(&pipe).ok()
    };
    let mut writer = None;
    eventually(|| {
        writer = open();
        writer.is_some()
    })
    .await;
    drop(client); // The client does not wait for the answer.
    kill_process(service.pid(), Signal::TERM).expect("it runs");
    let ended = within(tokio::task::spawn_blocking(move || service.process.wait()));
    let status = ended.await.expect("no panic").expect("it ends");
    assert!(status.success(), "{status}");
    drop(writer);
    std::fs::remove_file(pipe).expect("it is there");
}

#[tokio::test]
async fn plain_hyper_does_as_well() {
    let service = Service::start_binary(env!("CARGO_BIN_EXE_hyper_service"));
    assert_eq!(service.get("/prime/1009").await.body, "true\n");
    assert_eq!(service.get("/prime/1000").await.body, "false\n");
    assert_eq!(service.get("/").await.status, 404);
    let (slow, other) = tokio::join!(service.get(TOO_HARD), service.get("/prime/97"));
    assert_eq!((slow.status, other.status), (504, 200));
}

/// The trace of a request.
const TRACE: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

#[tokio::test]
async fn with_an_address_in_the_environment_the_work_is_done_on_a_cluster() {
    let Some(server) = NatsServer::start("") else {
        return;
    };
    let worker = ClusterWorker::start(&server);
    let service = Service::start_on(&server);
    let prime = service.get("/prime/1009").await;
    assert_eq!(prime.body, r#"{"number":1009,"is_prime":true}"#);
    let thumbnail = service.post("/thumbnail?width=32", picture(200)).await;
    let small = image::load_from_memory(&thumbnail.body).expect("a picture");
    assert_eq!((small.width(), small.height()), (32, 32));
    let traced = Request::post(format!("http://{}/thumbnail?width=8", service.address));
    let traced = traced
        .header("traceparent", TRACE)
        .body(Full::new(picture(9)));
    let answer = service.client.request(traced.expect("a request"));
    let answer = within(answer).await.expect("an answer");
    assert_eq!(answer.status(), 200);
    // Larger than a message of the server may be.
    let large = service
        .post("/thumbnail?width=8", vec![0; (4 << 20) + 1])
        .await;
    assert_eq!(large.status, 422, "{large:?}");
    let lines = service.get("/primes?from=96&count=3").await.body;
    assert_eq!(lines.split(|byte| *byte == b'\n').count(), 4);
    let poison = service.post("/thumbnail?width=8", "poison").await;
    assert_eq!(
        (poison.status, &poison.body[..]),
        (500, &b"the request failed\n"[..])
    );
    assert_eq!(service.get(TOO_HARD).await.status, 504);
    assert_eq!(service.get("/prime/97").await.status, 200);

    let bye = tokio::task::spawn_blocking(|| worker.end());
    let bye = within(bye).await.expect("it ends");
    assert!(
        bye.ends_with(" 2 failed\n"),
        "poison and the time-out: {bye}"
    );
    let log = std::fs::read_to_string(ClusterWorker::log(&server)).expect("the worker logs");
    let line = log.lines().find(|line| line.contains(TRACE));
    let line = line.unwrap_or_else(|| panic!("no trace in {log}"));
    assert!(
        line.contains("cluster task{") && line.contains("shrunk"),
        "{line}"
    );
}

/// The 99th percentile.
fn p99(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[(times.len() * 99).div_ceil(100) - 1]
}

/// How long health checks of the two services take, alternately, until `during` ends.
async fn health<T>(
    services: [&Service; 2],
    during: impl Future<Output = T>,
) -> ([Vec<Duration>; 2], T) {
    let mut times = [Vec::new(), Vec::new()];
    let mut during = std::pin::pin!(during);
    loop {
        for (place, service) in services.iter().enumerate() {
            let check = async {
                let begun = Instant::now();
                let answer = service.get("/healthz").await;
                (begun.elapsed(), answer.status)
            };
            tokio::select! {
                biased;
                (time, status) = check => {
                    assert_eq!(status, 200);
                    times[place].push(time);
                }
                done = &mut during => return (times, done),
            }
        }
        tokio::time::sleep(Duration::from_millis(2)).await; // The pace of the checks.
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_requests_with_hang_ups_and_crashes_leave_it_healthy_and_empty() {
    let service = Service::start();
    let warm = service.post("/thumbnail?width=8", picture(64)).await;
    assert_eq!(warm.status, 200);
    let idle = Service::start(); // The baseline on this machine at this time.
    let descriptors = service.descriptors();
    let upload = picture(256);

    let one = |number: u32| {
        let (service, upload) = (&service, upload.clone());
        async move {
            match number {
                n if n % 50 == 0 => service.post("/thumbnail?width=8", "poison").await.status,
                n if n % 10 == 1 => {
                    let client = service.ask_and_leave(TOO_HARD).await;
                    tokio::time::sleep(Duration::from_millis(n.into())).await; // Each starts at a different time.
                    drop(client);
                    0
                }
                n if n % 5 == 2 => service.post("/thumbnail?width=16", upload).await.status,
                n if n % 100 == 3 => service.post("/hash", "a password").await.status,
                n => service.get(&format!("/prime/{n}")).await.status,
            }
        }
    };
    let all = stream::iter(0..1000)
        .map(one)
        .buffer_unordered(1000)
        .collect::<Vec<u16>>();
    let ([loaded, idle], statuses) = health([&service, &idle], all).await;

    let mut counts = HashMap::<u16, u32>::new();
    for status in statuses {
        *counts.entry(status).or_default() += 1;
    }
    for status in counts.keys() {
        assert!([0, 200, 500, 503].contains(status), "{counts:?}");
    }
    assert_eq!(counts[&0], 100);
    assert!(counts[&200] > 0, "{counts:?}");
    assert!(
        counts.get(&500).is_none_or(|crashes| *crashes <= 20),
        "{counts:?}"
    );
    let (idle, loaded) = (p99(idle), p99(loaded));
    let most = 4 * idle + Duration::from_millis(50); // On a busy machine, the idle service is late too.
    assert!(loaded < most, "idle {idle:?}, loaded {loaded:?}");

    service.idle().await;
    assert_eq!(service.get("/prime/97").await.status, 200);
    eventually(|| service.descendants().len() <= 1 + cpus()).await; // The fork server, and the workers.
    eventually(|| service.descriptors() <= descriptors + 2 * cpus()).await;
}

fn cpus() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}
