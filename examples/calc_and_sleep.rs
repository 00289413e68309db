//! A task sleeps for one second, then computes 128 to the power of 256. It runs in a pool of one process, so the
//! runtime stays free.
//!
//! Run it with `cargo run --release --example calc_and_sleep`.

use std::error::Error;
use std::thread;
use std::time::{Duration, Instant};

use concurrent_futures::{ExecutorExt as _, ProcessPoolExecutor};

/// Sleeps for one second. Returns the decimal digits of `base` to the power of `exponent`.
fn calc_and_sleep(base: u32, exponent: u32) -> String {
    thread::sleep(Duration::from_secs(1));
    let mut power = vec![1]; // Nine digits in each element, the lowest first.
    for _ in 0..exponent {
        multiply(&mut power, base);
    }
    let (highest, rest) = power.split_last().expect("a number has digits");
    let rest = rest.iter().rev().map(|digits| format!("{digits:09}"));
    highest.to_string() + &rest.collect::<String>()
}

/// Multiplies a number of any length, as on paper.
fn multiply(number: &mut Vec<u32>, factor: u32) {
    const BASE: u64 = 1_000_000_000;
    let mut carry = 0;
    for digits in &mut *number {
        let product = u64::from(*digits) * u64::from(factor) + carry;
        *digits = (product % BASE) as u32;
        carry = product / BASE;
    }
    while carry > 0 {
        number.push((carry % BASE) as u32);
        carry /= BASE;
    }
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
    println!("{digits}");
    println!("Finished in {:.2} seconds", start.elapsed().as_secs_f64());
    pool.shutdown().await;
    Ok(())
}
