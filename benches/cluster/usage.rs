//! The memory of client, worker program and server over 100 000 tasks, and the processor time that each takes for one.

use std::fs;

use concurrent_futures::ExecutorExt as _;
use concurrent_futures::cluster::Durability;
use futures::StreamExt as _;
use tokio::runtime::Runtime;

use crate::common::figure::{Figure, Unit};
use crate::common::table::Table;
use crate::nats::NatsServer;
use crate::programs::{Cluster, Fleet, WORKERS};
use crate::work::noop;

/// Submitted and without a result.
const IN_FLIGHT: usize = 1000;
/// The rows, and how many tasks have ended by then.
const ROWS: [(&str, usize); 4] = [
    ("memory before", 0),
    ("after 10 000 tasks", 10_000),
    ("after 50 000 tasks", 50_000),
    ("after 100 000 tasks", 100_000),
];
const PROCESSOR: &str = "processor time of a task";

const CLIENT: &str = "client";
const WORKER: &str = "worker program";
const SERVER: &str = "server";

/// Prints and reports both. The server keeps each outcome for its time to live, so its memory grows until then.
pub(crate) fn measure(runtime: &Runtime, server: &NatsServer) {
    let mut table = Table::new(vec![CLIENT, WORKER, SERVER]);
    runtime.block_on(async {
        let servers = std::slice::from_ref(server);
        let fleet = Fleet {
            programs: 1,
            slots: WORKERS,
            durability: Durability::file(),
        };
        let cluster = Cluster::start(servers, "usage", fleet).await;
        let processes = [
            (CLIENT, std::process::id()),
            (WORKER, cluster.programs[0].id()),
            (SERVER, server.process().expect("it runs")),
        ];
        run(&cluster, IN_FLIGHT).await; // What is made once and kept.
        let before = processes.map(|(_, pid)| processor_time(pid));
        let mut done = 0;
        for (row, tasks) in ROWS {
            run(&cluster, tasks - done).await;
            done = tasks;
            table.add(row, Unit::Memory);
            for (name, pid) in processes {
                table.put(row, name, Figure::from(resident(pid)));
            }
        }
        table.add(PROCESSOR, Unit::Time);
        for ((name, pid), before) in processes.into_iter().zip(before) {
            let each = (processor_time(pid) - before) / done as f64;
            table.put(PROCESSOR, name, Figure::from(each));
        }
        cluster.end().await;
    });
    table.print();
    table.report("memory");
}

async fn run(cluster: &Cluster, tasks: usize) {
    let calls = (0..tasks).map(|_| cluster.client.submit(noop, ()));
    let outcomes = futures::stream::iter(calls).buffer_unordered(IN_FLIGHT);
    outcomes
        .for_each(async |outcome| outcome.expect("it runs"))
        .await;
}

/// In bytes.
fn resident(pid: u32) -> f64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let size = line.and_then(|line| line.split_whitespace().next()?.parse::<f64>().ok());
    size.unwrap_or_default() * 1024.0
}

/// Of all threads, in seconds.
fn processor_time(pid: u32) -> f64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // The name, in parentheses, may have spaces. The fields 14 and 15 are in the program and in the kernel.
    let fields = stat.rsplit_once(')').map_or("", |(_, fields)| fields);
    let ticks = fields.split_whitespace().skip(11).take(2);
    let ticks: f64 = ticks.filter_map(|ticks| ticks.parse::<f64>().ok()).sum();
    ticks / rustix::param::clock_ticks_per_second() as f64
}
