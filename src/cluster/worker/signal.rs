//! When a worker program should end.

/// Waits for a signal to end: SIGTERM, which systemd and Kubernetes send, or Ctrl-C.
///
/// ```no_run
/// use std::sync::Arc;
/// use concurrent_futures::{ProcessPoolExecutor, cluster, functions};
///
/// # async fn serve() -> Result<(), Box<dyn std::error::Error>> {
/// let pool = Arc::new(ProcessPoolExecutor::new()?);
/// let worker = cluster::Worker::connect("nats://localhost")
///     .functions(functions![u64::pow])
///     .build(pool)
///     .await?;
/// worker.run_until(cluster::sigterm()).await;
/// # Ok(()) }
/// ```
///
/// From the first poll on, these signals no longer end the program. If the system refuses to watch a signal, this does
/// not wait for it, and the signal ends the program as before.
///
/// # Panics
/// Outside a tokio runtime with `enable_io` or `enable_all`.
///
/// # Cancel safety
/// Cancel safe.
///
/// # Platform
/// Where there is no SIGTERM, it waits for Ctrl-C.
pub async fn sigterm() {
    let interrupted = async {
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
    };
    tokio::select! {
        () = interrupted => {}
        () = terminated() => {}
    }
}

#[cfg(unix)]
async fn terminated() {
    use tokio::signal::unix::{SignalKind, signal};

    match signal(SignalKind::terminate()) {
        Ok(mut terminate) => {
            terminate.recv().await;
        }
        Err(_) => std::future::pending().await,
    }
}

#[cfg(not(unix))]
async fn terminated() {
    std::future::pending::<()>().await;
}
