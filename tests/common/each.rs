//! Runs tests on every kind of executor, with tasks whose order the test determines.

use std::sync::Arc;
use std::time::Duration;

use concurrent_futures::{
    Executor, ExecutorExt as _, ProcessPoolExecutor, StartMethod, ThreadPoolExecutor,
};

use super::common::{Gate, Guest, Key, within};

/// Longer than any test takes; see `jump`.
pub(crate) const HOUR: Duration = Duration::from_secs(3600);

/// One executor of each kind that works on this platform, with `workers` workers and room for `room` tasks in
/// its queue.
fn executors(workers: usize, room: usize) -> Vec<Arc<dyn Executor>> {
    let threads = ThreadPoolExecutor::builder().max_workers(workers);
    let threads = threads.queue_capacity(room).build().expect("threads");
    let mut executors: Vec<Arc<dyn Executor>> = vec![Arc::new(threads)];
    if StartMethod::available().next().is_some() {
        let processes = ProcessPoolExecutor::builder().max_workers(workers);
        let processes = processes.queue_capacity(room).build().expect("processes");
        executors.push(Arc::new(processes));
    }
    executors
}

/// Runs a test on each kind of executor, with `workers` workers and room for `room` tasks in its queue.
/// Shuts the executor down after the test.
pub(crate) async fn on_each(workers: usize, room: usize, test: impl AsyncFn(Arc<dyn Executor>)) {
    for executor in executors(workers, room) {
        test(executor.clone()).await;
        within(executor.shutdown()).await;
    }
}

/// Lets tokio's clock jump by an hour.
pub(crate) async fn jump() {
    tokio::time::pause();
    tokio::time::advance(HOUR).await;
    tokio::time::resume();
}

/// A gate for each of some items. Dropping them lets all tasks pass.
pub(crate) struct Gates(Vec<Gate>);

impl Gates {
    pub(crate) fn new(count: usize) -> Self {
        Self((0..count).map(|_| Gate::new()).collect())
    }

    /// The item with the key of its gate.
    pub(crate) fn item(&self, item: usize) -> (Key, u64) {
        (self.0[item].key(), item as u64)
    }

    /// The items with the keys of their gates.
    pub(crate) fn items(&self) -> impl Iterator<Item = (Key, u64)> + use<> {
        let items: Vec<_> = (0..self.0.len()).map(|item| self.item(item)).collect();
        items.into_iter()
    }

    /// Waits until the task with this item is at its gate.
    pub(crate) async fn guest(&self, item: usize) -> Guest {
        self.0[item].guest().await
    }
}

/// The task: waits at the gate, and returns the item.
pub(crate) fn pass(gate: Key, item: u64) -> u64 {
    gate.wait();
    item
}
