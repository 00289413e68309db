//! A task that sleeps for a second and then computes 128 to the power of 256, in a pool of one
//! process. The runtime is free meanwhile.
//!
//! Run it with `cargo run --release --example calc_and_sleep`.

use std::error::Error;
use std::thread;
use std::time::{Duration, Instant};

use concurrent_futures::{ExecutorExt as _, ProcessPoolExecutor};
use num_bigint::BigUint;

/// The digits of `base` to the power of `exponent`, after a second.
fn calc_and_sleep(base: u32, exponent: u32) -> String {
    thread::sleep(Duration::from_secs(1));
    BigUint::from(base).pow(exponent).to_string()
}

fn main() -> Result<(), Box<dyn Error>> {
    concurrent_futures::init();
    run()
}

#[tokio::main]
async fn run() -> Result<(), Box<dyn Error>> {
    let start = Instant::now();
    let pool = ProcessPoolExecutor::with_workers(1)?;
    let digits = pool.submit(calc_and_sleep, (128, 256)).await?;
    println!("128 to the power of 256 is {digits}");
    println!("Finished in {:.2} seconds", start.elapsed().as_secs_f64());
    pool.shutdown().await;
    Ok(())
}
