//! What the executors cost, beside their peers and the limit of the machine, in one run:
//! `cargo bench`. At the end it prints the medians side by side, and ratios: only these carry
//! over from one machine to another.
//!
//! Every contender has two workers. The calls are made by a task on a tokio runtime of two
//! threads, as in a service.

mod common;

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, Criterion, SamplingMode, Throughput};
use tokio::runtime::Runtime;

use crate::common::contender::{
    Contender, Echo, Noop, ProcessPool, Procspawn, SpawnBlocking, ThreadPool, TokioRayon, WORKERS,
};
use crate::common::limit;
use crate::common::table::{self, Table};

/// Does something for every contender. Those to compare come right after each other.
macro_rules! each_contender {
    ($C:ident => $do:expr) => {
        each_contender!($C => $do, ProcessPool, ThreadPool, SpawnBlocking, TokioRayon, Procspawn);
    };
    ($C:ident => $do:expr, $($contender:ident),*) => {
        $({
            type $C = $contender;
            $do;
        })*
    };
}

/// How many integers go through `map` in chunks. One by one, it is a batch.
const MANY: u64 = 200_000;

fn main() {
    // A child of each of these starts here too. It knows by an environment variable whose it is,
    // serves, and comes no further.
    limit::init();
    concurrent_futures::init();
    procspawn::init();

    let start = SystemTime::now();
    let mut bench = Bench::new();
    bench.round_trip_on_one_cpu();
    bench.round_trip("round trip");
    bench.many_submits();
    bench.map("map chunk 1", 1);
    bench.map("map chunk 1000", 1000);
    bench.echo("echo 64 KiB", 64 << 10);
    bench.echo("echo 1 MiB", 1 << 20);
    bench.echo("echo 64 MiB", 64 << 20);
    bench.cold_start();
    bench.criterion.final_summary();
    if !bench.quick {
        print_table(bench.measures, start);
    }
}

/// Everything that is measured.
struct Bench {
    criterion: Criterion,
    runtime: Runtime,
    measures: Vec<&'static str>,
    /// Criterion only tests that everything runs, once: do little.
    quick: bool,
}

fn runtime() -> Runtime {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .max_blocking_threads(WORKERS)
        .enable_all()
        .build();
    runtime.expect("the threads start")
}

impl Bench {
    fn new() -> Self {
        let given = |wanted: &str| std::env::args().any(|arg| arg == wanted);
        Self {
            criterion: Criterion::default()
                .output_directory(&table::criterion_home())
                .warm_up_time(Duration::from_millis(400))
                .measurement_time(Duration::from_millis(1600))
                .configure_from_args(),
            runtime: runtime(),
            measures: Vec::new(),
            quick: given("--test") || !given("--bench"),
        }
    }

    fn measure(&mut self, name: &'static str, samples: usize) -> Measure<'_> {
        self.measures.push(name);
        let mut group = self.criterion.benchmark_group(name);
        group.sample_size(samples).sampling_mode(SamplingMode::Flat);
        Measure {
            group,
            runtime: &self.runtime,
            quick: self.quick,
        }
    }

    /// A call that does nothing, awaited before the next.
    fn round_trip(&mut self, name: &'static str) {
        async fn run<C: Contender>(contender: Arc<C>, times: u64) -> Duration {
            let start = Instant::now();
            for _ in 0..times {
                contender.submit::<Noop>(()).await;
            }
            start.elapsed()
        }
        let mut measure = self.measure(name, 50);
        each_contender!(C => measure.time(run::<C>));
        measure.time_limit(limit::round_trips);
    }

    /// The same with all threads and processes on one CPU, which leaves the machine's idle states
    /// out.
    fn round_trip_on_one_cpu(&mut self) {
        let _cpu = limit::OneCpu::stay();
        let everywhere = std::mem::replace(&mut self.runtime, runtime());
        self.round_trip("round trip, one CPU");
        self.runtime = everywhere;
    }

    /// A batch of calls that do nothing: all submitted, then all awaited.
    fn many_submits(&mut self) {
        async fn run<C: Contender>(contender: Arc<C>, times: u64, batch: u64) -> Duration {
            let start = Instant::now();
            for _ in 0..times {
                let calls: Vec<_> = (0..batch).map(|_| contender.submit::<Noop>(())).collect();
                for call in calls {
                    call.await;
                }
            }
            start.elapsed()
        }
        let mut measure = self.measure("many submits", 20);
        each_contender!(C => {
            let batch = measure.at_most(C::BATCH);
            measure.group.throughput(Throughput::Elements(batch));
            measure.time(|contender: Arc<C>, times| run(contender, times, batch));
        });
    }

    /// `x + 1` over many integers, one by one or in chunks.
    fn map(&mut self, name: &'static str, chunk: u64) {
        async fn run<C: Contender>(
            contender: Arc<C>,
            times: u64,
            count: u64,
            chunk: u64,
        ) -> Duration {
            let start = Instant::now();
            for _ in 0..times {
                let sum = contender.map(count, chunk).await;
                assert_eq!(sum, count * (count + 1) / 2);
            }
            start.elapsed()
        }
        let mut measure = self.measure(name, 10);
        each_contender!(C => {
            let count = measure.at_most(if chunk == 1 { C::BATCH } else { MANY });
            measure.group.throughput(Throughput::Elements(count));
            measure.time(|contender: Arc<C>, times| run(contender, times, count, chunk));
        });
    }

    /// A vector of bytes there and back. The limit is one copy in memory.
    fn echo(&mut self, name: &'static str, size: usize) {
        async fn run<C: Contender>(contender: Arc<C>, times: u64, size: usize) -> Duration {
            let mut data = vec![7; size];
            let start = Instant::now();
            for _ in 0..times {
                data = contender.submit::<Echo>(data).await;
            }
            let elapsed = start.elapsed();
            assert_eq!(data.len(), size);
            elapsed
        }
        let mut measure = self.measure(name, 10);
        let size = measure.at_most(size as u64) as usize;
        measure.group.throughput(Throughput::Bytes(size as u64));
        each_contender!(C => measure.time(|contender: Arc<C>, times| run(contender, times, size)));
        let (source, mut target) = (vec![7_u8; size], vec![0; size]);
        measure.time_limit(|times| {
            let start = Instant::now();
            for _ in 0..times {
                black_box(&mut target).copy_from_slice(black_box(&source));
            }
            start.elapsed()
        });
    }

    /// From nothing to the first result. Ending the workers is not part of it.
    fn cold_start(&mut self) {
        async fn run<C: Contender>(times: u64) -> Duration {
            let mut total = Duration::ZERO;
            for _ in 0..times {
                let start = Instant::now();
                let contender = C::start();
                contender.submit::<Noop>(()).await;
                total += start.elapsed();
                contender.stop().await;
            }
            total
        }
        let mut measure = self.measure("cold start", 20);
        let runtime = measure.runtime;
        each_contender!(C => measure.group.bench_function(C::NAME, |bencher| {
            bencher.iter_custom(|times| spawned(runtime, run::<C>(times)));
        }));
        measure.time_limit(limit::cold_starts);
    }
}

/// One group of criterion's: what each contender takes for the same thing.
struct Measure<'a> {
    group: BenchmarkGroup<'a, WallTime>,
    runtime: &'a Runtime,
    quick: bool,
}

impl Measure<'_> {
    fn at_most(&self, amount: u64) -> u64 {
        if self.quick { amount.min(500) } else { amount }
    }

    /// Measures `run`, which does a thing as often as it is told and says how long it took.
    fn time<C, F>(&mut self, run: impl Fn(Arc<C>, u64) -> F)
    where
        C: Contender,
        F: Future<Output = Duration> + Send + 'static,
    {
        let mut contender = None; // Started if criterion wants it to run.
        self.group.bench_function(C::NAME, |bencher| {
            let contender = contender
                .get_or_insert_with(|| Arc::new(self.runtime.block_on(async { C::start() })));
            bencher.iter_custom(|times| spawned(self.runtime, run(contender.clone(), times)));
        });
        if let Some(contender) = contender.and_then(Arc::into_inner) {
            self.runtime.block_on(contender.stop());
        }
    }

    /// Measures what bounds them all.
    fn time_limit(&mut self, mut run: impl FnMut(u64) -> Duration) {
        let name = limit::NAME;
        self.group
            .bench_function(name, |bencher| bencher.iter_custom(&mut run));
    }
}

/// Awaits a future where a service does: in a task of the runtime, not on the thread outside.
fn spawned<T: Send + 'static>(
    runtime: &Runtime,
    future: impl Future<Output = T> + Send + 'static,
) -> T {
    let task = runtime.spawn(future);
    runtime.block_on(task).expect("the task returns")
}

fn print_table(measures: Vec<&'static str>, start: SystemTime) {
    let mut contenders = Vec::new();
    each_contender!(C => contenders.push(C::NAME));
    contenders.push(limit::NAME);
    let table = Table::read(measures, contenders, start);
    table.print();

    let (processes, threads) = (ProcessPool::NAME, ThreadPool::NAME);
    for round_trip in ["round trip, one CPU", "round trip"] {
        table.print_time(round_trip, processes, limit::NAME);
        table.print_time(round_trip, processes, Procspawn::NAME);
    }
    table.print_speed("many submits", processes, Procspawn::NAME);
    table.print_speed("map chunk 1000", processes, Procspawn::NAME);
    for echo in ["echo 64 KiB", "echo 1 MiB", "echo 64 MiB"] {
        table.print_speed(echo, processes, Procspawn::NAME);
        table.print_time(echo, processes, limit::NAME);
    }
    table.print_time("cold start", processes, Procspawn::NAME);
    table.print_time("cold start", processes, limit::NAME);
    table.print_time("round trip", threads, SpawnBlocking::NAME);
    table.print_time("round trip", threads, TokioRayon::NAME);
    table.print_speed("many submits", threads, SpawnBlocking::NAME);
    table.print_speed("many submits", threads, TokioRayon::NAME);
}
