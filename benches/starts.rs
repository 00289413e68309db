//! The cost of starting workers and processes, by start method and compared with peers, in one run: `cargo bench -p
//! benches --bench starts`. At the end it prints the medians side by side, and compares them with the goals.
//!
//! - *first result*: from no pool to the result of a no-op, in a pool of two workers;
//! - *one more worker*: from a pool with one ready worker to one with two;
//! - *start to join*: from the start of a process that runs an empty function to its end;
//! - *idle worker*: the memory of a worker that has run nothing.
//!
//! Contenders with only one way to start are under *only way*. `peers.py` measures Python's, with `$PYTHON` or
//! `python3`.

#[expect(dead_code, reason = "the other benches use the rest")]
mod common;

use std::process::Command;
use std::time::{Duration, Instant, SystemTime};

use concurrent_futures::StartMethod;
use concurrent_futures::multiprocessing::Process;
use criterion::{Criterion, SamplingMode};
use tokio::runtime::Builder;

use self::common::contender::{Contender, Noop, Procspawn, SpawnBlocking, ThreadPool, TokioRayon};
use self::common::figure::{self, Unit};
use self::common::peers::Peers;
use self::common::table::{Goal, Table};
use self::common::{limit, runtime, starts};

const ONLY_WAY: &str = "only way";
const COLUMNS: [&str; 4] = ["ForkServer", "Spawn", "Fork", ONLY_WAY];

/// The contenders that `peers.py` measures.
const PYTHON: [&str; 5] = [
    "first result, Python Pool",
    "first result, Python Executor",
    "first result, pebble",
    "first result, loky",
    "start to join, Python Process",
];

const FIRST_RESULT: &str = "first result, process pool";
const ONE_MORE: &str = "one more worker";
const OWN_MEMORY: &str = "idle worker, its own memory";
const SHARED_MEMORY: &str = "idle worker, with its share of shared memory";

fn main() {
    // Child processes of these also start here. An environment variable names the role of each, and it serves.
    limit::init();
    concurrent_futures::init();
    procspawn::init();

    let mut bench = Bench::new();
    // `Fork` needs a process with one thread, so the measures that start threads come later.
    bench.by_method(FIRST_RESULT, starts::first_result);
    bench.contender::<Procspawn>("first result, procspawn");
    bench.contender::<ThreadPool>("first result, thread pool");
    bench.contender::<SpawnBlocking>("first result, spawn_blocking");
    bench.contender::<TokioRayon>("first result, tokio-rayon");
    bench.only_way("first result, bare process", limit::cold_starts);
    bench.by_method(ONE_MORE, starts::one_more);
    bench.memory();
    bench.by_method("start to join, Process", process);
    bench.only_way("start to join, the command true", |times| {
        (0..times).map(|_| command()).sum()
    });
    bench.criterion.final_summary();
    if !bench.quick {
        bench.print_results();
    }
}

struct Bench {
    criterion: Criterion,
    table: Table,
    start: SystemTime,
    /// Whether criterion only runs everything once, as a test.
    quick: bool,
}

impl Bench {
    fn new() -> Self {
        Self {
            criterion: figure::criterion(Duration::from_millis(400), Duration::from_millis(1600)),
            table: Table::new(COLUMNS.to_vec()),
            start: SystemTime::now(),
            quick: figure::is_quick(),
        }
    }

    fn measure(&mut self, name: &'static str, way: &str, run: impl Fn(u64) -> Duration) {
        let mut group = self.criterion.benchmark_group(name);
        group.sample_size(20).sampling_mode(SamplingMode::Flat);
        group.bench_function(way, |bencher| bencher.iter_custom(&run));
    }

    fn by_method(&mut self, name: &'static str, measured: fn(StartMethod) -> Duration) {
        self.table.add(name, Unit::Time);
        for method in StartMethod::available() {
            self.measure(name, &format!("{method:?}"), |times| {
                (0..times).map(|_| measured(method)).sum()
            });
        }
    }

    fn only_way(&mut self, name: &'static str, run: impl Fn(u64) -> Duration) {
        self.table.add(name, Unit::Time);
        self.measure(name, ONLY_WAY, run);
    }

    /// The time to the first result. Does not include the end of the workers.
    fn contender<C: Contender>(&mut self, name: &'static str) {
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
        self.only_way(name, |times| {
            let runtime = runtime();
            let task = runtime.spawn(run::<C>(times));
            runtime.block_on(task).expect("the task returns")
        });
    }

    fn memory(&mut self) {
        let names = [OWN_MEMORY, SHARED_MEMORY];
        if figure::filter().is_some_and(|filter| !names.iter().any(|name| name.contains(&filter))) {
            return;
        }
        for name in names {
            self.table.add(name, Unit::Memory);
        }
        for method in StartMethod::available() {
            let (private, proportional) = starts::memory(method);
            let way = format!("{method:?}");
            let column = COLUMNS.into_iter().find(|column| *column == way);
            let column = column.expect("each method has a column");
            for (name, kib) in names.into_iter().zip([private, proportional]) {
                self.table.put(name, column, (kib as f64 * 1024.0).into());
            }
        }
    }

    /// Prints the results.
    fn print_results(mut self) {
        for measure in self.table.measures() {
            for way in COLUMNS {
                if let Some(figure) = figure::read(measure, way, self.start) {
                    self.table.put(measure, way, figure);
                }
            }
        }
        let peers = Peers::measure("starts", figure::filter());
        if let Ok(peers) = &peers {
            for measure in PYTHON {
                self.table.add(measure, Unit::Time);
                for way in COLUMNS {
                    if let Some(figure) = peers.get(measure, way) {
                        self.table.put(measure, way, figure);
                    }
                }
            }
        }
        self.table.print();
        self.table.report("starts");
        self.table.print_goals_head();
        let goals = [
            (FIRST_RESULT, 1.5e-3),
            (ONE_MORE, 0.5e-3),
            (SHARED_MEMORY, f64::from(1 << 20)),
        ];
        for (measure, most) in goals {
            self.table
                .print_goal(measure, "ForkServer", Goal::Value(most));
        }
        if let Err(error) = peers {
            println!("\nWithout Python: {error}.");
        }
    }
}

/// From the start of a process to its function's result. The fork server already exists.
fn process(method: StartMethod) -> Duration {
    let runtime = Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime").block_on(async {
        let run = async || {
            let process = Process::builder().start_method(method).spawn(|| (), ());
            let process = process.await.expect("it starts");
            process.join().await.expect("it runs");
        };
        run().await;
        let begun = Instant::now();
        run().await;
        begun.elapsed()
    })
}

/// The smallest program, for comparison.
fn command() -> Duration {
    let begun = Instant::now();
    let status = Command::new("true").status().expect("there is a `true`");
    assert!(status.success());
    begun.elapsed()
}
