//! Which numbers are prime? Checked first one after another, then by a pool of processes.
//!
//! Run it with `cargo run --release --example primes`. The option `--fast` checks the six numbers only.

use std::error::Error;
use std::time::Instant;

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

/// Checked after the six. Only the primes among them take long.
const MORE: std::ops::Range<u64> = 1_000_000_000_000_000..1_000_000_000_002_800;

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
    let is_fast = std::env::args().any(|argument| argument == "--fast");
    let more = if is_fast { 0..0 } else { MORE };
    let numbers: Vec<u64> = NUMBERS.into_iter().chain(more.clone()).collect();

    let start = Instant::now();
    let expected: Vec<bool> = numbers.iter().copied().map(is_prime).collect();
    let serial = start.elapsed();

    let start = Instant::now();
    let pool = ProcessPoolExecutor::new()?;
    let mut answers = pool.map(is_prime, numbers);
    let mut primes = 0;
    for (at, expected) in expected.into_iter().enumerate() {
        let prime = answers.next().await.expect("an answer for each number")?;
        assert_eq!(prime, expected, "both ways give the same answer");
        match NUMBERS.get(at) {
            Some(number) => println!("{number} is prime: {prime}"),
            None => primes += usize::from(prime),
        }
    }
    let pooled = start.elapsed();
    if !is_fast {
        println!(
            "{primes} of the numbers from {} to {} are prime",
            more.start, more.end
        );
    }

    println!();
    println!("one after the other: {:.2} s", serial.as_secs_f64());
    println!(
        "by a pool of {} processes, their start included: {:.2} s, {:.2} times as fast",
        pool.max_workers(),
        pooled.as_secs_f64(),
        serial.as_secs_f64() / pooled.as_secs_f64(),
    );
    pool.shutdown().await;
    Ok(())
}
