//! Tasks that end together. Workers compute the checksums of some pages. The first page that is damaged cancels the
//! work on the others, even on one that would never end.
//!
//! Run it with `cargo run --release --example task_group`.

use std::error::Error;

use concurrent_futures::{ExecutorExt as _, ProcessPoolExecutor, TaskError, TaskGroup};

/// Stands for a download and the work on its content.
fn checksum(page: &str, rounds: u64) -> u64 {
    assert!(!page.contains('\u{fffd}'), "the page is damaged");
    let mut sum = 0_u64;
    for _ in 0..rounds {
        for byte in page.bytes() {
            sum = sum.rotate_left(5) ^ u64::from(byte);
        }
    }
    sum
}

/// The outcome for each page, by name. Two tasks are in flight at a time.
async fn checksums(
    pool: &ProcessPoolExecutor,
    pages: &[(&'static str, &str, u64)],
) -> Vec<(&'static str, Result<u64, TaskError>)> {
    let mut group = TaskGroup::new().max_in_flight(2);
    for &(name, page, rounds) in pages {
        let page = page.to_owned();
        let check = |page: String, rounds| checksum(&page, rounds);
        group.spawn_keyed(name, pool, check, (page, rounds)).await;
    }
    let mut outcomes = group.join_all().await; // In the order in which they arrive.
    outcomes.sort_by_key(|(name, _)| *name);
    outcomes
}

fn main() -> Result<(), Box<dyn Error>> {
    concurrent_futures::init();
    run()
}

#[tokio::main]
async fn run() -> Result<(), Box<dyn Error>> {
    let pool = ProcessPoolExecutor::with_workers(2)?;
    let good = [("about", "Who we are", 1000), ("index", "Welcome", 1000)];
    let damaged = [
        ("archive", "All we know", u64::MAX),
        ("news", "\u{fffd}", 1),
    ];
    for pages in [good, damaged] {
        for (name, outcome) in checksums(&pool, &pages).await {
            match outcome {
                Ok(sum) => println!("{name}: {sum:016x}"),
                Err(error) if error.is_cancelled() => println!("{name}: cancelled"),
                Err(error) if error.is_panic() => println!("{name}: failed"),
                Err(error) => return Err(error.into()),
            }
        }
    }
    pool.shutdown().await;
    Ok(())
}
