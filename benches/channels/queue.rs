//! Two of our queues, with a worker process as the peer.

use std::time::{Duration, Instant};

use concurrent_futures::multiprocessing::Queue;
use concurrent_futures::{ExecutorExt as _, ProcessPoolExecutor};
use tokio::runtime::Runtime;

use super::{Channel, Item, Role, serve};

/// By its blocking methods.
pub(crate) struct BlockingQueue<T> {
    to: Queue<T>,
    from: Queue<T>,
    /// Its worker is the peer.
    peer: Option<ProcessPoolExecutor>,
    runtime: Runtime,
}

fn peer<T: Item>(is_echo: bool, from: Queue<T>, to: Queue<T>) {
    let role = if is_echo { Role::Echo } else { Role::Sink };
    serve(
        role,
        || from.blocking_get().ok(),
        |item| to.blocking_put(item).ok(),
    );
}

impl<T: Item> Channel<T> for BlockingQueue<T> {
    const NAME: &'static str = "queue";

    fn start(role: Role) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build();
        let runtime = runtime.expect("the threads start");
        let to = Queue::unbounded().expect("a queue");
        let mut from = Queue::unbounded().expect("a queue");
        let pool = match role {
            Role::Nobody => {
                from = to.clone();
                None
            }
            _ => {
                let _in_it = runtime.enter();
                let pool = ProcessPoolExecutor::with_workers(1).expect("the settings are valid");
                let is_echo = role == Role::Echo;
                drop(pool.submit(peer::<T>, (is_echo, to.clone(), from.clone())));
                Some(pool)
            }
        };
        let mut channel = Self {
            to,
            from,
            peer: pool,
            runtime,
        };
        channel.send(T::last());
        channel.receive(); // From here on it is there.
        channel
    }

    fn send(&mut self, item: T) {
        self.to.blocking_put(item).expect("there is room");
    }

    fn receive(&mut self) -> T {
        self.from.blocking_get().expect("there is an item")
    }
}

impl<T> Drop for BlockingQueue<T> {
    fn drop(&mut self) {
        if let Some(pool) = self.peer.take() {
            pool.kill_workers();
            self.runtime.block_on(pool.shutdown());
        }
    }
}

/// The same, with this end in a task.
pub(crate) struct AsyncQueue<T>(BlockingQueue<T>);

impl<T: Item> AsyncQueue<T> {
    fn run(
        &self,
        work: impl AsyncFnOnce(Queue<T>, Queue<T>) -> Duration + Send + 'static,
    ) -> Duration
    where
        T: Send,
    {
        let (to, from) = (self.0.to.clone(), self.0.from.clone());
        self.0.runtime.block_on(work(to, from))
    }
}

impl<T: Item> Channel<T> for AsyncQueue<T> {
    const NAME: &'static str = "queue, async";

    fn start(role: Role) -> Self {
        Self(BlockingQueue::start(role))
    }

    fn send(&mut self, item: T) {
        self.0.send(item);
    }

    fn receive(&mut self) -> T {
        self.0.receive()
    }

    fn round_trips(&mut self, item: &T, times: u64) -> Duration {
        let item = item.clone();
        self.run(async move |to, from| {
            let start = Instant::now();
            for _ in 0..times {
                to.put(item.clone()).await.expect("there is room");
                from.get().await.expect("there is an item");
            }
            start.elapsed()
        })
    }

    fn flood(&mut self, item: &T, times: u64) -> Duration {
        let item = item.clone();
        self.run(async move |to, from| {
            let start = Instant::now();
            for _ in 1..times {
                to.put(item.clone()).await.expect("there is room");
            }
            to.put(T::last()).await.expect("there is room");
            assert!(from.get().await.expect("there is an item").is_last());
            start.elapsed()
        })
    }
}
