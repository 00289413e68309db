//! A progress bar over a long `map`: how long the Collatz sequences of the first numbers are.
//!
//! Run it with `cargo run --release --example progress_bar`. Without a terminal there is no bar.

use std::error::Error;

use concurrent_futures::{ExecutorExt as _, ProcessPoolExecutor};
use futures::StreamExt as _;
use indicatif::{ProgressBar, ProgressStyle};

const NUMBERS: u64 = 1_000_000;

/// How many steps it takes to reach 1 (halve what is even, triple and add one to what is odd).
fn steps_to_one(mut n: u64) -> u64 {
    let mut steps = 0;
    while n > 1 {
        n = if n.is_multiple_of(2) {
            n / 2
        } else {
            3 * n + 1
        };
        steps += 1;
    }
    steps
}

fn main() -> Result<(), Box<dyn Error>> {
    concurrent_futures::init();
    run()
}

#[tokio::main]
async fn run() -> Result<(), Box<dyn Error>> {
    let pool = ProcessPoolExecutor::new()?;
    let mut lengths = pool.map(steps_to_one, 1..NUMBERS);
    let style = "{bar:40} {pos} of {len}, {per_sec}, {eta} left";
    let bar =
        ProgressBar::new(lengths.progress().total).with_style(ProgressStyle::with_template(style)?);

    let mut longest = (0, 0);
    while let Some(length) = lengths.next().await {
        let progress = lengths.progress();
        longest = longest.max((length?, progress.done)); // Results come in order: the n-th is that of n.
        bar.set_position(progress.done);
    }
    bar.finish();
    let (steps, number) = longest;
    println!("the longest way below {NUMBERS} is that of {number}: {steps} steps");
    pool.shutdown().await;
    Ok(())
}
