//! A pool keeps working when tasks kill their processes. Each death is the error of one task, and the next
//! task gets a new worker.
//!
//! Run it with `cargo run --release --example crash`.

use std::error::Error;
use std::{hint, process, ptr, thread};

use concurrent_futures::{Executor as _, ExecutorExt as _, ProcessPoolExecutor};
use rustix::process::{Signal, getpid, kill_process};
use serde::{Deserialize, Serialize};

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
enum Crash {
    Abort,
    Segfault,
    StackOverflow,
    Exit,
    Kill,
}

/// Ends the process that calls this.
fn crash(how: Crash) -> u64 {
    match how {
        Crash::Abort => process::abort(),
        Crash::Segfault => segfault(),
        Crash::StackOverflow => descend(0),
        // Even an orderly exit leaves the task without a result.
        Crash::Exit => process::exit(0),
        Crash::Kill => kill(),
    }
}

#[expect(unsafe_code, reason = "the example shows what unsafe code can do")]
fn segfault() -> u64 {
    let nowhere = ptr::dangling_mut::<u8>();
    // SAFETY: none, on purpose: nothing is mapped at this address, so the system ends the process here.
    unsafe { nowhere.write_volatile(1) };
    0
}

/// Calls itself until the stack is used up.
fn descend(depth: u64) -> u64 {
    if hint::black_box(depth) == u64::MAX {
        return depth;
    }
    hint::black_box(descend(depth + 1) + 1)
}

/// Kills this process in the way the kernel does when memory runs out.
fn kill() -> u64 {
    kill_process(getpid(), Signal::KILL).expect("a process may kill itself");
    loop {
        thread::park(); // Until the signal arrives.
    }
}

fn double(x: u64) -> u64 {
    2 * x
}

fn main() -> Result<(), Box<dyn Error>> {
    concurrent_futures::init();
    run()
}

#[tokio::main]
async fn run() -> Result<(), Box<dyn Error>> {
    let pool = ProcessPoolExecutor::with_workers(1)?;
    for how in [
        Crash::Abort,
        Crash::Segfault,
        Crash::StackOverflow,
        Crash::Exit,
        Crash::Kill,
    ] {
        match pool.submit(crash, how).await {
            Ok(_) => println!("{how:?}: survived"),
            Err(error) => println!("{how:?}: {error}"),
        }
        println!(
            "and on it goes: 2 * 21 = {}\n",
            pool.submit(double, 21).await?
        );
    }
    println!("{:?}", pool.stats());
    pool.shutdown().await;
    Ok(())
}
