//! The absolute values of some numbers, computed by a pool of three processes, in the order of the numbers.
//!
//! Run it with `cargo run --example pool_map_abs`.

use std::error::Error;

use concurrent_futures::{ExecutorExt as _, ProcessPoolExecutor};
use futures::TryStreamExt as _;

fn main() -> Result<(), Box<dyn Error>> {
    concurrent_futures::init();
    run()
}

#[tokio::main]
async fn run() -> Result<(), Box<dyn Error>> {
    let pool = ProcessPoolExecutor::with_workers(3)?;
    let values: Vec<i32> = pool.map(i32::abs, [-2, 8, -3, 0]).try_collect().await?;
    println!("{values:?}");
    pool.shutdown().await;
    Ok(())
}
