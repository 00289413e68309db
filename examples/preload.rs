//! Eight workers use a large table. With the fork server, the table is loaded once and shared. With
//! `Spawn`, each worker loads its own. The program prints the private and the shared memory of each worker.
//!
//! `cargo run --release --example preload [-- --mib 64]`

use std::fs;
use std::hint::black_box;
use std::sync::OnceLock;
use std::time::Instant;

use concurrent_futures::{ExecutorExt as _, ProcessPoolExecutor, StartMethod};

const WORKERS: usize = 8;

static TABLE: OnceLock<Vec<u64>> = OnceLock::new();

/// In a real service this would be a model, a dictionary or an index.
fn load(mib: usize) {
    TABLE.get_or_init(|| (0..(mib as u64) << 17).map(|n| n * n).collect());
}

/// Reads the table, and measures this process.
fn look_up() -> Memory {
    let table = TABLE.get().expect("the table is loaded by now");
    black_box(
        table
            .iter()
            .fold(0, |sum: u64, square| sum.wrapping_add(*square)),
    );
    let rollup = fs::read_to_string("/proc/self/smaps_rollup").unwrap_or_default();
    let sum = |prefix: &str| {
        let lines = rollup.lines().filter(|line| line.starts_with(prefix));
        let sizes = lines.filter_map(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok());
        sizes.sum()
    };
    (
        std::process::id(),
        sum("Private_"),
        sum("Shared_"),
        sum("Pss:"),
    )
}

/// Process id; then private, shared and proportional memory in KiB.
type Memory = (u32, u64, u64, u64);

async fn measure(method: StartMethod, mib: usize) -> Result<(), Box<dyn std::error::Error>> {
    let builder = ProcessPoolExecutor::builder()
        .start_method(method)
        .max_workers(WORKERS);
    let pool = match method {
        StartMethod::Spawn => builder.initializer(load, mib).build()?,
        _ => builder.preload(load, mib).build()?,
    };
    let begun = Instant::now();
    pool.warm_up().await?;
    println!(
        "{method:?}: {WORKERS} workers with a table of {mib} MiB in {:.1?}",
        begun.elapsed()
    );
    println!("  worker      private       shared   proportional");
    let mut seen: Vec<Memory> = Vec::new();
    while seen.len() < WORKERS {
        // Each call is busy for a moment, so that every worker gets some calls.
        let handles: Vec<_> = (0..WORKERS).map(|_| pool.submit(look_up, ())).collect();
        for handle in handles {
            let memory = handle.await?;
            if seen.iter().all(|(pid, ..)| *pid != memory.0) {
                seen.push(memory);
            }
        }
    }
    for (pid, private, shared, proportional) in &seen {
        println!("{pid:>8} {private:>8} KiB {shared:>8} KiB {proportional:>10} KiB");
    }
    let all: u64 = seen.iter().map(|(.., proportional)| proportional).sum();
    println!("  together {:.1} MiB\n", all as f64 / 1024.0);
    pool.shutdown().await;
    Ok(())
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    concurrent_futures::init();
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let mib = match arguments.as_slice() {
        [flag, mib] if flag == "--mib" => mib.parse()?,
        [] => 64,
        _ => return Err("usage: preload [--mib N]".into()),
    };
    let runtime = tokio::runtime::Runtime::new()?;
    runtime.block_on(async {
        measure(StartMethod::ForkServer, mib).await?;
        measure(StartMethod::Spawn, mib).await
    })
}
