//! The throughput of a web service whose CPU-bound work runs inline, by `spawn_blocking`, on a thread pool or on a
//! process pool: requests per second, their latency, and the latency of a light route meanwhile. `cargo bench -p
//! benches --bench web`
//!
//! The service has a runtime of two threads and two workers. Each of sixteen clients sends its next request as soon as
//! it has the answer. The results are also drawn, into `target/criterion/web.svg` or `$BENCH_PLOT`.

#[expect(dead_code, reason = "the other benches use the rest")]
#[path = "common/figure.rs"]
mod figure;
#[path = "common/plot.rs"]
mod plot;
#[expect(dead_code, reason = "the other benches use the rest")]
#[path = "common/table.rs"]
mod table;

use std::future::Future;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use argon2::password_hash::PasswordHasher as _;
use argon2::{Algorithm, Argon2, Params, Version};
use axum::Router;
use axum::routing::get;
use bytes::Bytes;
use concurrent_futures::{ExecutorExt as _, ProcessPoolExecutor, ThreadPoolExecutor};
use http_body_util::{BodyExt as _, Empty};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use tokio::runtime::{Builder, Runtime};

use self::figure::{Figure, Unit};
use self::table::Table;

const WORKERS: usize = 2;
const CLIENTS: usize = 16;
/// How long each contender is measured, and how long it is warmed up.
const TIME: Duration = Duration::from_secs(3);
const WARM_UP: Duration = Duration::from_millis(300);
/// The pace of the light requests.
const PACE: Duration = Duration::from_millis(2);

const CONTENDERS: [&str; 4] = ["inline", "spawn_blocking", "thread pool", "process pool"];

/// For each route: its requests per second, their latency, and the latency of light requests meanwhile.
const ROUTES: [(&str, [&str; 5]); 2] = [
    (
        "prime",
        [
            "/prime: requests",
            "/prime: p50",
            "/prime: p99",
            "beside /prime: p50",
            "beside /prime: p99",
        ],
    ),
    (
        "hash",
        [
            "/hash: requests",
            "/hash: p50",
            "/hash: p99",
            "beside /hash: p50",
            "beside /hash: p99",
        ],
    ),
];

fn main() {
    concurrent_futures::init();
    let is_test = std::env::args().any(|argument| argument == "--test");
    let (warm_up, time) = if is_test {
        (PACE, 20 * PACE)
    } else {
        (WARM_UP, TIME)
    };
    let mut table = Table::new(CONTENDERS.to_vec());
    for (_, [requests, times @ ..]) in ROUTES {
        table.add(requests, Unit::Call);
        for measure in times {
            table.add(measure, Unit::Time);
        }
    }
    let runtime = |threads| {
        Builder::new_multi_thread()
            .worker_threads(threads)
            .enable_all()
            .build()
    };
    let service: Runtime = runtime(WORKERS).expect("the threads start");
    let address = service.block_on(serve());
    // The clients have a runtime of their own, so that a stalled service does not stall them.
    let clients = Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("it starts");
    for (route, measures) in ROUTES {
        for contender in CONTENDERS {
            let path = format!("/{route}/{}", contender.replace(' ', "_"));
            clients.block_on(ask(address, &path, warm_up));
            let figures = clients.block_on(ask(address, &path, time));
            for (measure, figure) in measures.into_iter().zip(figures) {
                table.put(measure, contender, figure);
            }
        }
    }
    table.print();
    if !is_test {
        table.report("web");
    }
    let path = std::env::var_os("BENCH_PLOT").map(PathBuf::from);
    let path = path.unwrap_or_else(|| figure::criterion_home().join("web.svg"));
    let drawn: Vec<&str> = ROUTES.iter().flat_map(|(_, measures)| *measures).collect();
    let class = |contender: &str| {
        if contender.ends_with("pool") {
            "own"
        } else {
            "peer"
        }
    };
    if let Some(folder) = path.parent() {
        let _ = std::fs::create_dir_all(folder); // An error here occurs again below.
    }
    match std::fs::write(&path, plot::draw(&table, &drawn, class)) {
        Ok(()) => println!("Drawn in {}.", path.display()),
        Err(error) => println!("Not drawn in {}: {error}.", path.display()),
    }
}

/// About a millisecond of trial division.
fn prime() -> String {
    const NUMBER: u64 = 1_000_000_000_039;
    let is_prime = (2..=NUMBER.isqrt()).all(|divisor| !NUMBER.is_multiple_of(divisor));
    format!("{is_prime}\n")
}

/// A password's hash, with a tenth of the recommended memory.
fn hash() -> String {
    let params = Params::new(2048, 1, 1, None).expect("they are allowed");
    let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
    let hash = argon2.hash_password(b"correct horse battery staple");
    hash.expect("any password has a hash").to_string()
}

/// Starts a service with a route for each contender and each kind of work.
async fn serve() -> SocketAddr {
    let threads = Arc::new(ThreadPoolExecutor::with_workers(WORKERS).expect("a pool"));
    let processes = Arc::new(ProcessPoolExecutor::with_workers(WORKERS).expect("a pool"));
    let router = Router::new().route("/light", get(|| async { "ok\n" }));
    let router = with_routes(router, "prime", prime, &threads, &processes);
    let router = with_routes(router, "hash", hash, &threads, &processes);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
        .await
        .expect("a port");
    let address = listener.local_addr().expect("it is bound");
    tokio::spawn(async move { axum::serve(listener, router).await });
    address
}

fn with_routes<F>(
    router: Router,
    name: &str,
    work: F,
    threads: &Arc<ThreadPoolExecutor>,
    processes: &Arc<ProcessPoolExecutor>,
) -> Router
where
    F: Fn() -> String + Copy + Send + Sync + 'static,
{
    let (threads, processes) = (threads.clone(), processes.clone());
    let path = |contender: &str| format!("/{name}/{contender}");
    router
        .route(&path("inline"), get(move || async move { work() }))
        .route(
            &path("spawn_blocking"),
            get(move || async move { tokio::task::spawn_blocking(work).await.expect("no panic") }),
        )
        .route(
            &path("thread_pool"),
            get(move || async move { threads.submit(work, ()).abort_on_drop().await }),
        )
        .route(
            &path("process_pool"),
            get(move || async move { processes.submit(work, ()).abort_on_drop().await }),
        )
}

type Asker = Client<HttpConnector, Empty<Bytes>>;

/// Sends requests from all clients during that time. Returns the time per answered request, the median and the 99th
/// percentile of their latency, and the same two for light requests meanwhile.
async fn ask(address: SocketAddr, path: &str, time: Duration) -> [Figure; 5] {
    let client: Asker = Client::builder(TokioExecutor::new()).build_http();
    let over = AtomicBool::new(false);
    let heavy = format!("http://{address}{path}");
    let light = format!("http://{address}/light");
    let all = async {
        let begun = Instant::now();
        let clients = (0..CLIENTS).map(|_| until(&over, || one(&client, &heavy), Duration::ZERO));
        let times = futures::future::join_all(clients).await.concat();
        (begun.elapsed(), times)
    };
    let stop = async {
        tokio::time::sleep(time).await;
        over.store(true, Ordering::Relaxed);
    };
    let light = until(&over, || one(&client, &light), PACE);
    let ((took, heavy), light, ()) = tokio::join!(all, light, stop);
    let each = took.as_secs_f64() / heavy.len() as f64;
    let ([heavy50, heavy99], [light50, light99]) = (percentiles(heavy), percentiles(light));
    [each.into(), heavy50, heavy99, light50, light99]
}

/// Sends requests one after another until `over`. Returns how long each took.
async fn until<F: Future<Output = ()>>(
    over: &AtomicBool,
    request: impl Fn() -> F,
    pace: Duration,
) -> Vec<Duration> {
    let mut times = Vec::new();
    while !over.load(Ordering::Relaxed) {
        let begun = Instant::now();
        request().await;
        times.push(begun.elapsed());
        if !pace.is_zero() {
            tokio::time::sleep(pace).await;
        }
    }
    times
}

async fn one(client: &Asker, uri: &str) {
    let response = client
        .get(uri.parse().expect("a URI"))
        .await
        .expect("an answer");
    assert!(response.status().is_success(), "{}", response.status());
    response.into_body().collect().await.expect("a body");
}

fn percentiles(mut times: Vec<Duration>) -> [Figure; 2] {
    times.sort_unstable();
    [50, 99].map(|percent| {
        times[(times.len() - 1) * percent / 100]
            .as_secs_f64()
            .into()
    })
}
