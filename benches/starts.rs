//! What a worker costs by the way it is started: the time to the first result of a new pool, the time
//! that one more worker takes, and the memory of one that idles. `cargo bench --bench starts`

use std::fs;
use std::time::{Duration, Instant};

use concurrent_futures::{ExecutorExt as _, ProcessPoolExecutor, StartMethod};
use criterion::{Criterion, SamplingMode};
use tokio::runtime::{Builder, Runtime};

/// Measures something for a start method.
type Measure = fn(StartMethod) -> Duration;

fn nothing() {}

/// A pool of two, and a runtime made after it: a process can be forked only before.
fn pool(method: StartMethod) -> (ProcessPoolExecutor, Runtime) {
    let builder = ProcessPoolExecutor::builder().start_method(method);
    let pool = builder.max_workers(2).build().expect("a pool");
    let runtime = Builder::new_current_thread().enable_all().build();
    (pool, runtime.expect("a runtime"))
}

/// From nothing to the first result.
fn first_result(method: StartMethod) -> Duration {
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
fn one_more(method: StartMethod) -> Duration {
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

/// What `/proc` says of the memory of an idle worker, in KiB: private, and in proportion to those who
/// share it.
fn memory(method: StartMethod) -> (u64, u64) {
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

fn main() {
    concurrent_futures::init();
    let mut criterion = Criterion::default()
        .warm_up_time(Duration::from_millis(400))
        .measurement_time(Duration::from_millis(1600))
        .configure_from_args();
    let measures: [(&str, Measure); 2] = [
        ("new pool to first result", first_result),
        ("one more worker", one_more),
    ];
    for (name, measure) in measures {
        let mut group = criterion.benchmark_group(name);
        group.sample_size(20).sampling_mode(SamplingMode::Flat);
        for method in StartMethod::available() {
            group.bench_function(format!("{method:?}"), |bencher| {
                bencher.iter_custom(|times| (0..times).map(|_| measure(method)).sum());
            });
        }
    }
    criterion.final_summary();
    for method in StartMethod::available() {
        let (private, proportional) = memory(method);
        println!(
            "an idle worker by {method:?}: {private} KiB for itself, {proportional} KiB in proportion"
        );
    }
}
