//! The cost of a worker by its start method.

use std::fs;
use std::time::{Duration, Instant};

use concurrent_futures::{ExecutorExt as _, ProcessPoolExecutor, StartMethod};
use tokio::runtime::{Builder, Runtime};

fn nothing() {}

/// A pool of two workers, and a runtime that is created after it: a process can be forked only before that.
fn pool(method: StartMethod) -> (ProcessPoolExecutor, Runtime) {
    let builder = ProcessPoolExecutor::builder().start_method(method);
    let pool = builder.max_workers(2).build().expect("a pool");
    let runtime = Builder::new_current_thread().enable_all().build();
    (pool, runtime.expect("a runtime"))
}

/// From nothing to the first result.
pub(crate) fn first_result(method: StartMethod) -> Duration {
    let begun = Instant::now();
    let (pool, runtime) = pool(method);
    runtime.block_on(async {
        pool.submit(nothing, ()).await.expect("it runs");
        let elapsed = begun.elapsed();
        pool.shutdown().await;
        elapsed
    })
}

/// From a pool with a worker to one with two.
pub(crate) fn one_more(method: StartMethod) -> Duration {
    let (pool, runtime) = pool(method);
    runtime.block_on(async {
        pool.submit(nothing, ()).await.expect("it runs");
        let begun = Instant::now();
        pool.warm_up().await.expect("another worker");
        let elapsed = begun.elapsed();
        pool.shutdown().await;
        elapsed
    })
}

/// The memory of an idle worker in KiB, as the system counts it: private, and its proportional share of shared memory.
pub(crate) fn memory(method: StartMethod) -> (u64, u64) {
    let (pool, runtime) = pool(method);
    runtime.block_on(async {
        pool.warm_up().await.expect("two workers");
        let worker = pool.workers()[1].pid();
        let rollup = fs::read_to_string(format!("/proc/{worker}/smaps_rollup"));
        let rollup = rollup.expect("the worker is ours");
        let sum = |prefix: &str| {
            let lines = rollup.lines().filter(|line| line.starts_with(prefix));
            let sizes =
                lines.filter_map(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok());
            sizes.sum()
        };
        let memory = (sum("Private_"), sum("Pss:"));
        pool.shutdown().await;
        memory
    })
}
