//! What the cluster costs, beside the local pools and beside Celery with Redis, Ray and Dask, in one run:
//! `cargo bench -p benches --bench cluster`. At the end it prints the medians side by side, compares them with the
//! goals, and prints the memory and the processor time of client, worker program and server. It takes about six
//! minutes. Two arguments select measures and contenders whose names contain them:
//! `cargo bench -p benches --bench cluster -- 'many submits' 'two programs'`.
//!
//! Servers, worker programs and the client are on this machine. A worker program has a thread pool of two workers, and
//! so have the local pools and the peers' workers; it claims two tasks at a time, or 16 where the column says so.
//! `cluster/peers.py` measures the peers, with `$PYTHON` or `python3`; `cluster/peers` installs them. `nats-server` is
//! in the path, or where `NATS_SERVER` says.
//!
//! The contenders keep their promises in different places:
//!
//! - The cluster stores task, claim and outcome in the server's files, which the server syncs every two minutes, as is
//!   its default. With three nodes each message is in two of them before it counts. "Two, in memory" has no files.
//! - Celery's Redis has everything in memory, and writes no file. A worker acknowledges a task after its end.
//! - Ray and Dask have everything in the memory of their processes: it ends with the program that submits.
//!
//! The time after a kill is that of one process. A worker program of the cluster is a whole worker, as one of Dask is,
//! and its task goes to another one after the `ack_wait`, here 5 s. Celery and Ray have a process on the same machine
//! that sees its children end.

#[expect(dead_code, reason = "the other benches use the rest")]
mod common;
#[path = "../tests/common/nats.rs"]
#[allow(dead_code, unreachable_pub, reason = "tests use the rest")]
mod nats;
#[path = "cluster/programs.rs"]
mod programs;
#[path = "cluster/usage.rs"]
mod usage;
#[path = "cluster/work.rs"]
mod work;

use std::sync::Arc;

use concurrent_futures::cluster::Durability;
use concurrent_futures::{Executor, ExecutorExt as _, ProcessPoolExecutor, ThreadPoolExecutor};
use tokio::runtime::Runtime;

use self::common::figure::{self, Unit};
use self::common::limit::OneCpu;
use self::common::peers::Peers;
use self::common::runtime;
use self::common::table::{Goal, Table};
use self::nats::NatsServer;
use self::programs::{Cluster, Fleet, WORKERS};
use self::work::{MANY, MEASURES, ON_ONE_CPU, RECOVERY, ROUND_TRIP, UNTUNED_MAP};

const ONE: &str = "one program";
const TWO: &str = "two programs";
const FOUR: &str = "four programs";
const MEMORY: &str = "two, in memory";
const SLOTS: &str = "two, 16 slots";
const NODES: &str = "two, three nodes";
const PROCESSES: &str = "ProcessPool";
const THREADS: &str = "ThreadPool";
const PEERS: [&str; 3] = ["Celery", "Ray", "Dask"];
const EACH_PEER: [&[&str]; 3] = [&["Celery"], &["Ray"], &["Dask"]];
const COLUMNS: [&str; 11] = [
    ONE, TWO, FOUR, SLOTS, MEMORY, NODES, PROCESSES, THREADS, PEERS[0], PEERS[1], PEERS[2],
];
/// The column of the tables of memory and processor time.
const USAGE: &str = "usage";

fn main() {
    concurrent_futures::init();
    if programs::serve_if_worker() {
        return;
    }
    let Some(server) = NatsServer::start("") else {
        return;
    };
    let mut bench = Bench {
        table: Table::new(COLUMNS.to_vec()),
        runtime: runtime(),
        quick: figure::is_quick(),
    };
    for (measure, unit) in MEASURES {
        bench.table.add(measure, unit);
    }
    bench.table.add(ON_ONE_CPU, Unit::Time);
    bench.table.add(RECOVERY, Unit::Time);
    let one = std::slice::from_ref(&server);
    let fleet = |programs| Fleet {
        programs,
        slots: WORKERS,
        durability: Durability::file(),
    };
    bench.cluster(ONE, one, fleet(1));
    bench.cluster(TWO, one, fleet(2));
    bench.cluster(FOUR, one, fleet(4));
    let many_slots = Fleet {
        slots: 16,
        ..fleet(2)
    };
    bench.cluster(SLOTS, one, many_slots);
    let in_memory = Fleet {
        durability: Durability::memory(),
        ..fleet(2)
    };
    bench.cluster(MEMORY, one, in_memory);
    if is_chosen(NODES)
        && let Some(nodes) = NatsServer::start_cluster(3)
    {
        let replicated = Fleet {
            durability: Durability::replicas(3),
            ..fleet(2)
        };
        bench.cluster(NODES, &nodes, replicated);
    }
    let all = MEASURES.map(|(measure, _)| measure);
    bench.threads(&all);
    bench.processes(&all);
    bench.on_one_cpu(fleet(1));
    if bench.quick {
        return;
    }
    if PEERS.into_iter().any(is_chosen) {
        bench.peers();
    }
    bench.table.print();
    bench.table.report("cluster");
    bench.goals();
    if is_wanted(USAGE) && is_chosen(USAGE) {
        usage::measure(&bench.runtime, &server);
    }
}

struct Bench {
    table: Table,
    runtime: Runtime,
    /// Only tests that everything runs, once.
    quick: bool,
}

impl Bench {
    fn cluster(&mut self, name: &'static str, servers: &[NatsServer], fleet: Fleet) {
        if !is_chosen(name) {
            return;
        }
        let cluster = Cluster::start(servers, name, fleet);
        let mut cluster = self.runtime.block_on(cluster);
        let all = MEASURES.map(|(measure, _)| measure);
        self.measure(name, &cluster.client.clone(), &all);
        if is_wanted(RECOVERY) && [TWO, NODES].contains(&name) {
            let times = if self.quick { 1 } else { 3 };
            let figure = self.runtime.block_on(cluster.recovery(times));
            self.table.put(RECOVERY, name, figure);
        }
        self.runtime.block_on(cluster.end());
    }

    /// Measures the round trip with the client, the server and the worker program on one CPU.
    fn on_one_cpu(&mut self, fleet: Fleet) {
        if !is_wanted(ON_ONE_CPU) {
            return;
        }
        let _cpu = OneCpu::stay();
        let everywhere = std::mem::replace(&mut self.runtime, runtime());
        if is_chosen(ONE)
            && let Some(server) = NatsServer::start("")
        {
            let cluster = Cluster::start(std::slice::from_ref(&server), ONE, fleet);
            let cluster = self.runtime.block_on(cluster);
            self.measure(ONE, &cluster.client.clone(), &[ON_ONE_CPU]);
            self.runtime.block_on(cluster.end());
        }
        self.threads(&[ON_ONE_CPU]);
        self.processes(&[ON_ONE_CPU]);
        self.runtime = everywhere;
    }

    fn threads(&mut self, measures: &[&'static str]) {
        let pool = ThreadPoolExecutor::builder().max_workers(WORKERS).build();
        self.local(THREADS, Arc::new(pool.expect("a pool")), measures);
    }

    fn processes(&mut self, measures: &[&'static str]) {
        let pool = ProcessPoolExecutor::builder().max_workers(WORKERS).build();
        self.local(PROCESSES, Arc::new(pool.expect("a pool")), measures);
    }

    fn local(&mut self, name: &'static str, pool: Arc<dyn Executor>, measures: &[&'static str]) {
        if is_chosen(name) {
            self.measure(name, &*pool, measures);
        }
        self.runtime.block_on(pool.shutdown());
    }

    fn measure(&mut self, name: &'static str, executor: &dyn Executor, measures: &[&'static str]) {
        for measure in measures.iter().filter(|measure| is_wanted(measure)) {
            eprintln!("{name}: {measure} ...");
            let figure = work::measure(executor, measure, self.quick);
            self.table.put(measure, name, self.runtime.block_on(figure));
        }
    }

    fn peers(&mut self) {
        let peers = match Peers::measure_by("cluster/peers.py", "all", figure::filter()) {
            Ok(peers) => peers,
            Err(reason) => return println!("no peers: {reason}"),
        };
        for measure in self.table.measures() {
            for peer in PEERS {
                if let Some(figure) = peers.get(measure, peer) {
                    self.table.put(measure, peer, figure);
                }
            }
        }
        let missing = peers.missing_of(&PEERS);
        if !missing.is_empty() {
            println!(
                "not measured: {}; `benches/cluster/peers` installs them",
                missing.join(", ")
            );
        }
    }

    fn goals(&self) {
        self.table.print_goals_head();
        for measure in [ROUND_TRIP, ON_ONE_CPU] {
            self.table.print_goal(measure, ONE, Goal::Value(0.5e-3));
        }
        self.table
            .print_goal(MANY, TWO, Goal::Value(1.0 / 15_000.0));
        self.table
            .print_goal(MANY, SLOTS, Goal::Value(1.0 / 15_000.0));
        self.table.print_goal(UNTUNED_MAP, TWO, Goal::Value(0.5e-6));
        for peer in EACH_PEER {
            for measure in [ROUND_TRIP, ON_ONE_CPU] {
                let trip = Goal::Times(1.0 / 3.0, peer);
                self.table.print_goal(measure, ONE, trip);
            }
            self.table.print_goal(MANY, TWO, Goal::Times(5.0, peer));
        }
    }
}

/// Whether the command line selects this measure.
fn is_wanted(measure: &str) -> bool {
    figure::filter().is_none_or(|filter| measure.contains(&filter))
}

/// Whether the command line selects this contender.
fn is_chosen(contender: &str) -> bool {
    let mut words = std::env::args().skip(1).filter(|arg| !arg.starts_with('-'));
    words
        .nth(1)
        .is_none_or(|filter| contender.contains(&filter))
}
