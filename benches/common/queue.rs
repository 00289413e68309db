//! What waiting tasks cost. A separate process counts them, with memory that was not used before.

use std::fs;
use std::process::{Command, Stdio};

use futures::future::join_all;

use super::contender::{AddOne, Compute, Contender, WORKERS, Work};

/// Set for the counting process: which contender, and how many tasks.
const CONTENDER: &str = "BENCH_QUEUE_CONTENDER";
const TASKS: &str = "BENCH_QUEUE_TASKS";

/// Never returns.
struct Hold;
impl Work for Hold {
    type Input = ();
    type Output = ();

    fn run((): ()) {
        loop {
            std::thread::park();
        }
    }
}

/// Takes longer than another worker takes to start.
type Linger = Compute<50>;

/// What the tasks of a queue take.
#[derive(Clone, Copy)]
pub(crate) struct Queue {
    /// Bytes for each task, beyond those of its argument.
    pub(crate) bytes: f64,
    pub(crate) descriptors: f64,
}

/// Measures it, in another process.
pub(crate) fn measure<C: Contender>(tasks: usize) -> Queue {
    let mut command = Command::new(std::env::current_exe().expect("the system tells"));
    let command = command
        .env(CONTENDER, C::NAME)
        .env(TASKS, tasks.to_string());
    let output = command.stderr(Stdio::inherit()).output();
    let output = output.expect("the executable starts").stdout;
    let output = String::from_utf8(output).expect("it prints numbers");
    let mut numbers = output
        .split_whitespace()
        .map(|number| number.parse().expect("it prints numbers"));
    let mut number = || numbers.next().expect("it prints two");
    Queue {
        bytes: number(),
        descriptors: number(),
    }
}

/// In the counting process of this contender, counts and exits.
pub(crate) fn count_if_asked<C: Contender>() {
    if std::env::var(CONTENDER).ok().as_deref() != Some(C::NAME) {
        return;
    }
    let tasks = std::env::var(TASKS)
        .ok()
        .and_then(|tasks| tasks.parse().ok());
    let runtime = super::runtime();
    let queue = runtime.block_on(count::<C>(tasks.expect("it says how many")));
    println!("{} {}", queue.bytes, queue.descriptors);
    std::process::exit(0);
}

async fn count<C: Contender>(tasks: usize) -> Queue {
    let contender = C::start();
    join_all([(); WORKERS].map(|()| contender.submit::<Linger>(()))).await; // All are there.
    let held = [(); WORKERS].map(|()| contender.submit::<Hold>(()));
    let before = (resident(), descriptors());
    let mut calls = Vec::with_capacity(tasks);
    calls.extend((0..tasks as u64).map(|x| contender.submit::<AddOne>(x)));
    let bytes = (resident() - before.0) / tasks as f64;
    let descriptors = descriptors() - before.1;
    std::mem::forget((held, calls)); // The process ends here.
    Queue {
        bytes: bytes - size_of::<u64>() as f64,
        descriptors,
    }
}

/// The memory of this process, in bytes.
fn resident() -> f64 {
    let status = fs::read_to_string("/proc/self/status").expect("a process knows itself");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<f64>().ok());
    kib.expect("it has memory") * 1024.0
}

fn descriptors() -> f64 {
    let open = fs::read_dir("/proc/self/fd").expect("a process knows itself");
    open.count() as f64
}
