//! A pipe of ours, with a worker process at the other end.

use std::time::{Duration, Instant};

use concurrent_futures::multiprocessing::{Connection, pipe};
use concurrent_futures::{ExecutorExt as _, ProcessPoolExecutor};
use tokio::runtime::Runtime;

use super::{Channel, Item, Role, serve};

/// By its blocking methods.
pub(crate) struct BlockingPipe<T> {
    to: Connection<T, T>,
    /// The same end, unless there is no peer.
    from: Connection<T, T>,
    /// Its worker is the peer.
    peer: Option<ProcessPoolExecutor>,
    runtime: Runtime,
}

fn peer<T: Item>(is_echo: bool, end: Connection<T, T>) {
    let role = if is_echo { Role::Echo } else { Role::Sink };
    serve(
        role,
        || end.blocking_recv().ok(),
        |item| end.blocking_send(item).ok(),
    );
}

impl<T: Item> Channel<T> for BlockingPipe<T> {
    const NAME: &'static str = "pipe";

    fn start(role: Role) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build();
        let runtime = runtime.expect("the threads start");
        let (ours, theirs) = pipe().expect("a pipe");
        let (from, pool) = match role {
            Role::Nobody => (theirs, None),
            _ => {
                let _in_it = runtime.enter();
                let pool = ProcessPoolExecutor::with_workers(1).expect("the settings are valid");
                drop(pool.submit(peer::<T>, (role == Role::Echo, theirs)));
                (ours.clone(), Some(pool))
            }
        };
        let mut channel = Self {
            to: ours,
            from,
            peer: pool,
            runtime,
        };
        channel.send(T::last());
        channel.receive(); // From here on it is there.
        channel
    }

    fn send(&mut self, item: T) {
        self.to.blocking_send(item).expect("the peer is there");
    }

    fn receive(&mut self) -> T {
        self.from.blocking_recv().expect("the peer is there")
    }
}

impl<T> Drop for BlockingPipe<T> {
    fn drop(&mut self) {
        if let Some(pool) = self.peer.take() {
            pool.kill_workers();
            self.runtime.block_on(pool.shutdown());
        }
    }
}

/// The same, with this end in a task.
pub(crate) struct AsyncPipe<T>(BlockingPipe<T>);

impl<T: Item> AsyncPipe<T> {
    fn run(
        &self,
        work: impl AsyncFnOnce(Connection<T, T>, Connection<T, T>) -> Duration,
    ) -> Duration {
        let (to, from) = (self.0.to.clone(), self.0.from.clone());
        self.0.runtime.block_on(work(to, from))
    }
}

impl<T: Item> Channel<T> for AsyncPipe<T> {
    const NAME: &'static str = "pipe, async";

    fn start(role: Role) -> Self {
        Self(BlockingPipe::start(role))
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
                to.send(item.clone()).await.expect("the peer is there");
                from.recv().await.expect("the peer is there");
            }
            start.elapsed()
        })
    }

    fn flood(&mut self, item: &T, times: u64) -> Duration {
        let item = item.clone();
        self.run(async move |to, from| {
            let start = Instant::now();
            for _ in 1..times {
                to.send(item.clone()).await.expect("the peer is there");
            }
            to.send(T::last()).await.expect("the peer is there");
            assert!(from.recv().await.expect("the peer is there").is_last());
            start.elapsed()
        })
    }
}
