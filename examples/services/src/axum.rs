//! A web service to copy from. CPU-bound work runs outside the runtime. Work that may crash runs in other processes. A
//! client that disconnects frees its worker. Under overload, requests are refused quickly.
//!
//! ```sh
//! cargo run --release -p services --bin axum_service -- --port 3000
//!
//! curl -d 'correct horse battery staple' http://127.0.0.1:3000/hash
//! curl --data-binary @photo.jpg 'http://127.0.0.1:3000/thumbnail?width=200' -o thumbnail.png
//! curl http://127.0.0.1:3000/prime/1099726899285419
//! curl 'http://127.0.0.1:3000/primes?from=1000000000&count=20'
//! curl http://127.0.0.1:3000/news
//! curl http://127.0.0.1:3000/metrics
//! curl http://127.0.0.1:3000/healthz
//! ```
//!
//! With `CLUSTER_URL=nats://host:4222` in its environment, the work for processes runs on a cluster. The workers are
//! the same program, on any machine: `axum_service worker`. What a thumbnail logs there has the `traceparent` header of
//! its request. To send spans to a collector, use `tracing-opentelemetry`, with `set_trace_propagator` and
//! `set_trace_continuer`.
//!
//! Ctrl-C or SIGTERM ends it: it accepts no more connections, and running requests have ten seconds to finish. It ends
//! even if a thread never returns.
//!
//! Under systemd, set `TimeoutStopSec=20`, more than the time of the shutdown. Its default `KillMode` sends SIGTERM to
//! the workers too, which ignore it. `KillMode=mixed` also spares the programs that tasks start.

mod work;

use std::error::Error;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use argon2::Argon2;
use argon2::password_hash::PasswordHasher as _;
use axum::body::{Body, Bytes};
use axum::extract::{DefaultBodyLimit, Path, Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use concurrent_futures::{
    Executor, ExecutorExt as _, Shutdown, TaskError, TaskOptions, ThreadPoolExecutor,
};
use futures::StreamExt as _;
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use serde::{Deserialize, Serialize};
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::signal::unix::{SignalKind, signal};

use self::work::{is_prime, shrink};

/// How many requests may wait for each pool. Further ones are refused, and the client may retry.
const QUEUE: usize = 64;
/// How long a request may wait, and then how long it may run.
const WAIT: Duration = Duration::from_secs(2);
const RUN: Duration = Duration::from_secs(5);
/// How long a shutdown may take.
const DRAIN: Duration = Duration::from_secs(10);
/// The largest upload, in bytes.
const UPLOAD: usize = 16 << 20;

#[derive(Clone)]
struct Service {
    /// For work that always ends and cannot crash.
    threads: Arc<ThreadPoolExecutor>,
    /// For work that may take long, and for untrusted input: in processes of this machine, or of others.
    processes: Arc<dyn Executor>,
    recorder: PrometheusHandle,
}

fn main() -> Result<(), Box<dyn Error>> {
    concurrent_futures::init();
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_ansi(false)
        .init();
    let runtime = Runtime::new()?;
    let served = runtime.block_on(run());
    // No thread can be killed. With `#[tokio::main]`, a thread that never returns would keep the program alive.
    runtime.shutdown_timeout(Duration::from_secs(1));
    served
}

async fn run() -> Result<(), Box<dyn Error>> {
    let port = match arguments()? {
        Role::Service { port } => port,
        Role::Worker => return work::serve(DRAIN).await,
    };
    // Before the pools, which use the recorder that is installed when they are built.
    let recorder = PrometheusBuilder::new().install_recorder()?;
    let options = TaskOptions::new().timeout(RUN).queue_timeout(WAIT);
    let threads = ThreadPoolExecutor::builder()
        .queue_capacity(QUEUE)
        .task_options(options.clone());
    let service = Service {
        threads: Arc::new(threads.build()?),
        processes: work::executor(QUEUE, options).await?,
        recorder,
    };

    let router = Router::new()
        .route("/hash", post(hash))
        .route(
            "/thumbnail",
            post(thumbnail).layer(DefaultBodyLimit::max(UPLOAD)),
        )
        .route("/prime/{n}", get(prime))
        .route("/primes", get(primes))
        .route("/news", get(news))
        .route("/metrics", get(metrics))
        .route("/healthz", get(|| async { "ok\n" }))
        .with_state(service.clone());
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await?;
    println!("listening on http://{}", listener.local_addr()?);

    let mut terminate = signal(SignalKind::terminate())?;
    let (ending, ended) = tokio::sync::oneshot::channel();
    let told = async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = tokio::signal::ctrl_c() => {}
        }
        println!("shutting down");
        let _ = ending.send(());
    };
    let serving = axum::serve(listener, router).with_graceful_shutdown(told);
    let overdue = async {
        let _ = ended.await;
        tokio::time::sleep(DRAIN).await;
    };
    tokio::select! {
        served = serving.into_future() => served?,
        () = overdue => println!("some clients have not taken their answers"),
    }
    let how = Shutdown::new()
        .cancel_pending(true)
        .deadline(Duration::from_secs(1));
    let (threads, processes) = tokio::join!(
        service.threads.shutdown_with(how),
        service.processes.shutdown_with(how)
    );
    let killed = threads.killed + processes.killed;
    println!("bye: {killed} tasks killed");
    Ok(())
}

enum Role {
    Service {
        port: u16,
    },
    /// Serves the cluster.
    Worker,
}

fn arguments() -> Result<Role, Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match *arguments {
        [] => Ok(Role::Service { port: 3000 }),
        ["--port", port] => Ok(Role::Service {
            port: port.parse()?,
        }),
        ["worker"] => Ok(Role::Worker),
        _ => Err("usage: axum_service [--port PORT | worker]".into()),
    }
}

/// On a thread: hashing is slow by design, but it ends and cannot crash.
async fn hash(State(service): State<Service>, password: String) -> Result<String, TaskError> {
    let hashing = service.threads.submit(
        move || {
            let hash = Argon2::default().hash_password(password.as_bytes());
            hash.map(|hash| format!("{hash}\n"))
                .expect("any password has a hash")
        },
        (),
    );
    hashing.abort_on_drop().await // If the client disconnects, this future is dropped.
}

#[derive(Deserialize)]
struct Size {
    width: u32,
}

/// In a process: an untrusted picture may crash its decoder, or use up the memory.
async fn thumbnail(
    State(service): State<Service>,
    Query(Size { width }): Query<Size>,
    headers: HeaderMap,
    upload: Bytes,
) -> Result<Response, TaskError> {
    let args = (upload, width.clamp(1, 4096));
    let options = of_trace(&headers);
    let shrinking = service.processes.submit_with(&options, shrink, args);
    Ok(match shrinking.abort_on_drop().await? {
        Ok(png) => ([(header::CONTENT_TYPE, "image/png")], png).into_response(),
        Err(reason) => (StatusCode::UNPROCESSABLE_ENTITY, reason).into_response(),
    })
}

/// The task belongs to the trace of its request, on whatever machine it runs.
fn of_trace(headers: &HeaderMap) -> TaskOptions {
    let header = headers.get("traceparent");
    match header.and_then(|header| header.to_str().ok()) {
        Some(header) => TaskOptions::new().traceparent(header),
        None => TaskOptions::new(),
    }
}

#[derive(Serialize)]
struct Prime {
    number: u64,
    is_prime: bool,
}

async fn prime(
    State(service): State<Service>,
    Path(number): Path<u64>,
) -> Result<Json<Prime>, TaskError> {
    let is_prime = service
        .processes
        .submit(is_prime, number)
        .abort_on_drop()
        .await?;
    Ok(Json(Prime { number, is_prime }))
}

#[derive(Deserialize)]
struct Numbers {
    from: u64,
    count: u64,
}

/// Sends a line of JSON for each number as soon as its result is known. If a client stops reading, the work stops.
async fn primes(State(service): State<Service>, Query(numbers): Query<Numbers>) -> Response {
    let numbers = numbers.from..numbers.from.saturating_add(numbers.count);
    let results = service.processes.map(is_prime, numbers.clone());
    let lines = futures::stream::iter(numbers)
        .zip(results)
        .map(|(number, result)| {
            let line = serde_json::to_string(&Prime {
                number,
                is_prime: result?,
            });
            Ok::<_, TaskError>(line.expect("it is plain data") + "\n")
        });
    let json_lines = [(header::CONTENT_TYPE, "application/x-ndjson")];
    (json_lines, Body::from_stream(lines)).into_response()
}

/// A file, read on a thread: the disk may be slow, and a network file system may never answer.
async fn news(State(service): State<Service>) -> Result<Response, TaskError> {
    let reading = service.threads.submit(
        || {
            let path = std::env::var_os("NEWS").unwrap_or_else(|| "/etc/motd".into());
            std::fs::read_to_string(path)
        },
        (),
    );
    Ok(match reading.abort_on_drop().await? {
        Ok(text) => text.into_response(),
        Err(_) => StatusCode::NOT_FOUND.into_response(),
    })
}

/// The metrics of the pools, in the format of Prometheus.
async fn metrics(State(service): State<Service>) -> String {
    service.recorder.render()
}
