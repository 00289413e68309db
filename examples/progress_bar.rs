//! A progress bar over a long `map`, which computes the lengths of the first Collatz sequences.
//!
//! Run it with `cargo run --release --example progress_bar`. The bar appears on a terminal only. The crate `indicatif`
//! draws better ones: give `progress().done` to its `set_position`.

use std::error::Error;
use std::io::{self, IsTerminal as _};
use std::time::{Duration, Instant};

use concurrent_futures::{ExecutorExt as _, ProcessPoolExecutor, Progress};
use futures::StreamExt as _;

const NUMBERS: u64 = 1_000_000;

/// How many steps it takes to reach 1: an even number is halved, an odd one is tripled and incremented.
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

/// A line on the terminal that is drawn again ten times a second.
struct Bar {
    is_shown: bool,
    start: Instant,
    drawn: Duration,
}

impl Bar {
    const WIDTH: u64 = 40;
    const PAUSE: Duration = Duration::from_millis(100);

    fn new() -> Self {
        Self {
            is_shown: io::stderr().is_terminal(),
            start: Instant::now(),
            drawn: Duration::ZERO,
        }
    }

    fn follow(&mut self, progress: Progress) {
        let Progress { done, total, .. } = progress;
        let elapsed = self.start.elapsed();
        let is_due = done == total || elapsed >= self.drawn + Self::PAUSE;
        if !self.is_shown || !is_due {
            return;
        }
        self.drawn = elapsed;
        let full = "#".repeat((done * Self::WIDTH / total) as usize);
        let rate = done as f64 / elapsed.as_secs_f64();
        let left = (total - done) as f64 / rate;
        eprint!(
            "\r[{full:-<width$}] {done} of {total}, {rate:.0}/s, {left:.0} s left ",
            width = Self::WIDTH as usize,
        );
        if done == total {
            eprintln!();
        }
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    concurrent_futures::init();
    run()
}

#[tokio::main]
async fn run() -> Result<(), Box<dyn Error>> {
    let pool = ProcessPoolExecutor::new()?;
    let mut lengths = pool.map(steps_to_one, 1..NUMBERS);
    let mut bar = Bar::new();

    let mut longest = (0, 0);
    while let Some(length) = lengths.next().await {
        let progress = lengths.progress();
        longest = longest.max((length?, progress.done)); // Results come in order: the n-th is that of n.
        bar.follow(progress);
    }
    let (steps, number) = longest;
    println!("the longest way below {NUMBERS} is that of {number}: {steps} steps");
    pool.shutdown().await;
    Ok(())
}
