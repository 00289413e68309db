//! A cluster within one program: a server, workers that run tasks in processes, and their clients.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use concurrent_futures::cluster::{ClusterExecutor, Functions, Worker};
use concurrent_futures::{Executor, ExecutorExt as _, ProcessPoolBuilder, ProcessPoolExecutor};
use tokio::sync::oneshot;

use super::Kind;

#[path = "nats.rs"]
#[allow(
    dead_code,
    unreachable_pub,
    clippy::duplicate_mod,
    reason = "the tests of the cluster use all of it, in their own package"
)]
mod nats;

use self::nats::NatsServer;

/// A server, and the workers of all queues that a test makes.
pub(crate) struct Cluster {
    url: String,
    functions: Functions,
    queues: AtomicU32,
    workers: Mutex<Vec<WorkerThread>>,
}

/// A thread with a worker. Dropping it ends the worker and kills its tasks.
struct WorkerThread {
    stop: Option<oneshot::Sender<()>>,
    thread: Option<thread::JoinHandle<()>>,
}

/// Runs a test on a cluster with these functions. Does nothing if there is no server.
pub(crate) fn with_cluster(functions: Functions, test: impl FnOnce(Kind)) {
    /// Also if the test panics.
    struct Ends(&'static Cluster);

    impl Drop for Ends {
        fn drop(&mut self) {
            let workers = self.0.workers.lock();
            let workers = workers.map(|mut workers| std::mem::take(&mut *workers));
            drop(workers);
        }
    }

    let Some(server) = NatsServer::start("") else {
        return;
    };
    // Some bytes a test: a kind is copied as it likes.
    let cluster: &'static Cluster = Box::leak(Box::new(Cluster {
        url: server.url(),
        functions,
        queues: AtomicU32::new(0),
        workers: Mutex::default(),
    }));
    let ends = Ends(cluster);
    test(Kind::Cluster(cluster));
    drop(ends); // While the server is there.
}

impl Cluster {
    /// A client of a new queue. Its one worker program has `workers` processes.
    #[allow(dead_code, reason = "some test files leave it unused")]
    pub(crate) fn pool(
        &'static self,
        workers: usize,
        capacity: Option<usize>,
    ) -> Arc<dyn Executor> {
        let pool = ProcessPoolExecutor::builder().max_workers(workers);
        self.pool_on(pool, capacity)
    }

    /// A client of a new queue, whose worker program runs tasks on this pool.
    pub(crate) fn pool_on(
        &'static self,
        pool: ProcessPoolBuilder,
        capacity: Option<usize>,
    ) -> Arc<dyn Executor> {
        let queue = format!("q{}", self.queues.fetch_add(1, Ordering::Relaxed));
        self.start_worker(queue.clone(), pool);
        let mut client = ClusterExecutor::connect(&self.url)
            .queue(queue)
            .functions(self.functions.clone());
        if let Some(capacity) = capacity {
            client = client.queue_capacity(capacity);
        }
        // The caller may be in a runtime, which it must not block for long.
        let connect = thread::spawn(move || {
            block_on(async {
                let client = client.build().await.expect("a client");
                while client.stats().workers == 0 {
                    client.workers().await.expect("the server answers");
                }
                client
            })
        });
        Arc::new(connect.join().expect("no panic"))
    }

    /// Waits until the latest queue has this number of tasks. The server decides a cancel after its caller has asked.
    #[allow(dead_code, reason = "some test files leave it unused")]
    pub(crate) async fn until_left(&self, tasks: u64) {
        let queue = format!("q{}", self.queues.load(Ordering::Relaxed) - 1);
        let client = ClusterExecutor::connect(&self.url).queue(queue);
        let client = client.functions(self.functions.clone()).build().await;
        let client = client.expect("a client");
        loop {
            let depth = client.depth().await.expect("the server answers");
            if depth.waiting() + depth.running() == tasks {
                return;
            }
        }
    }

    fn start_worker(&self, queue: String, pool: ProcessPoolBuilder) {
        let (stop, stopped) = oneshot::channel();
        let builder = Worker::connect(&self.url)
            .queue(queue)
            .functions(self.functions.clone())
            .drain_deadline(Duration::ZERO);
        let thread = thread::spawn(move || {
            block_on(async {
                let pool = Arc::new(pool.build().expect("a pool"));
                let worker = builder.build(pool.clone()).await.expect("a worker");
                worker.run_until(async { drop(stopped.await) }).await;
                pool.shutdown().await;
            });
        });
        let worker = WorkerThread {
            stop: Some(stop),
            thread: Some(thread),
        };
        self.workers.lock().expect("no panic").push(worker);
    }
}

impl Drop for WorkerThread {
    fn drop(&mut self) {
        drop(self.stop.take());
        let ended = self.thread.take().expect("it is joined once").join();
        if !thread::panicking() {
            ended.expect("no panic");
        }
    }
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    runtime.expect("a runtime").block_on(future)
}
