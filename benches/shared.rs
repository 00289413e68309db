//! The cost of giving a table of 64 MiB to each of many items: `cargo bench -p benches --bench shared`. At the end it
//! prints the medians side by side.
//!
//! `SharedArg` sends it to each worker once. By value it is sent with each item. A `SharedMemory` is not decoded, so
//! its items read bytes. Threads have an `Arc`.

#[expect(dead_code, reason = "the other benches use the rest")]
#[path = "common/figure.rs"]
mod figure;
#[expect(dead_code, reason = "the other benches use the rest")]
#[path = "common/table.rs"]
mod table;

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use concurrent_futures::multiprocessing::SharedMemory;
use concurrent_futures::{
    ExecutorExt as _, Map, ProcessPoolExecutor, SharedArg, ThreadPoolExecutor,
};
use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, Criterion, SamplingMode, Throughput};
use futures::StreamExt as _;
use tokio::runtime::Runtime;

use self::figure::Unit;
use self::table::Table;

const WORKERS: usize = 2;
/// 64 MiB.
const NUMBERS: usize = 8 << 20;

const SHARED: &str = "SharedArg";
const VALUE: &str = "by value";
const MEMORY: &str = "SharedMemory";
const THREADS: &str = "threads, Arc";
const COLUMNS: [&str; 4] = [SHARED, MEMORY, VALUE, THREADS];

const MANY: &str = "an item of 10,000";
const FEW: &str = "an item of 10";
const FIRST: &str = "the first item";

fn main() {
    concurrent_futures::init();
    let mut bench = Bench::new();
    bench.items(MANY, 10_000, &[SHARED, MEMORY, THREADS]);
    bench.items(FEW, 10, &COLUMNS);
    bench.first();
    bench.criterion.final_summary();
    if !figure::is_quick() {
        bench.print();
    }
}

fn place(n: usize) -> usize {
    n.wrapping_mul(0x9e37_79b9) % NUMBERS
}

fn of_shared(table: SharedArg<Vec<u64>>, n: usize) -> u64 {
    table[place(n)]
}

fn of_value(table: Vec<u64>, n: usize) -> u64 {
    table[place(n)]
}

fn of_memory(table: SharedMemory, n: usize) -> u64 {
    let mut number = [0; 8];
    table.read(8 * place(n), &mut number);
    u64::from_ne_bytes(number)
}

struct Bench {
    criterion: Criterion,
    table: Table,
    start: SystemTime,
    runtime: Runtime,
    processes: ProcessPoolExecutor,
    threads: ThreadPoolExecutor,
    numbers: Vec<u64>,
}

impl Bench {
    fn new() -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(WORKERS)
            .enable_all()
            .build();
        Self {
            criterion: figure::criterion(Duration::from_millis(300), Duration::from_millis(1200)),
            table: Table::new(COLUMNS.to_vec()),
            start: SystemTime::now(),
            runtime: runtime.expect("the threads start"),
            processes: ProcessPoolExecutor::with_workers(WORKERS).expect("processes"),
            threads: ThreadPoolExecutor::with_workers(WORKERS).expect("threads"),
            numbers: (0..NUMBERS as u64).map(|n| n * n).collect(),
        }
    }

    /// A map over this number of items, when the workers already keep the value.
    fn items(&mut self, name: &'static str, count: usize, contenders: &[&'static str]) {
        self.table.add(name, Unit::Call);
        let shared = SharedArg::new(self.numbers.clone());
        let arc = Arc::new(self.numbers.clone());
        let memory = SharedMemory::create(8 * NUMBERS).expect("memory");
        for (n, number) in self.numbers.iter().enumerate() {
            memory.write(8 * n, &number.to_ne_bytes());
        }
        let mut group = self.criterion.benchmark_group(name);
        group.throughput(Throughput::Elements(count as u64));
        group.sample_size(10).sampling_mode(SamplingMode::Flat);
        let (processes, runtime) = (&self.processes, &self.runtime);
        for contender in contenders {
            let map = || -> Map<u64> {
                match *contender {
                    SHARED => {
                        let shared = shared.clone();
                        processes.map(of_shared, (0..count).map(move |n| (shared.clone(), n)))
                    }
                    MEMORY => {
                        let memory = memory.clone();
                        processes.map(of_memory, (0..count).map(move |n| (memory.clone(), n)))
                    }
                    VALUE => {
                        let numbers = self.numbers.clone();
                        processes.map(of_value, (0..count).map(move |n| (numbers.clone(), n)))
                    }
                    _ => {
                        let arc = arc.clone();
                        self.threads.map(move |n| arc[place(n)], 0..count)
                    }
                }
            };
            measure(&mut group, contender, runtime, map);
        }
    }

    /// A new value each time: encoded, sent and decoded.
    fn first(&mut self) {
        self.table.add(FIRST, Unit::Time);
        let mut group = self.criterion.benchmark_group(FIRST);
        group.sample_size(10).sampling_mode(SamplingMode::Flat);
        let processes = &self.processes;
        let shared = || {
            let shared = SharedArg::new(self.numbers.clone());
            processes.map(of_shared, [(shared, 7)])
        };
        measure(&mut group, SHARED, &self.runtime, shared);
        let value = || processes.map(of_value, [(self.numbers.clone(), 7)]);
        measure(&mut group, VALUE, &self.runtime, value);
    }

    fn print(mut self) {
        for measure in self.table.measures() {
            for contender in COLUMNS {
                if let Some(figure) = figure::read(measure, contender, self.start) {
                    self.table.put(measure, contender, figure);
                }
            }
        }
        self.table.print();
    }
}

/// Measures from the creation of a map to its last result.
fn measure(
    group: &mut BenchmarkGroup<'_, WallTime>,
    name: &str,
    runtime: &Runtime,
    map: impl Fn() -> Map<u64>,
) {
    let run = |times: u64| {
        let mut took = Duration::ZERO;
        for _ in 0..times {
            let mut results = map();
            let begun = Instant::now();
            runtime.block_on(async {
                while let Some(result) = results.next().await {
                    result.expect("each item has a result");
                }
            });
            took += begun.elapsed();
        }
        took
    };
    group.bench_function(name, |bencher| bencher.iter_custom(run));
}
