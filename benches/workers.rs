//! The cost of a call with few and with many workers, compared with peers, in one run: `cargo bench -p benches --bench
//! workers`. At the end it prints the medians side by side, and compares them with the goal: the cost should be the
//! same.
//!
//! - *round trip*: a no-op is submitted and awaited, before the next one. All but one worker are idle;
//! - *many submits*: a whole batch of no-ops is submitted, then all are awaited. All workers get some.
//!
//! Everything runs on one CPU. More workers than CPUs do not run at once, so the difference is the cost of the workers
//! themselves.

#[expect(dead_code, reason = "the other benches use the rest")]
mod common;

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use criterion::{Criterion, SamplingMode, Throughput};
use tokio::runtime::Runtime;

use self::common::contender::{
    Contender, ProcessPool, Procspawn, ThreadPool, TokioRayon, submit_batches,
};
use self::common::figure::{self, Unit};
use self::common::table::{Goal, Table};
use self::common::{limit, runtime_for};

const WORKERS: [(usize, &str); 4] = [
    (2, FEW),
    (16, "16 workers"),
    (64, "64 workers"),
    (256, MANY),
];
const FEW: &str = "2 workers";
const MANY: &str = "256 workers";

fn main() {
    // Child processes of these also start here. An environment variable names the role of each, and it serves.
    limit::init();
    concurrent_futures::init();
    procspawn::init();

    let mut bench = Bench::new();
    bench.contender::<ProcessPool>();
    bench.contender::<ThreadPool>();
    bench.contender::<TokioRayon>();
    bench.contender::<Procspawn>();
    bench.criterion.final_summary();
    if !bench.quick {
        bench.print_results();
    }
}

struct Bench {
    criterion: Criterion,
    runtime: Runtime,
    table: Table,
    start: SystemTime,
    /// Whether criterion only runs everything once, as a test.
    quick: bool,
    _cpu: limit::OneCpu,
}

impl Bench {
    fn new() -> Self {
        let cpu = limit::OneCpu::stay();
        Self {
            criterion: figure::criterion(Duration::from_millis(400), Duration::from_millis(1600)),
            runtime: runtime_for(256), // A thread pool runs on the blocking threads.
            table: Table::new(WORKERS.map(|(_, name)| name).to_vec()),
            start: SystemTime::now(),
            quick: figure::is_quick(),
            _cpu: cpu,
        }
    }

    fn contender<C: Contender>(&mut self) {
        let measure = |what: &str| -> &'static str { format!("{what}, {}", C::NAME).leak() };
        let (round_trip, submits) = (measure("round trip"), measure("many submits"));
        self.table.add(round_trip, Unit::Time);
        self.table.add(submits, Unit::Call);
        let workers = match self.quick {
            true => &WORKERS[..2],
            false => &WORKERS,
        };
        for (workers, name) in workers {
            let contender = self.runtime.block_on(async {
                let contender = C::with_workers(*workers);
                contender.warm_up().await;
                Arc::new(contender)
            });
            self.measure(round_trip, name, 1, |times| {
                submit_batches(contender.clone(), times, 1)
            });
            self.measure(submits, name, C::BATCH, |times| {
                submit_batches(contender.clone(), times, C::BATCH)
            });
            if let Some(contender) = Arc::into_inner(contender) {
                self.runtime.block_on(contender.stop());
            }
        }
    }

    fn measure<F>(&mut self, name: &str, column: &str, batch: u64, run: impl Fn(u64) -> F)
    where
        F: Future<Output = Duration> + Send + 'static,
    {
        let mut group = self.criterion.benchmark_group(name);
        group.sample_size(20).sampling_mode(SamplingMode::Flat);
        group.throughput(Throughput::Elements(batch));
        group.bench_function(column, |bencher| {
            bencher.iter_custom(|times| {
                let task = self.runtime.spawn(run(times));
                self.runtime.block_on(task).expect("the task returns")
            });
        });
    }

    /// Prints the results.
    fn print_results(mut self) {
        let measures = self.table.measures();
        for measure in &measures {
            for (_, name) in WORKERS {
                if let Some(figure) = figure::read(measure, name, self.start) {
                    self.table.put(measure, name, figure);
                }
            }
        }
        self.table.print();
        self.table.report("workers");
        self.table.print_goals_head();
        for measure in measures {
            if measure.ends_with(ProcessPool::NAME) || measure.ends_with(ThreadPool::NAME) {
                let times = match measure.starts_with("round trip") {
                    true => 1.1,
                    false => 0.9,
                };
                self.table
                    .print_goal(measure, MANY, Goal::Times(times, &[FEW]));
            }
        }
    }
}
