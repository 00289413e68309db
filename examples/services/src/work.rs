//! The work that the service does in processes, and where these are: on this machine, or in a cluster.

use std::env;
use std::error::Error;
use std::io::Cursor;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use concurrent_futures::cluster::{self, ClusterExecutor, Functions, Worker};
use concurrent_futures::{
    Executor, Limits, ProcessPoolBuilder, ProcessPoolExecutor, Shutdown, TaskOptions, functions,
};
use image::ImageFormat;

/// The address of the cluster's servers. If it is not set, there is no cluster.
const CLUSTER_URL: &str = "CLUSTER_URL";
/// The queue of the service and its workers.
const QUEUE: &str = "services";

/// The executor: of this machine, unless the environment names a cluster. At most `capacity` tasks wait for it.
pub(crate) async fn executor(
    capacity: usize,
    options: TaskOptions,
) -> Result<Arc<dyn Executor>, Box<dyn Error>> {
    if let Ok(url) = env::var(CLUSTER_URL) {
        let cluster = ClusterExecutor::connect(url)
            .queue(QUEUE)
            .functions(tasks())
            .name("processes")
            .queue_capacity(capacity)
            .task_options(options);
        return Ok(Arc::new(cluster.build().await?));
    }
    let pool = processes().queue_capacity(capacity).task_options(options);
    let pool = pool.build()?;
    pool.warm_up().await?; // So that the first request does not wait for a start.
    Ok(Arc::new(pool))
}

/// Serves the cluster until SIGTERM or Ctrl-C.
pub(crate) async fn serve(drain: Duration) -> Result<(), Box<dyn Error>> {
    let pool = processes().build()?;
    pool.warm_up().await?;
    let url = env::var(CLUSTER_URL).map_err(|_| "CLUSTER_URL names no cluster to work for")?;
    let worker = Worker::connect(url)
        .queue(QUEUE)
        .functions(tasks())
        .drain_deadline(drain)
        .build(Arc::new(pool.clone()))
        .await?;
    println!("worker {}", worker.id());
    let report = worker.run_until(cluster::sigterm()).await;
    println!("bye: {} done, {} failed", report.done, report.failed);
    let how = Shutdown::new().deadline(Duration::from_secs(1));
    pool.shutdown_with(how).await;
    Ok(())
}

fn processes() -> ProcessPoolBuilder {
    ProcessPoolExecutor::builder().limits(Limits::new().nice(10)) // The runtime has priority.
}

/// The functions that service and workers call by name.
fn tasks() -> Functions {
    functions![is_prime, shrink]
}

pub(crate) fn is_prime(n: u64) -> bool {
    n > 1 && (2..=n.isqrt()).all(|divisor| !n.is_multiple_of(divisor))
}

/// Makes a picture smaller.
pub(crate) fn shrink(upload: Bytes, width: u32) -> Result<Bytes, String> {
    if upload.starts_with(b"poison") {
        std::process::abort(); // A decoder with a bug might do this.
    }
    let picture = image::load_from_memory(&upload).map_err(|error| format!("{error}\n"))?;
    let mut png = Cursor::new(Vec::new());
    let small = picture.thumbnail(width, u32::MAX);
    tracing::info!(bytes = upload.len(), width, "shrunk"); // On a cluster, in the log of the worker.
    small
        .write_to(&mut png, ImageFormat::Png)
        .map_err(|error| format!("{error}\n"))?;
    Ok(png.into_inner().into())
}
