//! The crate's queue and pipe, with a worker process as the peer.

use std::time::{Duration, Instant};

use concurrent_futures::multiprocessing::{Connection, Queue, pipe};
use concurrent_futures::{Data, ExecutorExt as _, ProcessPoolExecutor};
use serde::{Deserialize, Serialize};
use tokio::runtime::Runtime;

use super::{Channel, Item, Role, serve};

/// The types of the sending and the receiving end.
pub(crate) trait Carrier<T>: Data + Clone + Sync {
    const NAME: &'static str;
    const NAME_IN_TASK: &'static str;

    /// The ends of two processes.
    fn pair() -> [Ends<Self>; 2];

    /// The ends of a process that receives its own items.
    fn alone() -> Ends<Self>;

    fn blocking_send(&self, item: T) -> Option<()>;

    fn blocking_receive(&self) -> Option<T>;

    async fn send(&self, item: T);

    async fn receive(&self) -> T;
}

#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Ends<C> {
    to: C,
    from: C,
}

impl<T: Item> Carrier<T> for Queue<T> {
    const NAME: &'static str = "queue";
    const NAME_IN_TASK: &'static str = "queue, async";

    fn pair() -> [Ends<Self>; 2] {
        let [to, from] = [(); 2].map(|()| Queue::unbounded().expect("a queue"));
        let theirs = Ends {
            to: from.clone(),
            from: to.clone(),
        };
        [Ends { to, from }, theirs]
    }

    fn alone() -> Ends<Self> {
        let to = Queue::unbounded().expect("a queue");
        let from = to.clone();
        Ends { to, from }
    }

    fn blocking_send(&self, item: T) -> Option<()> {
        self.blocking_put(item).ok()
    }

    fn blocking_receive(&self) -> Option<T> {
        self.blocking_get().ok()
    }

    async fn send(&self, item: T) {
        self.put(item).await.expect("there is room");
    }

    async fn receive(&self) -> T {
        self.get().await.expect("there is an item")
    }
}

impl<T: Item> Carrier<T> for Connection<T, T> {
    const NAME: &'static str = "pipe";
    const NAME_IN_TASK: &'static str = "pipe, async";

    fn pair() -> [Ends<Self>; 2] {
        let (ours, theirs) = pipe().expect("a pipe");
        [ours, theirs].map(|to| Ends {
            from: to.clone(),
            to,
        })
    }

    fn alone() -> Ends<Self> {
        let (to, from) = pipe().expect("a pipe");
        Ends { to, from }
    }

    fn blocking_send(&self, item: T) -> Option<()> {
        Connection::blocking_send(self, item).ok()
    }

    fn blocking_receive(&self) -> Option<T> {
        self.blocking_recv().ok()
    }

    async fn send(&self, item: T) {
        Connection::send(self, item)
            .await
            .expect("the peer is there");
    }

    async fn receive(&self) -> T {
        self.recv().await.expect("the peer is there")
    }
}

/// Uses the blocking methods.
pub(crate) struct Blocking<C> {
    ends: Ends<C>,
    /// Its worker is the peer.
    peer: Option<ProcessPoolExecutor>,
    runtime: Runtime,
}

pub(crate) type BlockingQueue<T> = Blocking<Queue<T>>;
pub(crate) type BlockingPipe<T> = Blocking<Connection<T, T>>;

fn peer<T: Item, C: Carrier<T>>(is_echo: bool, ends: Ends<C>) {
    let role = if is_echo { Role::Echo } else { Role::Sink };
    serve(
        role,
        || ends.from.blocking_receive(),
        |item| ends.to.blocking_send(item),
    );
}

impl<T: Item, C: Carrier<T>> Channel<T> for Blocking<C> {
    const NAME: &'static str = C::NAME;

    fn start(role: Role) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build();
        let runtime = runtime.expect("the threads start");
        let (ends, pool) = if role == Role::Nobody {
            (C::alone(), None)
        } else {
            let [ours, theirs] = C::pair();
            let _in_it = runtime.enter();
            let pool = ProcessPoolExecutor::with_workers(1).expect("the settings are valid");
            drop(pool.submit(peer::<T, C>, (role == Role::Echo, theirs)));
            (ours, Some(pool))
        };
        let mut channel = Self {
            ends,
            peer: pool,
            runtime,
        };
        channel.send(T::last());
        Channel::<T>::receive(&mut channel); // The peer is ready after this.
        channel
    }

    fn send(&mut self, item: T) {
        self.ends.to.blocking_send(item).expect("the peer is there");
    }

    fn receive(&mut self) -> T {
        self.ends
            .from
            .blocking_receive()
            .expect("the peer is there")
    }
}

impl<C> Drop for Blocking<C> {
    fn drop(&mut self) {
        if let Some(pool) = self.peer.take() {
            pool.kill_workers();
            self.runtime.block_on(pool.shutdown());
        }
    }
}

/// The same, with this end in a task.
pub(crate) struct InTask<C>(Blocking<C>);

pub(crate) type AsyncQueue<T> = InTask<Queue<T>>;
pub(crate) type AsyncPipe<T> = InTask<Connection<T, T>>;

impl<T: Item, C: Carrier<T>> Channel<T> for InTask<C> {
    const NAME: &'static str = C::NAME_IN_TASK;

    fn start(role: Role) -> Self {
        Self(Blocking::start(role))
    }

    fn send(&mut self, item: T) {
        self.0.send(item);
    }

    fn receive(&mut self) -> T {
        self.0.receive()
    }

    fn round_trips(&mut self, item: &T, times: u64) -> Duration {
        let Ends { to, from } = &self.0.ends;
        self.0.runtime.block_on(async {
            let start = Instant::now();
            for _ in 0..times {
                to.send(item.clone()).await;
                from.receive().await;
            }
            start.elapsed()
        })
    }

    fn flood(&mut self, item: &T, times: u64) -> Duration {
        let Ends { to, from } = &self.0.ends;
        self.0.runtime.block_on(async {
            let start = Instant::now();
            for _ in 1..times {
                to.send(item.clone()).await;
            }
            to.send(T::last()).await;
            assert!(from.receive().await.is_last());
            start.elapsed()
        })
    }
}
