//! Tests that run on each kind of executor.

pub(crate) mod gate;

use std::sync::Arc;
use std::time::Duration;

use concurrent_futures::{Executor, ExecutorExt as _, ProcessPoolExecutor, ThreadPoolExecutor};

/// One executor of each kind, with so many workers and so much room in its queue.
fn executors(workers: usize, queue_capacity: Option<usize>) -> Vec<Arc<dyn Executor>> {
    let mut threads = ThreadPoolExecutor::builder().max_workers(workers);
    let mut processes = ProcessPoolExecutor::builder().max_workers(workers);
    if let Some(capacity) = queue_capacity {
        threads = threads.queue_capacity(capacity);
        processes = processes.queue_capacity(capacity);
    }
    vec![
        Arc::new(threads.build().expect("the settings are valid")),
        Arc::new(processes.build().expect("the settings are valid")),
    ]
}

/// Runs a test on each kind of executor, with so many workers and so much room in its queue, and
/// shuts that down after it.
pub(crate) async fn on_each(
    workers: usize,
    queue_capacity: Option<usize>,
    test: impl AsyncFn(Arc<dyn Executor>),
) {
    for executor in executors(workers, queue_capacity) {
        test(executor.clone()).await;
        executor.shutdown().await;
    }
}

/// Lets tokio's clock jump, so that a time-out as long as no machine is slow has passed.
pub(crate) async fn jump(time: Duration) {
    tokio::time::pause();
    tokio::time::advance(time).await;
    tokio::time::resume();
}
