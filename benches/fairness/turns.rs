//! The fewest and the most turns of eight tasks, threads or processes that want one object.

use std::sync::Arc;
use std::time::{Duration, Instant};

use concurrent_futures::multiprocessing::{Barrier, Lock, RLock, Semaphore, Value};
use concurrent_futures::{ExecutorExt as _, ProcessPoolExecutor};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::runtime::Runtime;

use crate::figure::Unit;
use crate::table::Table;

/// How many want the object.
const MANY: usize = 8;

/// The time for which each keeps it.
const KEPT: Duration = Duration::from_millis(1);

/// An object that only one at a time can hold.
trait Turn: Clone + Send + Sync + 'static {
    const NAME: &'static str;

    fn new() -> Self;

    fn in_task(&self, until: Instant) -> impl Future<Output = u64> + Send;

    fn in_thread(&self, until: Instant) -> u64;
}

/// Counts the turns until the end.
macro_rules! turn {
    ($name:literal, $Type:ty, $new:expr, $take:ident, $blocking_take:ident) => {
        impl Turn for $Type {
            const NAME: &'static str = $name;

            fn new() -> Self {
                $new
            }

            async fn in_task(&self, until: Instant) -> u64 {
                let mut turns = 0;
                while Instant::now() < until {
                    let _kept = self.$take().await;
                    tokio::time::sleep(KEPT).await;
                    turns += 1;
                }
                turns
            }

            fn in_thread(&self, until: Instant) -> u64 {
                let mut turns = 0;
                while Instant::now() < until {
                    let _kept = self.$blocking_take();
                    std::thread::sleep(KEPT);
                    turns += 1;
                }
                turns
            }
        }
    };
}

turn!(
    "Lock",
    Lock,
    Lock::new().expect("a lock"),
    lock,
    blocking_lock
);
turn!(
    "RLock",
    RLock,
    RLock::new().expect("a lock"),
    lock,
    blocking_lock
);
turn!(
    "Semaphore",
    Semaphore,
    Semaphore::new(1).expect("one"),
    acquire,
    blocking_acquire
);
turn!(
    "Value",
    Value<u64>,
    Value::new(0).expect("a value"),
    lock,
    blocking_lock
);

type TokioMutex = Arc<tokio::sync::Mutex<u64>>;
turn!(
    "tokio's Mutex",
    TokioMutex,
    TokioMutex::default(),
    lock,
    blocking_lock
);

pub(crate) fn measure(is_quick: bool) -> Table {
    let time = Duration::from_millis(if is_quick { 20 } else { 1000 });
    let names = vec![
        Lock::NAME,
        RLock::NAME,
        Semaphore::NAME,
        <Value<u64>>::NAME,
        TokioMutex::NAME,
    ];
    let mut table = Table::new(names);
    for row in ROWS.iter().flatten() {
        table.add(row, Unit::Count);
    }
    one_process::<Lock>(&mut table, time);
    one_process::<RLock>(&mut table, time);
    one_process::<Semaphore>(&mut table, time);
    one_process::<Value<u64>>(&mut table, time);
    one_process::<TokioMutex>(&mut table, time);
    let runtime = runtime();
    let _in_it = runtime.enter();
    let pool = ProcessPoolExecutor::with_workers(MANY).expect("the settings are valid");
    runtime.block_on(async {
        processes::<Lock>(&mut table, &pool, time).await;
        processes::<RLock>(&mut table, &pool, time).await;
        processes::<Semaphore>(&mut table, &pool, time).await;
        processes::<Value<u64>>(&mut table, &pool, time).await;
        pool.shutdown().await;
    });
    table
}

const TASKS: [&str; 2] = ["8 tasks, fewest turns", "8 tasks, most turns"];
const THREADS: [&str; 2] = ["8 threads, fewest turns", "8 threads, most turns"];
const PROCESSES: [&str; 2] = ["8 processes, fewest turns", "8 processes, most turns"];
const ROWS: [[&str; 2]; 3] = [TASKS, THREADS, PROCESSES];

fn runtime() -> Runtime {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build();
    runtime.expect("the threads start")
}

fn put<T: Turn>(table: &mut Table, [fewest, most]: [&str; 2], turns: &[u64]) {
    for (row, turns) in [(fewest, turns.iter().min()), (most, turns.iter().max())] {
        table.put(row, T::NAME, (*turns.expect("some want it") as f64).into());
    }
}

fn one_process<T: Turn>(table: &mut Table, time: Duration) {
    let (runtime, object, until) = (runtime(), T::new(), Instant::now() + time);
    let tasks = (0..MANY).map(|_| {
        let object = object.clone();
        runtime.spawn(async move { object.in_task(until).await })
    });
    let tasks: Vec<_> = tasks.collect();
    let turns = tasks
        .into_iter()
        .map(|task| runtime.block_on(task).expect("it ends"));
    put::<T>(table, TASKS, &turns.collect::<Vec<_>>());
    let (object, until) = (T::new(), Instant::now() + time);
    let turns: Vec<u64> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..MANY)
            .map(|_| scope.spawn(|| object.in_thread(until)))
            .collect();
        threads
            .into_iter()
            .map(|thread| thread.join().expect("it ends"))
            .collect()
    });
    put::<T>(table, THREADS, &turns);
}

fn in_process<T: Turn>(object: T, start: Barrier, time: Duration) -> u64 {
    start.blocking_wait().expect("all arrive");
    object.in_thread(Instant::now() + time)
}

async fn processes<T: Turn + Serialize + DeserializeOwned>(
    table: &mut Table,
    pool: &ProcessPoolExecutor,
    time: Duration,
) {
    let (object, start) = (T::new(), Barrier::new(MANY).expect("a barrier"));
    let calls: Vec<_> = (0..MANY)
        .map(|_| pool.submit(in_process::<T>, (object.clone(), start.clone(), time)))
        .collect();
    let mut turns = Vec::new();
    for call in calls {
        turns.push(call.await.expect("it ends"));
    }
    put::<T>(table, PROCESSES, &turns);
}
