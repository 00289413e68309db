//! A worker process puts a list into a queue, and the program takes it out: it prints `[6, 9]`.
//!
//! Run it with `cargo run --release --example queue`.

use std::error::Error;

use concurrent_futures::multiprocessing::Queue;
use concurrent_futures::{ExecutorExt as _, ProcessPoolExecutor};

fn put_triples(queue: Queue<Vec<u32>>, numbers: Vec<u32>) {
    let triples = numbers.iter().map(|number| 3 * number).collect();
    queue.blocking_put(triples).expect("there is memory");
}

fn main() -> Result<(), Box<dyn Error>> {
    concurrent_futures::init();
    run()
}

#[tokio::main]
async fn run() -> Result<(), Box<dyn Error>> {
    let pool = ProcessPoolExecutor::with_workers(1)?;
    let queue = Queue::unbounded()?;
    let putting = pool.submit(put_triples, (queue.clone(), vec![2, 3]));
    println!("{:?}", queue.get().await?);
    putting.await?;
    pool.shutdown().await;
    Ok(())
}
