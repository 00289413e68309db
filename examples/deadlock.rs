//! A function that holds a lock calls another one that takes the same lock. The task would wait for itself
//! forever. The deadlock detector ends it with an error that names both places. With a lock that a task can
//! take again, both functions finish.
//!
//! Run it with `cargo run --release --example deadlock`; `-- --fast` waits for less time before it reports.

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
    Detection::new().patience(patience).enable(); // On by default in debug builds.

    let task = tokio::spawn(async { wrong::f(&Lock::new(())).await });
    match task.await {
        Ok(()) => println!("there was no deadlock"),
        Err(error) => println!("{}", message_of(error)?),
    }

    mended::f(&RLock::new(())).await;
    Ok(())
}

/// The message of the task's panic.
fn message_of(error: tokio::task::JoinError) -> Result<String, Box<dyn Error>> {
    let panic = error.try_into_panic()?;
    let message = panic.downcast::<String>();
    message
        .map(|message| *message)
        .map_err(|_| "another panic".into())
}
