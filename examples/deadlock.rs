//! A function that has a lock calls another that takes it. That would wait for itself for ever; it is told instead, with
//! both places. With a lock that a task can take again, it goes well.
//!
//! Run it with `cargo run --release --example deadlock`; `-- --fast` waits less before it tells.

use std::env;
use std::error::Error;
use std::time::Duration;

use concurrent_futures::sync::deadlock::Detection;
use concurrent_futures::sync::{Lock, RLock};

mod wrong {
    use super::Lock;

    pub(super) async fn f(lock: &Lock<()>) {
        let _guard = lock.lock().await;
        println!("f() acquired lock, and calls g()");
        g(lock).await;
    }

    async fn g(lock: &Lock<()>) {
        let _guard = lock.lock().await;
        println!("g() acquired lock");
    }
}

mod mended {
    use super::RLock;

    pub(super) async fn f(lock: &RLock<()>) {
        let _guard = lock.lock().await;
        g(lock).await;
        println!("f() acquired lock");
    }

    async fn g(lock: &RLock<()>) {
        let _guard = lock.lock().await;
        println!("g() acquired lock");
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let is_fast = env::args().any(|argument| argument == "--fast");
    let patience = Duration::from_millis(if is_fast { 10 } else { 1000 });
    Detection::new().patience(patience).enable(); // Debug builds have it on.

    let task = tokio::spawn(async { wrong::f(&Lock::new(())).await });
    match task.await {
        Ok(()) => println!("there was no deadlock"),
        Err(error) => println!("{}", message_of(error)?),
    }

    mended::f(&RLock::new(())).await;
    Ok(())
}

/// What the task panicked with.
fn message_of(error: tokio::task::JoinError) -> Result<String, Box<dyn Error>> {
    let panic = error.try_into_panic()?;
    let message = panic.downcast::<String>();
    message
        .map(|message| *message)
        .map_err(|_| "another panic".into())
}
