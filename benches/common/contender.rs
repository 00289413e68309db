//! The contenders. To add one, write an `impl Contender` here and a line in `each_contender!`.

use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use concurrent_futures::{Executor, ExecutorExt as _, ProcessPoolExecutor, ThreadPoolExecutor};
use futures::future::FutureExt as _;
use futures::stream::{self, StreamExt as _, TryStreamExt as _};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio_rayon::AsyncThreadPool as _;
use tokio_rayon::rayon;
use tokio_rayon::rayon::iter::{IntoParallelIterator as _, ParallelIterator as _};

/// How many workers each contender has.
pub(crate) const WORKERS: usize = 2;

/// How many calls are in progress at the same time while a list is processed by hand.
const AHEAD: usize = 64;

/// A plain function, known by its type, so that another process can find it.
pub(crate) trait Work: 'static {
    type Input: Serialize + DeserializeOwned + Send + 'static;
    type Output: Serialize + DeserializeOwned + Send + 'static;

    fn run(input: Self::Input) -> Self::Output;
}

pub(crate) struct Noop;
impl Work for Noop {
    type Input = ();
    type Output = ();

    fn run((): ()) {}
}

/// Computes for this number of milliseconds.
pub(crate) struct Compute<const MILLIS: u64>;
impl<const MILLIS: u64> Work for Compute<MILLIS> {
    type Input = ();
    type Output = ();

    fn run((): ()) {
        let end = Instant::now() + Duration::from_millis(MILLIS);
        while Instant::now() < end {
            std::hint::spin_loop();
        }
    }
}

pub(crate) struct Echo;
impl Work for Echo {
    type Input = Vec<u8>;
    type Output = Vec<u8>;

    fn run(data: Vec<u8>) -> Vec<u8> {
        data
    }
}

pub(crate) struct AddOne;
impl Work for AddOne {
    type Input = u64;
    type Output = u64;

    fn run(x: u64) -> u64 {
        x + 1
    }
}

/// [`AddOne`] over a chunk, for contenders without a `map`.
pub(crate) struct AddOneToEach;
impl Work for AddOneToEach {
    type Input = Vec<u64>;
    type Output = Vec<u64>;

    fn run(mut chunk: Vec<u64>) -> Vec<u64> {
        for x in &mut chunk {
            *x = AddOne::run(*x);
        }
        chunk
    }
}

/// One way to run work off the async threads.
pub(crate) trait Contender: Sized + Send + Sync + 'static {
    const NAME: &'static str;

    /// How many small calls make a batch, all of them pending at once.
    const BATCH: u64 = 20_000;

    /// Starts with the usual number of workers. Called in a runtime.
    fn start() -> Self {
        Self::with_workers(WORKERS)
    }

    /// As `start`, with this number of workers, if the contender allows that.
    fn with_workers(workers: usize) -> Self;

    /// Waits until all workers are ready.
    fn warm_up(&self) -> impl Future<Output = ()> + Send {
        async {}
    }

    /// Submits the call at once, before the future is polled.
    fn submit<W: Work>(&self, input: W::Input) -> impl Future<Output = W::Output> + Send;

    /// Ends its workers.
    fn stop(self) -> impl Future<Output = ()> + Send {
        async { drop(self) }
    }
}

/// Adds one to each of `0..count` by calls with a vector of `chunk` numbers, in order. Returns the sum. A failure
/// concerns a whole vector.
pub(crate) async fn map_by_hand<C: Contender>(contender: &C, count: u64, chunk: u64) -> u64 {
    let chunks = stream::iter((0..count).step_by(chunk as usize))
        .map(|start| (start..count.min(start + chunk)).collect());
    let calls = chunks.map(|chunk| contender.submit::<AddOneToEach>(chunk));
    calls
        .buffered(AHEAD)
        .fold(0, async |sum, chunk| sum + chunk.into_iter().sum::<u64>())
        .await
}

/// A contender that maps item by item.
pub(crate) trait Maps: Contender {
    /// Adds one to each of `0..count`, in order. Returns the sum.
    fn map(&self, count: u64) -> impl Future<Output = u64> + Send;
}

/// The `map` of the crate's executors: each item is a call that fails by itself.
fn map_by_executor(executor: &impl Executor, count: u64) -> impl Future<Output = u64> + Send {
    let results = executor.map(AddOne::run, 0..count);
    let sum = results.try_fold(0, async |sum, x| Ok(sum + x));
    sum.map(|sum| sum.expect("the tasks return"))
}

pub(crate) struct ProcessPool(ProcessPoolExecutor);

impl Contender for ProcessPool {
    const NAME: &'static str = "process pool";

    fn with_workers(workers: usize) -> Self {
        Self(ProcessPoolExecutor::with_workers(workers).expect("the settings are valid"))
    }

    async fn warm_up(&self) {
        self.0.warm_up().await.expect("the workers start");
    }

    fn submit<W: Work>(&self, input: W::Input) -> impl Future<Output = W::Output> + Send {
        let handle = self.0.submit(W::run, input);
        handle.map(|result| result.expect("the task returns"))
    }

    async fn stop(self) {
        self.0.shutdown().await;
    }
}

impl Maps for ProcessPool {
    fn map(&self, count: u64) -> impl Future<Output = u64> + Send {
        map_by_executor(&self.0, count)
    }
}

pub(crate) struct ThreadPool(ThreadPoolExecutor);

impl Contender for ThreadPool {
    const NAME: &'static str = "thread pool";

    fn with_workers(workers: usize) -> Self {
        Self(ThreadPoolExecutor::with_workers(workers).expect("the settings are valid"))
    }

    fn submit<W: Work>(&self, input: W::Input) -> impl Future<Output = W::Output> + Send {
        let handle = self.0.submit(W::run, input);
        handle.map(|result| result.expect("the task returns"))
    }

    async fn stop(self) {
        self.0.shutdown().await;
    }
}

impl Maps for ThreadPool {
    fn map(&self, count: u64) -> impl Future<Output = u64> + Send {
        map_by_executor(&self.0, count)
    }
}

/// Tokio's own threads for blocking work. The runtime allows as many as the others have workers.
pub(crate) struct SpawnBlocking;

impl Contender for SpawnBlocking {
    const NAME: &'static str = "spawn_blocking";

    fn with_workers(_: usize) -> Self {
        Self
    }

    fn submit<W: Work>(&self, input: W::Input) -> impl Future<Output = W::Output> + Send {
        let handle = tokio::task::spawn_blocking(|| W::run(input));
        handle.map(|result| result.expect("the task returns"))
    }
}

/// Each item is a call, as many at a time as keep the threads busy.
impl Maps for SpawnBlocking {
    async fn map(&self, count: u64) -> u64 {
        let calls = stream::iter(0..count).map(|x| self.submit::<AddOne>(x));
        calls.buffered(AHEAD).fold(0, async |sum, x| sum + x).await
    }
}

/// On the threads of the runtime itself, for contrast.
pub(crate) struct Inline;

impl Contender for Inline {
    const NAME: &'static str = "inline";

    fn with_workers(_: usize) -> Self {
        Self
    }

    fn submit<W: Work>(&self, input: W::Input) -> impl Future<Output = W::Output> + Send {
        let handle = tokio::spawn(async { W::run(input) });
        handle.map(|result| result.expect("the task returns"))
    }
}

pub(crate) struct TokioRayon(rayon::ThreadPool);

impl Contender for TokioRayon {
    const NAME: &'static str = "tokio-rayon";

    fn with_workers(workers: usize) -> Self {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(workers);
        Self(pool.build().expect("the threads start"))
    }

    fn submit<W: Work>(&self, input: W::Input) -> impl Future<Output = W::Output> + Send {
        self.0.spawn_fifo_async(|| W::run(input))
    }
}

/// By `par_iter`: it takes a list and returns a list, and a panic concerns the whole list.
impl Maps for TokioRayon {
    async fn map(&self, count: u64) -> u64 {
        let results = self.0.spawn_fifo_async(move || {
            let items = (0..count).into_par_iter();
            items.map(AddOne::run).collect::<Vec<_>>()
        });
        results.await.into_iter().sum()
    }
}

/// Its handles have only a blocking wait, which this uses.
pub(crate) struct Procspawn(procspawn::Pool);

impl Contender for Procspawn {
    const NAME: &'static str = "procspawn";
    /// Each call holds three descriptors, and a process often may have no more than 1024.
    const BATCH: u64 = 200;

    fn with_workers(workers: usize) -> Self {
        Self(procspawn::Pool::new(workers).expect("the processes start"))
    }

    fn submit<W: Work>(&self, input: W::Input) -> impl Future<Output = W::Output> + Send {
        let handle = self.0.spawn(input, W::run);
        async { handle.join().expect("the task returns") }
    }
}

/// Batches of calls that do nothing. In each batch, all calls are submitted, then all are awaited.
pub(crate) async fn submit_batches<C: Contender>(
    contender: Arc<C>,
    times: u64,
    batch: u64,
) -> Duration {
    let start = Instant::now();
    for _ in 0..times {
        let calls: Vec<_> = (0..batch).map(|_| contender.submit::<Noop>(())).collect();
        for call in calls {
            call.await;
        }
    }
    start.elapsed()
}
