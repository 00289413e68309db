//! Two tasks take two locks in opposite orders. The detector reports the opposite orders, and ends the
//! deadlock when it happens. When both tasks take the locks in one order, both finish.
//!
//! Run it with `cargo run --release --example lock_order`; `-- --fast` pauses less.

use std::env;
use std::error::Error;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use concurrent_futures::sync::deadlock::Detection;
use concurrent_futures::sync::{Event, Lock, LockGuard};
use tokio::task::JoinError;
use tokio::time::sleep;

static LOCK_1: LazyLock<Lock<()>> = LazyLock::new(Lock::default);
static LOCK_2: LazyLock<Lock<()>> = LazyLock::new(Lock::default);

type Guard = LockGuard<'static, ()>;

/// Takes two locks, each with its number. The pause in between lets the other task take its first lock.
async fn acquire(
    thread: u32,
    order: [(u32, impl Future<Output = Guard>); 2],
    pause: Duration,
) -> [Guard; 2] {
    let [(one, first), (other, second)] = order;
    println!("Thread {thread} acquiring lock {one}...");
    let first = first.await;
    sleep(pause).await;
    println!("Thread {thread} acquiring lock {other}...");
    let second = second.await;
    println!("Thread {thread} acquired 2 locks!");
    [first, second]
}

async fn in_opposite_orders(pause: Duration) -> Result<(), Box<dyn Error>> {
    let forth = tokio::spawn(async move {
        let first = (1, LOCK_1.lock());
        let second = (2, LOCK_2.lock());
        drop(acquire(1, [first, second], pause).await);
    });
    let back = tokio::spawn(async move {
        let first = (2, LOCK_2.lock());
        let second = (1, LOCK_1.lock());
        drop(acquire(2, [first, second], pause).await);
    });
    for task in [forth, back] {
        if let Err(error) = task.await {
            println!("{}", message_of(error)?);
        }
    }
    Ok(())
}

/// The second task starts when the first holds both locks, and waits until they are free.
async fn in_one_order(pause: Duration) -> Result<(), JoinError> {
    let begin = Arc::new(Event::new());
    let begins = begin.clone();
    let first = tokio::spawn(async move {
        let both = acquire(1, [(1, LOCK_1.lock()), (2, LOCK_2.lock())], pause).await;
        begin.set();
        sleep(pause).await;
        drop(both);
    });
    let second = tokio::spawn(async move {
        begins.wait().await;
        drop(acquire(2, [(1, LOCK_1.lock()), (2, LOCK_2.lock())], pause).await);
    });
    first.await?;
    second.await
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let is_fast = env::args().any(|argument| argument == "--fast");
    let pause = Duration::from_millis(if is_fast { 10 } else { 1000 });
    let detection = Detection::new().patience(pause);
    let detection = detection.on_report(|report| println!("{report}"));
    detection.enable(); // On by default in debug builds, with reports on stderr.

    println!("In opposite orders:");
    in_opposite_orders(pause).await?;
    println!("In one order:");
    in_one_order(pause).await?;
    Ok(())
}

/// The message of the task's panic.
fn message_of(error: JoinError) -> Result<String, Box<dyn Error>> {
    let panic = error.try_into_panic()?;
    let message = panic.downcast::<String>();
    message
        .map(|message| *message)
        .map_err(|_| "another panic".into())
}
