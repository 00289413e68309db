//! A server, a worker on threads of this program, and a client.

use std::future::Future;
use std::sync::Arc;
use std::sync::mpsc;
use std::time::Duration;

use cluster_tests::NatsServer;
use concurrent_futures::ThreadPoolExecutor;
use concurrent_futures::cluster::{ClusterBuilder, ClusterExecutor, Functions, Worker};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// Longer than any step of these tests takes.
pub(crate) const LIMIT: Duration = Duration::from_secs(60);

pub(crate) async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(LIMIT, future)
        .await
        .expect("it ends in time")
}

/// Waits until `is_so` holds.
pub(crate) async fn eventually(mut is_so: impl FnMut() -> bool) {
    within(async {
        while !is_so() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    })
    .await;
}

/// A worker that serves until it is dropped or stopped.
pub(crate) struct Serving {
    stop: Option<oneshot::Sender<()>>,
    task: JoinHandle<()>,
}

impl Serving {
    pub(crate) async fn start(server: &NatsServer, functions: Functions, threads: usize) -> Self {
        let pool = Arc::new(ThreadPoolExecutor::with_workers(threads).expect("a pool"));
        let worker = Worker::connect(server.url())
            .queue("primes")
            .functions(functions);
        let worker = worker.build(pool).await.expect("a worker");
        let (stop, stopped) = oneshot::channel();
        let task = tokio::spawn(async move {
            worker.run_until(async move { drop(stopped.await) }).await;
        });
        Self {
            stop: Some(stop),
            task,
        }
    }

    /// Drains it.
    pub(crate) async fn stop(mut self) {
        drop(self.stop.take());
        within(&mut self.task).await.expect("no panic");
    }
}

pub(crate) fn builder(server: &NatsServer, functions: Functions) -> ClusterBuilder {
    ClusterExecutor::connect(server.url())
        .queue("primes")
        .functions(functions)
}

pub(crate) async fn client(server: &NatsServer, functions: Functions) -> ClusterExecutor {
    builder(server, functions).build().await.expect("a client")
}

/// Tasks wait here until the test opens it. Each test has its own gate in a static.
pub(crate) struct Gate(std::sync::Mutex<(u64, bool)>, std::sync::Condvar);

impl Gate {
    pub(crate) const fn new() -> Self {
        Self(std::sync::Mutex::new((0, false)), std::sync::Condvar::new())
    }

    /// Counts an arrival, and waits until the gate is open.
    pub(crate) fn pass(&self) {
        let mut state = self.0.lock().expect("no panic");
        state.0 += 1;
        while !state.1 {
            state = self.1.wait(state).expect("no panic");
        }
    }

    pub(crate) fn open(&self) {
        self.0.lock().expect("no panic").1 = true;
        self.1.notify_all();
    }

    /// How many tasks have arrived.
    pub(crate) fn arrived(&self) -> u64 {
        self.0.lock().expect("no panic").0
    }
}

/// Runs `act` on a thread without a runtime.
pub(crate) fn without_runtime<T: Send + 'static>(act: impl FnOnce() -> T + Send + 'static) -> T {
    let (give, take) = mpsc::channel();
    std::thread::spawn(move || give.send(act()));
    take.recv_timeout(LIMIT).expect("it ends in time")
}
