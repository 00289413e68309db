//! Which of six large numbers are prime, one after the other and then by a pool of processes.
//!
//! Run it with `cargo run --release --example primes`.

use std::error::Error;
use std::time::{Duration, Instant};

use concurrent_futures::{Executor as _, ExecutorExt as _, ProcessPoolExecutor};
use futures::StreamExt as _;

const NUMBERS: [u64; 6] = [
    112_272_535_095_293,
    112_582_705_942_171,
    102_272_535_065_492,
    115_280_095_190_773,
    115_797_848_077_099,
    1_099_726_899_285_419,
];

/// Tries every odd divisor up to the square root.
fn is_prime(n: u64) -> bool {
    if n.is_multiple_of(2) {
        return n == 2;
    }
    n > 1
        && (3..=n.isqrt())
            .step_by(2)
            .all(|divisor| !n.is_multiple_of(divisor))
}

fn main() -> Result<(), Box<dyn Error>> {
    concurrent_futures::init();
    run()
}

#[tokio::main]
async fn run() -> Result<(), Box<dyn Error>> {
    let start = Instant::now();
    let expected = NUMBERS.map(is_prime);
    let serial = start.elapsed();

    let start = Instant::now();
    let pool = ProcessPoolExecutor::new()?;
    let mut answers = pool.map(is_prime, NUMBERS);
    for (number, expected) in NUMBERS.into_iter().zip(expected) {
        let prime = answers.next().await.expect("an answer for each number")?;
        assert_eq!(prime, expected, "both ways give the same answer");
        println!("{number} is prime: {prime}");
    }
    let pooled = start.elapsed();

    let ms = |time: Duration| time.as_secs_f64() * 1e3;
    println!();
    println!("one after the other: {:.0} ms", ms(serial));
    println!(
        "by a pool of {} processes, their start included: {:.0} ms, {:.2} times as fast",
        pool.max_workers(),
        ms(pooled),
        ms(serial) / ms(pooled),
    );
    pool.shutdown().await;
    Ok(())
}
