//! The cost of the executors, compared with their peers and the limit of the machine, in one run: `cargo bench -p
//! benches --bench executors`. At the end it prints the medians side by side, and compares them with the goals: only
//! ratios are valid on another machine. It also draws them, into `target/criterion/measured.svg` or `$BENCH_PLOT`. The
//! cost of starts is in `starts.rs`.
//!
//! Every contender has two workers. A task on a tokio runtime of two threads makes the calls, as in a service.
//! `peers.py` measures Python's pools, with `$PYTHON` or `python3`.

#[expect(dead_code, reason = "the other benches use the rest")]
mod common;

use std::hint::black_box;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, Criterion, SamplingMode, Throughput};
use tokio::runtime::{Builder, Runtime};

use crate::common::contender::{
    Contender, Echo, Inline, Maps, Noop, ProcessPool, Procspawn, SpawnBlocking, ThreadPool,
    TokioRayon, map_by_hand, submit_batches,
};
use crate::common::figure::{self, Unit};
use crate::common::peers::{self, Peers};
use crate::common::table::{Goal, Table};
use crate::common::{heartbeat, limit, plot, queue, runtime};

/// Repeats a block for every contender, one right after another.
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

/// How many tasks wait for a worker.
const QUEUED: usize = 1_000_000;

/// Many submits, by four runtimes.
const FOUR_RUNTIMES: &str = "many submits, four runtimes";

/// How long a heartbeat is watched.
const WATCH: Duration = Duration::from_millis(2500);

/// What a contender is in the picture.
fn class(contender: &str) -> &'static str {
    match contender {
        ProcessPool::NAME | ThreadPool::NAME => "own",
        limit::NAME => "limit",
        _ => "peer",
    }
}

fn main() {
    // A child process of each of these also starts here. An environment variable names its role; it serves and does
    // not return.
    limit::init();
    concurrent_futures::init();
    procspawn::init();
    each_contender!(C => queue::count_if_asked::<C>(), ProcessPool, ThreadPool, SpawnBlocking, TokioRayon);

    let mut bench = Bench::new();
    bench.on_one_cpu(|bench| bench.round_trip("round trip, one CPU"));
    bench.round_trip("round trip");
    bench.many_submits();
    bench.many_submits_of_four();
    bench.map();
    bench.map_by_hand();
    bench.on_one_cpu(|bench| bench.echo("echo 64 KiB, one CPU", 64 << 10));
    bench.echo("echo 64 KiB", 64 << 10);
    bench.echo("echo 1 MiB", 1 << 20);
    bench.echo("echo 64 MiB", 64 << 20);
    bench.queue();
    bench.heartbeat();
    bench.criterion.final_summary();
    if !bench.quick {
        bench.print_results();
    }
}

/// All measurements.
struct Bench {
    criterion: Criterion,
    runtime: Runtime,
    /// Has a row for each measure, and the figures that criterion does not measure.
    table: Table,
    start: SystemTime,
    /// Whether criterion only runs everything once, as a test.
    quick: bool,
}

fn columns() -> Vec<&'static str> {
    let mut contenders = Vec::new();
    each_contender!(C => contenders.push(C::NAME));
    contenders.extend(peers::NAMES);
    contenders.extend([Inline::NAME, limit::NAME]);
    contenders
}

impl Bench {
    fn new() -> Self {
        Self {
            criterion: figure::criterion(Duration::from_millis(400), Duration::from_millis(1600)),
            runtime: runtime(),
            table: Table::new(columns()),
            start: SystemTime::now(),
            quick: figure::is_quick(),
        }
    }

    /// Whether the command line selects this measure, by criterion's rule.
    fn wants(&self, name: &str) -> bool {
        figure::filter().is_none_or(|filter| name.contains(&filter))
    }

    fn measure(&mut self, name: &'static str, unit: Unit, samples: usize) -> Measure<'_> {
        self.table.add(name, unit);
        let mut group = self.criterion.benchmark_group(name);
        group.sample_size(samples).sampling_mode(SamplingMode::Flat);
        Measure {
            group,
            runtime: &self.runtime,
            quick: self.quick,
        }
    }

    /// A call that does nothing, awaited before the next one.
    fn round_trip(&mut self, name: &'static str) {
        async fn run<C: Contender>(contender: Arc<C>, times: u64) -> Duration {
            let start = Instant::now();
            for _ in 0..times {
                contender.submit::<Noop>(()).await;
            }
            start.elapsed()
        }
        let mut measure = self.measure(name, Unit::Time, 50);
        each_contender!(C => measure.time(run::<C>));
        measure.time_limit(limit::round_trips);
    }

    /// Measures with all threads and processes on one CPU, which excludes idle states of CPUs. Waking another CPU for
    /// each message may take longer than everything else.
    fn on_one_cpu(&mut self, measure: impl FnOnce(&mut Self)) {
        let _cpu = limit::OneCpu::stay();
        let everywhere = std::mem::replace(&mut self.runtime, runtime());
        measure(self);
        self.runtime = everywhere;
    }

    /// A batch of calls that do nothing: all submitted, then all awaited.
    fn many_submits(&mut self) {
        let mut measure = self.measure("many submits", Unit::Call, 20);
        each_contender!(C => {
            let batch = measure.at_most(C::BATCH);
            measure.group.throughput(Throughput::Elements(batch));
            measure.time(|contender: Arc<C>, times| submit_batches(contender, times, batch));
        });
    }

    /// The same by four runtimes at once, which share the contender. Each submits and awaits a quarter of the batch.
    fn many_submits_of_four(&mut self) {
        const RUNTIMES: u64 = 4;
        let mut measure = self.measure(FOUR_RUNTIMES, Unit::Call, 20);
        let runtimes = [(); RUNTIMES as usize].map(|()| {
            let runtime = Builder::new_multi_thread()
                .worker_threads(1)
                .enable_all()
                .build();
            runtime.expect("the threads start")
        });
        each_contender!(C => {
            let quarter = (measure.at_most(C::BATCH) / RUNTIMES).max(1);
            measure.group.throughput(Throughput::Elements(RUNTIMES * quarter));
            measure.bench(|contender: &Arc<C>, times| {
                let start = Instant::now();
                let tasks = runtimes.each_ref().map(|runtime| {
                    runtime.spawn(submit_batches(contender.clone(), times, quarter))
                });
                for (runtime, task) in runtimes.iter().zip(tasks) {
                    runtime.block_on(task).expect("the task returns");
                }
                start.elapsed()
            });
        }, ProcessPool, ThreadPool, TokioRayon);
    }

    /// `x + 1` over the number of integers that take half a second, item by item, without a chunk size.
    fn map(&mut self) {
        async fn run<C: Maps>(contender: Arc<C>, count: u64) -> Duration {
            let start = Instant::now();
            assert_eq!(contender.map(count).await, count * (count + 1) / 2);
            start.elapsed()
        }
        let mut measure = self.measure("map", Unit::Call, 10);
        measure.group.measurement_time(Duration::from_secs(5));
        measure.group.throughput(Throughput::Elements(1));
        each_contender!(C => measure.time(run::<C>), ProcessPool, ThreadPool, SpawnBlocking, TokioRayon);
    }

    /// The same by calls with vectors, of the best size for each contender.
    fn map_by_hand(&mut self) {
        async fn run<C: Contender>(contender: Arc<C>, count: u64) -> Duration {
            let mut best = Duration::MAX;
            for chunk in [1_000, 10_000, 100_000] {
                let start = Instant::now();
                let sum = map_by_hand(&*contender, count, chunk).await;
                best = best.min(start.elapsed());
                assert_eq!(sum, count * (count + 1) / 2);
            }
            best
        }
        let mut measure = self.measure("map by hand", Unit::Call, 10);
        measure.group.throughput(Throughput::Elements(1));
        each_contender!(C => measure.time(run::<C>));
    }

    /// A vector of bytes to another process and back. The limit is one copy in memory.
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
        let mut measure = self.measure(name, Unit::Byte, 10);
        let size = measure.at_most(size as u64) as usize;
        measure.group.throughput(Throughput::Bytes(size as u64));
        each_contender!(C => {
            measure.time(|contender: Arc<C>, times| run(contender, times, size));
        }, ProcessPool, Procspawn);
        let (source, mut target) = (vec![7_u8; size], vec![0; size]);
        measure.time_limit(|times| {
            let start = Instant::now();
            for _ in 0..times {
                black_box(&mut target).copy_from_slice(black_box(&source));
            }
            start.elapsed()
        });
    }

    /// Tasks that wait while all workers are taken.
    fn queue(&mut self) {
        let (bytes, descriptors) = ("queued task", "queue's descriptors");
        if !self.wants(bytes) && !self.wants(descriptors) {
            return;
        }
        self.table.add(bytes, Unit::Memory);
        self.table.add(descriptors, Unit::Count);
        let tasks = if self.quick { 1000 } else { QUEUED };
        each_contender!(C => {
            let queue = queue::measure::<C>(tasks);
            self.table.put(bytes, C::NAME, queue.bytes.into());
            self.table.put(descriptors, C::NAME, queue.descriptors.into());
        }, ProcessPool, ThreadPool, SpawnBlocking, TokioRayon);
    }

    /// The delay of the runtime while all workers are busy. The limit is an idle runtime.
    fn heartbeat(&mut self) {
        let names = ["heartbeat, p50", "heartbeat, p99"];
        if !names.iter().any(|name| self.wants(name)) {
            return;
        }
        names
            .iter()
            .for_each(|name| self.table.add(name, Unit::Time));
        let watch = if self.quick { WATCH / 100 } else { WATCH };
        let mut put = |contender, (p50, p99): (f64, f64)| {
            for (name, late) in names.into_iter().zip([p50, p99]) {
                self.table.put(name, contender, late.into());
            }
        };
        let runtime = &self.runtime;
        put(limit::NAME, spawned(runtime, heartbeat::lateness(watch)));
        each_contender!(C => {
            let contender = Arc::new(runtime.block_on(async { C::start() }));
            let load = runtime.spawn(heartbeat::load(contender.clone()));
            put(C::NAME, spawned(runtime, heartbeat::lateness(watch)));
            load.abort();
            let _ = runtime.block_on(load); // The error says that it was aborted.
            if let Some(contender) = Arc::into_inner(contender) {
                runtime.block_on(contender.stop());
            }
        }, ProcessPool, ThreadPool, SpawnBlocking, TokioRayon, Inline);
    }

    /// Prints and draws the results.
    fn print_results(mut self) {
        for measure in self.table.measures() {
            for contender in columns() {
                if let Some(figure) = figure::read(measure, contender, self.start) {
                    self.table.put(measure, contender, figure);
                }
            }
        }
        let notes = self.ask_peers();
        self.table.print();
        self.table.report("executors");
        self.table.print_goals_head();
        print_goals(&self.table);
        println!("\n{notes}");
        let path = std::env::var_os("BENCH_PLOT").map(PathBuf::from);
        let path = path.unwrap_or_else(|| figure::criterion_home().join("measured.svg"));
        match std::fs::write(&path, plot::draw(&self.table, &DRAWN, class)) {
            Ok(()) => println!("Drawn in {}.", path.display()),
            Err(error) => println!("Not drawn in {}: {error}.", path.display()),
        }
    }

    /// Adds the figures of Python's pools. Returns which pools are missing.
    fn ask_peers(&mut self) -> String {
        let peers = match Peers::measure("calls", figure::filter()) {
            Ok(peers) => peers,
            Err(error) => return format!("Without the pools of Python: {error}."),
        };
        for measure in self.table.measures() {
            for contender in peers::NAMES {
                if let Some(figure) = peers.get(measure, contender) {
                    self.table.put(measure, contender, figure);
                }
            }
        }
        match &peers.missing()[..] {
            [] => "With all peers.".to_owned(),
            missing => format!("Not installed: {}.", missing.join(", ")),
        }
    }
}

/// A group of criterion: the same work by each contender.
struct Measure<'a> {
    group: BenchmarkGroup<'a, WallTime>,
    runtime: &'a Runtime,
    quick: bool,
}

impl Measure<'_> {
    fn at_most(&self, amount: u64) -> u64 {
        if self.quick { amount.min(500) } else { amount }
    }

    /// Measures `run`, which repeats an operation this number of times and returns how long that took.
    fn time<C, F>(&mut self, run: impl Fn(Arc<C>, u64) -> F)
    where
        C: Contender,
        F: Future<Output = Duration> + Send + 'static,
    {
        let runtime = self.runtime;
        self.bench(|contender: &Arc<C>, times| spawned(runtime, run(contender.clone(), times)));
    }

    /// As `time`, for work that chooses where it runs.
    fn bench<C: Contender>(&mut self, run: impl Fn(&Arc<C>, u64) -> Duration) {
        let mut contender = None; // Started when criterion runs it.
        self.group.bench_function(C::NAME, |bencher| {
            let contender = contender
                .get_or_insert_with(|| Arc::new(self.runtime.block_on(async { C::start() })));
            bencher.iter_custom(|times| run(contender, times));
        });
        if let Some(contender) = contender.and_then(Arc::into_inner) {
            self.runtime.block_on(contender.stop());
        }
    }

    /// Measures the limit of all contenders.
    fn time_limit(&mut self, mut run: impl FnMut(u64) -> Duration) {
        let name = limit::NAME;
        self.group
            .bench_function(name, |bencher| bencher.iter_custom(&mut run));
    }
}

/// Awaits a future as a service does: in a task of the runtime, not on the thread outside.
fn spawned<T: Send + 'static>(
    runtime: &Runtime,
    future: impl Future<Output = T> + Send + 'static,
) -> T {
    let task = runtime.spawn(future);
    runtime.block_on(task).expect("the task returns")
}

/// What the picture shows.
const DRAWN: [&str; 6] = [
    "round trip, one CPU",
    "round trip",
    "many submits",
    "map",
    "echo 1 MiB",
    "echo 64 MiB",
];

const PYTHON: &[&str] = &peers::NAMES;
const PROCESSES: &[&str] = &[
    Procspawn::NAME,
    peers::POOL,
    peers::EXECUTOR,
    peers::LOKY,
    peers::PEBBLE,
];
const THREADS: &[&str] = &[SpawnBlocking::NAME, TokioRayon::NAME];
const LIMIT: &[&str] = &[limit::NAME];

fn print_goals(table: &Table) {
    let processes = |measure, goal| table.print_goal(measure, ProcessPool::NAME, goal);
    let threads = |measure, goal| table.print_goal(measure, ThreadPool::NAME, goal);
    let gib = |rate: f64| Goal::Value(1.0 / rate / f64::from(1 << 30));
    processes("round trip, one CPU", Goal::Times(1.05, LIMIT));
    processes("round trip", Goal::Times(1.3, LIMIT));
    processes("many submits", Goal::Value(1.0 / 1e6));
    processes("many submits", Goal::Times(6.0, &[peers::POOL]));
    processes("map", Goal::Value(1.0 / 60e6));
    processes("map", Goal::Times(5.0, PYTHON));
    processes("map by hand", Goal::Times(1.0, &[Procspawn::NAME]));
    let echoes = [
        ("echo 64 KiB, one CPU", 1.5, 2.0),
        ("echo 64 KiB", 1.5, 2.0),
        ("echo 1 MiB", 2.5, 2.0),
        ("echo 64 MiB", 2.0, 5.0),
    ];
    for (measure, rate, times) in echoes {
        processes(measure, gib(rate));
        processes(measure, Goal::Times(times, PROCESSES));
    }
    threads("round trip", Goal::Times(1.0, THREADS));
    threads("many submits", Goal::Times(1.0, &[TokioRayon::NAME]));
    threads("map", Goal::Times(1.0, &[ProcessPool::NAME]));
    for on in [&processes as &dyn Fn(_, _), &threads] {
        on(FOUR_RUNTIMES, Goal::OfRow(0.8, "many submits"));
        on("queued task", Goal::Value(300.0));
        on("queue's descriptors", Goal::Value(0.0));
        on("heartbeat, p99", Goal::Times(2.0, LIMIT));
    }
}
