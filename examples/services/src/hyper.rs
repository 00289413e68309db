//! The same service without a framework, with only hyper and a pool. The pools do not depend on axum.
//!
//! ```sh
//! cargo run --release -p services --bin hyper_service -- --port 3001
//! curl http://127.0.0.1:3001/prime/1099726899285419
//! ```
//!
//! Ctrl-C or SIGTERM ends it.
//!
//! Under systemd, set `TimeoutStopSec=20`, more than the time of the shutdown. Its default `KillMode` sends SIGTERM to
//! the workers too, which ignore it. `KillMode=mixed` also spares the programs that tasks start.

use std::convert::Infallible;
use std::error::Error;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use concurrent_futures::{
    Executor as _, ExecutorExt as _, ProcessPoolExecutor, Shutdown, TaskError, TaskOptions,
};
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::signal::unix::{SignalKind, signal};

fn main() -> Result<(), Box<dyn Error>> {
    concurrent_futures::init();
    let runtime = Runtime::new()?;
    let served = runtime.block_on(run());
    runtime.shutdown_background(); // The pool has ended, so there is nothing to wait for.
    served
}

async fn run() -> Result<(), Box<dyn Error>> {
    let limits = TaskOptions::new()
        .timeout(Duration::from_secs(5))
        .queue_timeout(Duration::from_secs(2));
    let cpus = thread::available_parallelism()?.get();
    let pool = ProcessPoolExecutor::builder()
        .max_workers(cpus.max(2)) // Even on one CPU, a slow request leaves a worker for the others.
        .queue_capacity(64)
        .task_options(limits)
        .build()?;
    let pool = Arc::new(pool);
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port()?)).await?;
    println!("listening on http://{}", listener.local_addr()?);

    let mut terminate = signal(SignalKind::terminate())?;
    loop {
        let stream = tokio::select! {
            accepted = listener.accept() => accepted?.0,
            _ = terminate.recv() => break,
            _ = tokio::signal::ctrl_c() => break,
        };
        let pool = pool.clone();
        let answer = service_fn(move |request| answer(pool.clone(), request));
        // When the client disconnects, the connection is dropped, with the response in progress.
        tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), answer));
    }
    pool.shutdown_with(Shutdown::new().deadline(Duration::from_secs(10)))
        .await;
    Ok(())
}

fn port() -> Result<u16, Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    match (
        arguments.next().as_deref(),
        arguments.next(),
        arguments.next(),
    ) {
        (None, ..) => Ok(3001),
        (Some("--port"), Some(port), None) => Ok(port.parse()?),
        _ => Err("usage: hyper_service [--port PORT]".into()),
    }
}

async fn answer(
    pool: Arc<ProcessPoolExecutor>,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let number = request.uri().path().strip_prefix("/prime/");
    let (status, text) = match number.and_then(|number| number.parse().ok()) {
        None => (StatusCode::NOT_FOUND, "not found\n".to_owned()),
        Some(number) => match pool.submit(is_prime, number).abort_on_drop().await {
            Ok(is_prime) => (StatusCode::OK, format!("{is_prime}\n")),
            Err(error) => {
                eprintln!("{error}"); // The log gets the details, the client only the status.
                (status(&error), "no answer\n".to_owned())
            }
        },
    };
    let mut response = Response::new(Full::from(text));
    *response.status_mut() = status;
    Ok(response)
}

fn is_prime(n: u64) -> bool {
    n > 1 && (2..=n.isqrt()).all(|divisor| !n.is_multiple_of(divisor))
}

fn status(error: &TaskError) -> StatusCode {
    match error {
        error if error.is_timeout() => StatusCode::GATEWAY_TIMEOUT,
        error if error.is_rejected() || error.is_shutdown() => StatusCode::SERVICE_UNAVAILABLE,
        _ => StatusCode::INTERNAL_SERVER_ERROR,
    }
}
