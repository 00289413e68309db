//! What is measured of every contender, and how.

use std::time::{Duration, Instant};

use bytes::Bytes;
use concurrent_futures::{Executor, ExecutorExt as _};
use futures::StreamExt as _;
use futures::stream::FuturesUnordered;

use crate::common::figure::{Figure, Unit};

pub(crate) const ROUND_TRIP: &str = "round trip";
/// The round trip with all programs on one CPU, which leaves the idle states of CPUs out.
pub(crate) const ON_ONE_CPU: &str = "round trip, one CPU";
pub(crate) const MANY: &str = "many submits";
pub(crate) const UNTUNED_MAP: &str = "untuned map of x + 1";
pub(crate) const RECOVERY: &str = "from a kill to the result";
const ECHOES: [(&str, usize); 3] = [
    ("echo 1 KiB", 1 << 10),
    ("echo 64 KiB", 64 << 10),
    ("echo 1 MiB", 1 << 20),
];

pub(crate) const MEASURES: [(&str, Unit); 6] = [
    (ROUND_TRIP, Unit::Time),
    (MANY, Unit::Call),
    (UNTUNED_MAP, Unit::Call),
    (ECHOES[0].0, Unit::Time),
    (ECHOES[1].0, Unit::Time),
    (ECHOES[2].0, Unit::Time),
];

/// A measure takes no further sample after this time.
const LIMIT: Duration = Duration::from_secs(6);

pub(crate) fn noop() {}

pub(crate) fn add_one(x: u64) -> u64 {
    x + 1
}

pub(crate) fn echo(bytes: Bytes) -> Bytes {
    bytes
}

/// The median and the best of these.
pub(crate) fn figure(mut times: Vec<Duration>, each: usize) -> Figure {
    times.sort_unstable();
    let seconds = |time: Duration| time.as_secs_f64() / each as f64;
    Figure {
        median: seconds(times[times.len() / 2]),
        best: seconds(times[0]),
    }
}

/// `quick`: only tests that it runs.
pub(crate) async fn measure(executor: &dyn Executor, measure: &str, quick: bool) -> Figure {
    let fewer = if quick { 100 } else { 1 };
    match measure {
        ROUND_TRIP | ON_ONE_CPU => round_trip(executor, 2000 / fewer).await,
        MANY => many(executor, 5, 10_000 / fewer).await,
        UNTUNED_MAP => map(executor, 5, 2_000_000 / fewer).await,
        _ => {
            let size = ECHOES.iter().find(|(name, _)| *name == measure);
            echoes(executor, 300 / fewer, size.expect("a measure").1).await
        }
    }
}

/// Whether to take another sample. One is always taken.
fn is_next(measured: &[Duration], times: usize, end: Instant) -> bool {
    measured.is_empty() || (measured.len() < times && Instant::now() < end)
}

async fn round_trip(executor: &dyn Executor, times: usize) -> Figure {
    let mut measured = Vec::new();
    let end = Instant::now() + LIMIT;
    while is_next(&measured, times, end) {
        let start = Instant::now();
        executor.submit(noop, ()).await.expect("it runs");
        measured.push(start.elapsed());
    }
    figure(measured, 1)
}

/// All are submitted before the first is awaited.
async fn many(executor: &dyn Executor, times: usize, tasks: usize) -> Figure {
    let mut measured = Vec::new();
    let end = Instant::now() + LIMIT;
    while is_next(&measured, times, end) {
        let start = Instant::now();
        let mut handles: FuturesUnordered<_> =
            (0..tasks).map(|_| executor.submit(noop, ())).collect();
        while let Some(outcome) = handles.next().await {
            outcome.expect("it runs");
        }
        measured.push(start.elapsed());
    }
    figure(measured, tasks)
}

async fn map(executor: &dyn Executor, times: usize, items: usize) -> Figure {
    let mut measured = Vec::new();
    let end = Instant::now() + LIMIT;
    while is_next(&measured, times, end) {
        let start = Instant::now();
        let mut results = executor.map(add_one, 0..items as u64);
        let mut sum = 0;
        while let Some(result) = results.next().await {
            sum += result.expect("it runs");
        }
        measured.push(start.elapsed());
        assert_eq!(sum, items as u64 * (items as u64 + 1) / 2);
    }
    figure(measured, items)
}

async fn echoes(executor: &dyn Executor, times: usize, size: usize) -> Figure {
    let bytes = Bytes::from(vec![7; size]);
    let mut measured = Vec::new();
    let end = Instant::now() + LIMIT;
    while is_next(&measured, times, end) {
        let start = Instant::now();
        let same = executor.submit(echo, bytes.clone()).await.expect("it runs");
        measured.push(start.elapsed());
        assert_eq!(same.len(), size);
    }
    figure(measured, 1)
}
