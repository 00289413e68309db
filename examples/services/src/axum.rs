//! A web service to copy from. CPU-bound work is off the runtime. Work that may crash runs in other
//! processes. A client that disconnects frees its worker. Overload gets a quick answer.
//!
//! ```sh
//! cargo run --release -p services --bin axum_service -- --port 3000
//!
//! curl -d 'correct horse battery staple' http://127.0.0.1:3000/hash
//! curl --data-binary @photo.jpg 'http://127.0.0.1:3000/thumbnail?width=200' -o thumbnail.png
//! curl http://127.0.0.1:3000/prime/1099726899285419
//! curl 'http://127.0.0.1:3000/primes?from=1000000000&count=20'
//! curl http://127.0.0.1:3000/metrics
//! curl http://127.0.0.1:3000/healthz
//! ```
//!
//! Ctrl-C or SIGTERM ends it: it accepts no more connections, and requests that run have ten seconds to
//! finish.
//!
//! Under systemd, set `TimeoutStopSec=20`, more than the time of the shutdown. Its default `KillMode` sends SIGTERM to
//! the workers too. They leave that to this process. `KillMode=mixed` spares the programs that tasks start as well.

use std::error::Error;
use std::io::Cursor;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use argon2::Argon2;
use argon2::password_hash::PasswordHasher as _;
use axum::body::{Body, Bytes};
use axum::extract::{DefaultBodyLimit, Path, Query, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use concurrent_futures::{
    Executor as _, ExecutorExt as _, Limits, ProcessPoolExecutor, Shutdown, TaskError, TaskOptions,
    ThreadPoolExecutor,
};
use futures::StreamExt as _;
use image::ImageFormat;
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use serde::{Deserialize, Serialize};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

/// How many requests may wait for each pool. Any more are refused, and the client may retry.
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
    /// For work that may take long, and for untrusted input.
    processes: Arc<ProcessPoolExecutor>,
    recorder: PrometheusHandle,
}

fn main() -> Result<(), Box<dyn Error>> {
    concurrent_futures::init();
    run()
}

#[tokio::main]
async fn run() -> Result<(), Box<dyn Error>> {
    // Before the pools, which look for the recorder when they are built.
    let recorder = PrometheusBuilder::new().install_recorder()?;
    let options = TaskOptions::new().timeout(RUN).queue_timeout(WAIT);
    let threads = ThreadPoolExecutor::builder()
        .queue_capacity(QUEUE)
        .task_options(options.clone());
    let processes = ProcessPoolExecutor::builder()
        .queue_capacity(QUEUE)
        .limits(Limits::new().nice(10)) // The runtime has priority.
        .task_options(options);
    let service = Service {
        threads: Arc::new(threads.build()?),
        processes: Arc::new(processes.build()?),
        recorder,
    };
    service.processes.warm_up().await?; // So the first request does not wait for a start.

    let router = Router::new()
        .route("/hash", post(hash))
        .route(
            "/thumbnail",
            post(thumbnail).layer(DefaultBodyLimit::max(UPLOAD)),
        )
        .route("/prime/{n}", get(prime))
        .route("/primes", get(primes))
        .route("/metrics", get(metrics))
        .route("/healthz", get(|| async { "ok\n" }))
        .with_state(service.clone());
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port()?)).await?;
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

fn port() -> Result<u16, Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    match (
        arguments.next().as_deref(),
        arguments.next(),
        arguments.next(),
    ) {
        (None, ..) => Ok(3000),
        (Some("--port"), Some(port), None) => Ok(port.parse()?),
        _ => Err("usage: axum_service [--port PORT]".into()),
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
    hashing.abort_on_drop().await // If the client goes away, this future is dropped.
}

#[derive(Deserialize)]
struct Size {
    width: u32,
}

/// In a process: an untrusted picture may crash its decoder, or use all memory.
async fn thumbnail(
    State(service): State<Service>,
    Query(Size { width }): Query<Size>,
    upload: Bytes,
) -> Result<Response, TaskError> {
    let shrinking = service
        .processes
        .submit(shrink, (upload, width.clamp(1, 4096)));
    Ok(match shrinking.abort_on_drop().await? {
        Ok(png) => ([(header::CONTENT_TYPE, "image/png")], png).into_response(),
        Err(reason) => (StatusCode::UNPROCESSABLE_ENTITY, reason).into_response(),
    })
}

fn shrink(upload: Bytes, width: u32) -> Result<Bytes, String> {
    if upload.starts_with(b"poison") {
        std::process::abort(); // As a decoder with a bug might do.
    }
    let picture = image::load_from_memory(&upload).map_err(|error| format!("{error}\n"))?;
    let mut png = Cursor::new(Vec::new());
    let small = picture.thumbnail(width, u32::MAX);
    small
        .write_to(&mut png, ImageFormat::Png)
        .map_err(|error| format!("{error}\n"))?;
    Ok(png.into_inner().into())
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

fn is_prime(n: u64) -> bool {
    n > 1 && (2..=n.isqrt()).all(|divisor| !n.is_multiple_of(divisor))
}

#[derive(Deserialize)]
struct Numbers {
    from: u64,
    count: u64,
}

/// Sends a line of JSON for each number as soon as it is known. A client that stops reading stops the work.
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

/// The metrics of the pools, in the format of Prometheus.
async fn metrics(State(service): State<Service>) -> String {
    service.recorder.render()
}
