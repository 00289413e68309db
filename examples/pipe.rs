//! A worker process doubles each number that it receives through a pipe, and sends it back. The program
//! prints `6`, `8` and `10`.
//!
//! Run it with `cargo run --release --example pipe`.

use std::error::Error;

use concurrent_futures::multiprocessing::{Connection, pipe};
use concurrent_futures::{ExecutorExt as _, ProcessPoolExecutor};

fn double(numbers: Connection<u32, u32>) {
    // Runs until the other end is closed.
    while let Ok(number) = numbers.blocking_recv() {
        let sent = numbers.blocking_send(2 * number);
        sent.expect("the other end receives it");
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    concurrent_futures::init();
    run()
}

#[tokio::main]
async fn run() -> Result<(), Box<dyn Error>> {
    let pool = ProcessPoolExecutor::with_workers(1)?;
    let (ours, theirs) = pipe()?;
    let doubling = pool.submit(double, theirs);
    for number in 3..=5 {
        ours.send(number).await?;
        println!("{}", ours.recv().await?);
    }
    drop(ours);
    doubling.await?;
    pool.shutdown().await;
    Ok(())
}
