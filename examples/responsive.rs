//! Measures the delay of a heartbeat on the runtime while CPU-bound work runs: on the runtime itself, on
//! threads, and in processes.
//!
//! Run it with `cargo run --release --example responsive`.

use std::error::Error;
use std::hint;
use std::time::Duration;

use concurrent_futures::{Executor, ExecutorExt as _, ProcessPoolExecutor, ThreadPoolExecutor};
use futures::future::try_join_all;
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout_at};

const BEAT: Duration = Duration::from_millis(5);
const CALLS: usize = 8;
const CALL_MS: u64 = 100;

/// Keeps a CPU busy for some milliseconds, and never yields.
fn crunch(milliseconds: u64) -> u64 {
    let end = std::time::Instant::now() + Duration::from_millis(milliseconds);
    let mut steps = 0_u64;
    while std::time::Instant::now() < end {
        steps = hint::black_box(steps + 1);
    }
    steps
}

/// A common mistake: the calls run on the threads that drive all tasks of the service.
async fn inline() -> Result<(), Box<dyn Error>> {
    let calls = (0..CALLS).map(|_| tokio::spawn(async { crunch(CALL_MS) }));
    try_join_all(calls).await?;
    Ok(())
}

async fn on(executor: &dyn Executor) -> Result<(), Box<dyn Error>> {
    let calls = (0..CALLS).map(|_| executor.submit(crunch, CALL_MS));
    try_join_all(calls).await?;
    executor.shutdown().await;
    Ok(())
}

/// Runs `work` beside a heartbeat. Returns the delay of the latest beat.
async fn worst_delay(
    work: impl Future<Output = Result<(), Box<dyn Error>>>,
) -> Result<Duration, Box<dyn Error>> {
    let (stop, mut stopped) = oneshot::channel::<()>();
    let heartbeat = tokio::spawn(async move {
        let mut worst = Duration::ZERO;
        loop {
            let due = Instant::now() + BEAT;
            let stop = timeout_at(due, &mut stopped).await.is_ok();
            worst = worst.max(due.elapsed());
            if stop {
                return worst;
            }
        }
    });
    work.await?;
    drop(stop);
    Ok(heartbeat.await?)
}

fn main() -> Result<(), Box<dyn Error>> {
    concurrent_futures::init();
    run()
}

#[tokio::main]
async fn run() -> Result<(), Box<dyn Error>> {
    println!(
        "{CALLS} calls that keep a CPU busy for {CALL_MS} ms each, beside a heartbeat every {BEAT:?}"
    );
    println!();
    println!(
        "{:<24}{:>24}",
        "where the calls run", "worst delay of a beat"
    );
    print("inline, on the runtime", worst_delay(inline()).await?);
    print(
        "on ThreadPoolExecutor",
        worst_delay(on(&ThreadPoolExecutor::new()?)).await?,
    );
    print(
        "on ProcessPoolExecutor",
        worst_delay(on(&ProcessPoolExecutor::new()?)).await?,
    );
    Ok(())
}

fn print(place: &str, delay: Duration) {
    println!("{place:<24}{:>21.1} ms", delay.as_secs_f64() * 1e3);
}
