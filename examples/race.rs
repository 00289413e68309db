//! Two tasks add to a counter, each with a pause between reading and writing. Without a lock, one update is
//! lost. With a lock, both count.
//!
//! Run it with `cargo run --release --example race`; `-- --fast` pauses less.

use std::env;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use concurrent_futures::sync::Lock;
use tokio::task::JoinError;
use tokio::time::sleep;

async fn add(counter: Arc<AtomicU32>, amount: u32, pause: Duration) {
    let read = counter.load(Ordering::SeqCst);
    sleep(pause).await; // The other task reads the same value.
    counter.store(read + amount, Ordering::SeqCst);
    println!("counter={}", read + amount);
}

async fn add_under_lock(counter: Arc<Lock<u32>>, amount: u32, pause: Duration) {
    let mut counter = counter.lock().await;
    let read = *counter;
    sleep(pause).await; // The other task waits for the lock.
    *counter = read + amount;
    println!("counter={}", *counter);
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), JoinError> {
    let is_fast = env::args().any(|argument| argument == "--fast");
    let pause = Duration::from_millis(if is_fast { 10 } else { 100 });

    println!("Without a lock:");
    let counter = Arc::new(AtomicU32::new(0));
    let tasks = [1, 2].map(|amount| tokio::spawn(add(counter.clone(), amount, pause)));
    for task in tasks {
        task.await?;
    }
    let counter = counter.load(Ordering::SeqCst);
    println!("at the end, counter={counter}: an update is lost");

    println!("Under a lock:");
    let counter = Arc::new(Lock::new(0));
    let tasks = [1, 2].map(|amount| tokio::spawn(add_under_lock(counter.clone(), amount, pause)));
    for task in tasks {
        task.await?;
    }
    println!("counter={}", *counter.lock().await);
    Ok(())
}
