//! A short run of the stress test `examples/cluster_soak`. Each run has a new seed, which an error shows.

#[path = "../../examples/cluster_soak/dice.rs"]
mod dice;
#[path = "../../examples/cluster_soak/fleet.rs"]
mod fleet;
#[path = "../../examples/cluster_soak/load.rs"]
mod load;
#[path = "../../examples/cluster_soak/program.rs"]
mod program;
#[path = "../../examples/cluster_soak/session.rs"]
#[allow(dead_code, reason = "the stress test adds up its sessions")]
mod session;
#[path = "../../examples/cluster_soak/verdict.rs"]
mod verdict;
mod nats {
    pub(crate) use cluster_tests::NatsServer;
}

use std::time::SystemTime;

use session::{Plan, play};

concurrent_futures::init_before_main!();

/// The worker program of the other tests: this test in another process, which serves if a variable is set.
#[test]
fn worker_program() {
    program::serve_if_worker();
}

fn survive(nodes: usize, tasks: u64) {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let plan = Plan {
        seed: u64::from(now.expect("after 1970").subsec_nanos()),
        nodes,
        tasks,
        ..Plan::default()
    };
    match play(&plan) {
        Ok(None) => {} // This machine has no server.
        Ok(Some(tally)) => {
            println!("{plan:?}: {tally}");
            assert!(tally.tasks() >= tasks);
        }
        Err(what) => panic!("{plan:?}: {what}"),
    }
}

#[test]
fn each_task_has_one_outcome_although_workers_and_the_server_are_killed() {
    survive(1, 400);
}

#[test]
fn each_task_has_one_outcome_although_workers_and_nodes_are_killed() {
    survive(3, 200);
}
