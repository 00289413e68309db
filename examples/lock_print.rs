//! Five processes print a line each, after a random pause. They share a lock, so no two lines mix.
//!
//! Run it with `cargo run --release --example lock_print`. The option `--fast` leaves out the pauses.

use std::error::Error;
use std::hash::{BuildHasher as _, RandomState};
use std::thread;
use std::time::Duration;

use concurrent_futures::multiprocessing::Lock;
use concurrent_futures::{ExecutorExt as _, Output, ProcessPoolExecutor};

const PROCESSES: u32 = 5;

fn print(lock: Lock, number: u32, pause: bool) {
    if pause {
        let random = RandomState::new().hash_one(number); // Each has different keys.
        thread::sleep(Duration::from_millis(random % 1000));
    }
    let _guard = lock.blocking_lock();
    println!("Process # {number}");
}

fn main() -> Result<(), Box<dyn Error>> {
    concurrent_futures::init();
    run()
}

#[tokio::main]
async fn run() -> Result<(), Box<dyn Error>> {
    let pause = !std::env::args().any(|argument| argument == "--fast");
    let pool = ProcessPoolExecutor::builder()
        .max_workers(PROCESSES as usize)
        .stdout(Output::inherit())
        .build()?;
    let lock = Lock::new()?;
    let tasks: Vec<_> = (1..=PROCESSES)
        .map(|number| pool.submit(print, (lock.clone(), number, pause)))
        .collect();
    for task in tasks {
        task.await?;
    }
    pool.shutdown().await;
    Ok(())
}
