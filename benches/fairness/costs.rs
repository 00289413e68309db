//! The cost of waiters: the processor time of each turn, item and arrival.

use std::sync::Arc;
use std::time::Duration;

use concurrent_futures::multiprocessing::{Barrier, Lock, Queue};
use rustix::time::{ClockId, clock_gettime};
use tokio::runtime::Runtime;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::figure::Unit;
use crate::table::Table;

const OURS: &str = "multiprocessing";
const TOKIO: &str = "tokio";

/// The numbers of waiters, and the names of their rows.
const WAITERS: [(usize, [&str; 3]); 3] = [
    (1, ["lock, 1 waiter", "queue, 1 waiter", "barrier of 2"]),
    (
        100,
        ["lock, 100 waiters", "queue, 100 waiters", "barrier of 100"],
    ),
    (
        2000,
        [
            "lock, 2000 waiters",
            "queue, 2000 waiters",
            "barrier of 2000",
        ],
    ),
];

pub(crate) fn measure(is_quick: bool) -> Table {
    let mut table = Table::new(vec![OURS, TOKIO]);
    let times = if is_quick { 1 } else { 5 };
    for (waiters, rows) in WAITERS {
        let waiters = if is_quick { waiters.min(10) } else { waiters };
        let parties = waiters.max(2);
        let measures: [[&dyn Fn() -> Duration; 2]; 3] = [
            [&|| lock(waiters), &|| tokio_lock(waiters)],
            [&|| queue(waiters), &|| tokio_queue(waiters)],
            [&|| barrier(parties), &|| tokio_barrier(parties)],
        ];
        for (row, [ours, tokio]) in rows.into_iter().zip(measures) {
            table.add(row, Unit::Time);
            for (name, measure) in [(OURS, ours), (TOKIO, tokio)] {
                let mut all: Vec<_> = (0..times).map(|_| measure()).collect();
                all.sort();
                table.put(row, name, all[times / 2].as_secs_f64().into());
            }
        }
    }
    table
}

/// The processor time that `work` takes, for each of `count`.
fn cost(count: usize, work: impl AsyncFnOnce()) -> Duration {
    let used = || {
        let time = clock_gettime(ClockId::ProcessCPUTime);
        Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
    };
    let before = used();
    runtime().block_on(work());
    (used() - before) / count as u32
}

fn runtime() -> Runtime {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    runtime.expect("it starts")
}

/// Each waiter takes the lock once, and lets other tasks run while it holds it.
macro_rules! turns {
    ($waiters:expr, $lock:expr) => {
        cost($waiters, async || {
            let lock = $lock;
            let first = lock.lock().await;
            let mut tasks = JoinSet::new();
            for _ in 0..$waiters {
                let lock = lock.clone();
                tasks.spawn(async move {
                    let _held = lock.lock().await;
                    tokio::task::yield_now().await;
                });
            }
            tokio::time::sleep(Duration::from_millis(1)).await; // All are waiting after this.
            drop(first);
            tasks.join_all().await;
        })
    };
}

fn lock(waiters: usize) -> Duration {
    turns!(waiters, Lock::new().expect("a lock"))
}

fn tokio_lock(waiters: usize) -> Duration {
    turns!(waiters, Arc::new(tokio::sync::Mutex::new(())))
}

/// The number of items, each put when the one before has been taken.
const ITEMS: usize = 200;

fn queue(waiters: usize) -> Duration {
    cost(ITEMS, async || {
        let queue = Queue::unbounded().expect("a queue");
        let (done, mut taken) = mpsc::unbounded_channel();
        let mut tasks = JoinSet::new();
        for _ in 0..waiters {
            let (queue, done) = (queue.clone(), done.clone());
            tasks.spawn(async move {
                loop {
                    let item: usize = queue.get().await.expect("it is whole");
                    done.send(item).expect("there is a receiver");
                }
            });
        }
        for item in 0..ITEMS {
            tokio::time::sleep(Duration::from_micros(100)).await; // All are waiting after this.
            queue.put(item).await.expect("there is room");
            taken.recv().await;
        }
    })
}

fn tokio_queue(waiters: usize) -> Duration {
    cost(ITEMS, async || {
        let (queue, items) = mpsc::unbounded_channel();
        let items = Arc::new(tokio::sync::Mutex::new(items));
        let (done, mut taken) = mpsc::unbounded_channel();
        let mut tasks = JoinSet::new();
        for _ in 0..waiters {
            let (items, done) = (items.clone(), done.clone());
            tasks.spawn(async move {
                loop {
                    let item: usize = items.lock().await.recv().await.expect("there is a sender");
                    done.send(item).expect("there is a receiver");
                }
            });
        }
        for item in 0..ITEMS {
            tokio::time::sleep(Duration::from_micros(100)).await; // All are waiting after this.
            queue.send(item).expect("there is a receiver");
            taken.recv().await;
        }
    })
}

/// All parties meet once.
macro_rules! meeting {
    ($parties:expr, $barrier:expr) => {
        cost($parties, async || {
            let barrier = $barrier;
            let mut tasks = JoinSet::new();
            for _ in 0..$parties {
                let barrier = barrier.clone();
                tasks.spawn(async move {
                    let _ = barrier.wait().await;
                });
            }
            tasks.join_all().await;
        })
    };
}

fn barrier(parties: usize) -> Duration {
    meeting!(parties, Barrier::new(parties).expect("a barrier"))
}

fn tokio_barrier(parties: usize) -> Duration {
    meeting!(parties, Arc::new(tokio::sync::Barrier::new(parties)))
}
