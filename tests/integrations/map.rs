//! Promises of `map`, on every kind of executor.

#![cfg(unix)]

#[path = "../common/mod.rs"]
mod common;
#[path = "../common/each.rs"]
mod each;

use std::panic::AssertUnwindSafe;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use concurrent_futures::{
    Executor, ExecutorExt as _, Map, ProcessPoolExecutor, Shutdown, TaskError, TaskOptions,
    ThreadPoolExecutor, worker,
};
use futures::stream::{self, FusedStream as _, Stream};
use futures::{FutureExt as _, SinkExt as _, StreamExt as _, TryStreamExt as _, poll};
use proptest::prelude::*;

use self::common::folder::Folder;
use self::common::{Guest, Key, within};
use self::each::{Gates, HOUR, jump, on_each, pass};

concurrent_futures::init_before_main!();

/// Room in a queue for everything that a test submits.
const PLENTY: usize = 100_000;

fn double(x: u64) -> u64 {
    2 * x
}

fn divide(n: u64) -> u64 {
    60 / n
}

/// Waits at the gate with item 1 only.
fn pass_if_one(gate: Key, item: u64) -> u64 {
    if item == 1 { pass(gate, item) } else { item }
}

/// Waits at the gate, then writes the file if the result is still wanted.
fn pass_and_write(gate: Key, file: PathBuf) {
    gate.wait();
    if !worker::current().is_some_and(|context| context.is_cancelled()) {
        std::fs::write(file, "").expect("the test's directory is there");
    }
}

/// The next outcome; a hang is a panic.
async fn next<T>(results: &mut Map<T>) -> Option<Result<T, TaskError>> {
    within(results.next()).await
}

async fn all<T>(results: impl Stream<Item = Result<T, TaskError>>) -> Vec<T> {
    within(results.try_collect()).await.expect("none failed")
}

fn assert_send_unpin<T: Send + Unpin>(_: &T) {}

/// A counter that an iterator can take along.
#[derive(Clone, Default)]
struct Counter(Arc<AtomicUsize>);

impl Counter {
    /// Passes items on and counts them.
    fn over<I: Iterator>(&self, items: I) -> impl Iterator<Item = I::Item> + use<I> {
        let counter = self.clone();
        items.inspect(move |_| counter.add())
    }

    fn add(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    fn get(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

#[tokio::test]
async fn a_slow_item_holds_up_no_other_item_of_its_chunk_while_a_thread_idles() {
    let pool = ThreadPoolExecutor::with_workers(2).expect("threads");
    let gates = Gates::new(1);
    let (gate, _) = gates.item(0);
    let items = (0..20).map(move |item| (gate.clone(), item));
    let mut results = pool.map(pass_if_one, items).chunk_size(20).unordered();
    let mut others = Vec::new();
    while others.len() < 19 {
        others.push(next(&mut results).await.unwrap().unwrap());
    }
    others.sort_unstable();
    assert!(others.into_iter().eq((0..20).filter(|item| *item != 1)));
    assert_eq!(pool.stats().queued, 0);
    gates.guest(0).await.let_in().await;
    assert_eq!(next(&mut results).await.unwrap().unwrap(), 1);
    assert!(next(&mut results).await.is_none());
}

#[tokio::test]
async fn the_rest_of_a_started_chunk_of_threads_is_cancelled_by_a_shutdown() {
    let pool = ThreadPoolExecutor::with_workers(1).expect("threads");
    let gates = Gates::new(1);
    let (gate, _) = gates.item(0);
    let items = (1..5).map(move |item| (gate.clone(), item));
    let mut results = pool.map(pass_if_one, items).chunk_size(4);
    assert!(poll!(results.next()).is_pending());
    let guest = gates.guest(0).await;
    let shutdown = pool.shutdown_with(Shutdown::new().cancel_pending(true));
    let (report, ()) = within(futures::future::join(shutdown, guest.let_in())).await;
    assert_eq!((report.finished, report.cancelled), (1, 3));
    assert_eq!(next(&mut results).await.unwrap().unwrap(), 1);
    for _ in 0..3 {
        let cancelled = next(&mut results).await.unwrap().unwrap_err();
        assert!(cancelled.is_cancelled() && !cancelled.was_started());
    }
}

#[tokio::test]
async fn map_pulls_nothing_before_it_is_polled() {
    on_each(2, PLENTY, async |executor| {
        let pulled = Counter::default();
        let mut results = executor.map(double, pulled.over(0..3)).buffer_size(3);
        assert_send_unpin(&results);
        tokio::task::yield_now().await;
        assert_eq!(pulled.get(), 0);
        assert_eq!(next(&mut results).await.unwrap().unwrap(), 0);
        assert_eq!(pulled.get(), 3);
    })
    .await;
}

#[tokio::test]
async fn map_holds_at_most_buffer_size_items_over_an_endless_source() {
    on_each(2, PLENTY, async |executor| {
        for (chunk, ordered) in [1, 3, 5, 8]
            .into_iter()
            .zip([true, false].into_iter().cycle())
        {
            let (pulled, yielded, most) =
                (Counter::default(), Counter::default(), Counter::default());
            let counters = (pulled.clone(), yielded.clone(), most.clone());
            let items = (0..).inspect(move |_| {
                let (pulled, yielded, most) = &counters;
                pulled.add();
                let held = pulled.get() - yielded.get();
                most.0.fetch_max(held, Ordering::Relaxed);
            });
            let mut results = executor.map(double, items).buffer_size(5).chunk_size(chunk);
            if !ordered {
                results = results.unordered();
            }
            for _ in 0..200 {
                next(&mut results).await.unwrap().unwrap();
                yielded.add();
            }
            assert_eq!(most.get(), 5, "in chunks of {chunk}");
        }
    })
    .await;
}

#[tokio::test]
async fn one_poll_pulls_a_part_of_a_large_buffer() {
    on_each(2, PLENTY, async |executor| {
        let pulled = Counter::default();
        let mut results = executor
            .map(double, pulled.over(0..))
            .buffer_size(1_000_000)
            .chunk_size(10_000);
        let _ = poll!(results.next());
        assert!((1..100_000).contains(&pulled.get()));
        assert_eq!(next(&mut results).await.unwrap().unwrap() % 2, 0);
    })
    .await;
}

#[tokio::test]
async fn results_come_in_input_order() {
    on_each(2, PLENTY, async |executor| {
        let gates = Gates::new(4);
        let mut results = executor.map(pass, gates.items());
        assert!(poll!(results.next()).is_pending());
        let (first, second) = (gates.guest(0).await, gates.guest(1).await);
        second.let_in().await;
        let third = gates.guest(2).await; // Its worker has answered for the second.
        assert!(poll!(results.next()).is_pending());
        first.let_in().await;
        drop((third, gates));
        assert_eq!(all(results).await, [0, 1, 2, 3]);
    })
    .await;
}

#[tokio::test]
async fn unordered_yields_as_they_complete() {
    on_each(2, PLENTY, async |executor| {
        let gates = Gates::new(2);
        let mut results = executor.map(pass, gates.items()).unordered();
        assert!(poll!(results.next()).is_pending());
        let (first, second) = (gates.guest(0).await, gates.guest(1).await);
        second.let_in().await;
        assert_eq!(next(&mut results).await.unwrap().unwrap(), 1);
        first.let_in().await;
        assert_eq!(next(&mut results).await.unwrap().unwrap(), 0);
        assert!(next(&mut results).await.is_none());
    })
    .await;
}

#[tokio::test]
async fn a_result_does_not_wait_for_the_rest_of_its_chunk() {
    on_each(1, PLENTY, async |executor| {
        let gates = Gates::new(3);
        let mut results = executor.map(pass_if_one, gates.items()).chunk_size(3);
        assert_eq!(next(&mut results).await.unwrap().unwrap(), 0);
        gates.guest(1).await.let_in().await;
        assert_eq!(all(results).await, [1, 2]);
    })
    .await;
}

#[tokio::test]
async fn a_slow_source_holds_up_no_item_that_it_gave() {
    on_each(2, PLENTY, async |executor| {
        let (mut source, items) = futures::channel::mpsc::channel(8);
        let mut results = executor.map_stream(double, items).chunk_size(4);
        source.send(1).await.unwrap();
        assert_eq!(next(&mut results).await.unwrap().unwrap(), 2);
        for item in 2..=7 {
            source.send(item).await.unwrap();
        }
        drop(source);
        assert_eq!(all(results).await, [4, 6, 8, 10, 12, 14]);
    })
    .await;
}

#[tokio::test]
async fn one_items_failure_is_that_items_error() {
    on_each(2, PLENTY, async |executor| {
        for chunk in 1..=4 {
            let results = executor.map(divide, [3, 0, 4, 5]).chunk_size(chunk);
            let mut results: Vec<_> = within(results.collect()).await;
            assert!(results.remove(1).unwrap_err().is_panic());
            let others: Vec<u64> = results.into_iter().map(Result::unwrap).collect();
            assert_eq!(others, [20, 15, 12], "in chunks of {chunk}");
        }
    })
    .await;
}

#[tokio::test]
async fn an_item_that_runs_out_of_its_time_leaves_the_rest_of_its_chunk() {
    on_each(1, PLENTY, async |executor| {
        let gates = Gates::new(3);
        let mut results = executor
            .map(pass_if_one, gates.items())
            .chunk_size(3)
            .options(TaskOptions::new().timeout(Duration::from_secs(1))); // By the real clock.
        assert_eq!(next(&mut results).await.unwrap().unwrap(), 0);
        let stuck = gates.guest(1).await;
        assert!(next(&mut results).await.unwrap().unwrap_err().is_timeout());
        drop(stuck);
        assert_eq!(next(&mut results).await.unwrap().unwrap(), 2);
        assert!(next(&mut results).await.is_none());
    })
    .await;
}

#[tokio::test]
async fn a_panic_in_the_source_surfaces() {
    on_each(2, PLENTY, async |executor| {
        for chunk in 1..=4 {
            let items = (0..6).inspect(|item| assert!(*item < 3, "the source broke"));
            let mut by_iterator = executor.map(double, items.clone()).chunk_size(chunk);
            surfaces(&mut by_iterator).await;
            let mut by_stream = executor
                .map_stream(double, stream::iter(items))
                .chunk_size(chunk);
            surfaces(&mut by_stream).await;
        }
    })
    .await;

    async fn surfaces(results: &mut Map<u64>) {
        for item in 0..3 {
            assert_eq!(next(results).await.unwrap().unwrap(), 2 * item);
        }
        let panic = AssertUnwindSafe(results.next()).catch_unwind().await;
        let message = panic.expect_err("the source panicked");
        assert_eq!(message.downcast_ref(), Some(&"the source broke"));
        assert!(results.is_terminated());
        assert!(next(results).await.is_none());
    }
}

/// For tasks of `pass_and_write` on an executor with one worker, checks that the one at its gate was cancelled and that
/// those in the queue have left it.
async fn assert_cancelled(executor: &Arc<dyn Executor>, running: Guest, file: PathBuf) {
    if running.pid() == std::process::id() {
        drop(running); // A thread continues, and can see it.
    } else {
        running.gone().await; // A process is killed.
    }
    let gates = Gates::new(1);
    let after = executor.submit(pass, gates.item(0));
    gates.guest(0).await.let_in().await;
    assert_eq!(within(after).await.unwrap(), 0);
    assert!(!file.exists());
}

#[tokio::test]
async fn a_map_timeout_yields_one_error_and_cancels_the_rest() {
    on_each(1, PLENTY, async |executor| {
        for ordered in [true, false] {
            let directory = Folder::new();
            let (first, second) = (directory.path().join("1"), directory.path().join("2"));
            let gates = Gates::new(2);
            let items = [(gates.item(0).0, first.clone())].into_iter();
            let items = items.chain(std::iter::repeat((gates.item(1).0, second.clone())));
            let mut results = executor.map(pass_and_write, items);
            results = results.buffer_size(4).timeout(HOUR);
            if !ordered {
                results = results.unordered();
            }
            assert!(poll!(results.next()).is_pending());
            gates.guest(0).await.let_in().await;
            next(&mut results).await.unwrap().unwrap();
            assert!(first.exists());
            let running = gates.guest(1).await;
            jump().await;
            let error = next(&mut results).await.unwrap().unwrap_err();
            assert!(error.is_timeout(), "{error}");
            assert!(error.to_string().contains("timeout of 3600s"), "{error}");
            assert!(next(&mut results).await.is_none());
            assert_cancelled(&executor, running, second).await;
        }
    })
    .await;
}

#[tokio::test]
async fn a_map_timeout_counts_from_the_call_of_map() {
    on_each(1, PLENTY, async |executor| {
        let pulled = Counter::default();
        let mut results = executor.map(double, pulled.over(0..3)).timeout(HOUR);
        jump().await;
        assert!(next(&mut results).await.unwrap().unwrap_err().is_timeout());
        assert!(next(&mut results).await.is_none());
        assert_eq!(pulled.get(), 0);
    })
    .await;
}

#[tokio::test]
async fn dropping_a_map_cancels_what_it_covers() {
    on_each(1, PLENTY, async |executor| {
        for (chunk, ordered) in [(1, true), (1, false), (2, true)] {
            let directory = Folder::new();
            let file = directory.path().join("ran");
            let gates = Gates::new(1);
            let items = std::iter::repeat((gates.item(0).0, file.clone()));
            let mut results = executor.map(pass_and_write, items);
            results = results.buffer_size(6).chunk_size(chunk);
            if !ordered {
                results = results.unordered();
            }
            assert!(poll!(results.next()).is_pending());
            let running = gates.guest(0).await;
            drop(results);
            assert_cancelled(&executor, running, file).await;
        }
    })
    .await;
}

#[tokio::test]
async fn map_waits_for_room_in_a_bounded_queue() {
    on_each(1, 1, async |executor| {
        let gates = Gates::new(1);
        let running = executor.submit(pass, gates.item(0));
        let guest = gates.guest(0).await;
        let queued = executor.submit(double, 1);
        let refused = within(executor.submit(double, 2)).await.unwrap_err();
        assert!(refused.is_rejected(), "the queue is full");
        let mut results = executor.map(double, 0..50).buffer_size(10).chunk_size(2);
        assert!(poll!(results.next()).is_pending());
        guest.let_in().await;
        assert_eq!(all(results).await, (0..50).map(double).collect::<Vec<_>>());
        assert_eq!((running.await.unwrap(), queued.await.unwrap()), (0, 2));
    })
    .await;
}

#[tokio::test]
async fn a_chunk_or_buffer_of_zero_is_refused() {
    on_each(1, PLENTY, async |executor| {
        let pulled = Counter::default();
        let map = || executor.map(double, pulled.over(0..3));
        for (mut results, message) in [
            (map().chunk_size(0), "chunk_size is 0; "),
            (map().buffer_size(0), "buffer_size is 0; "),
            (
                map().chunk_size(4).buffer_size(0).unordered(),
                "buffer_size is 0; ",
            ),
        ] {
            let error = next(&mut results).await.unwrap().unwrap_err();
            assert!(error.is_rejected(), "{error}");
            assert!(error.to_string().contains(message), "{error}");
            assert!(next(&mut results).await.is_none());
        }
        assert_eq!(pulled.get(), 0);
    })
    .await;
}

#[tokio::test]
async fn after_a_shutdown_a_map_gives_what_was_accepted_and_one_error() {
    for ordered in [true, false] {
        on_each(1, PLENTY, async |executor| {
            let gates = Gates::new(10);
            let mut results = executor.map(pass, gates.items()).buffer_size(3);
            if !ordered {
                results = results.unordered();
            }
            assert!(poll!(results.next()).is_pending());
            let guest = gates.guest(0).await;
            let mut shutdown = std::pin::pin!(executor.shutdown());
            assert!(poll!(&mut shutdown).is_pending());
            drop((guest, gates));
            for item in 0..3 {
                assert_eq!(next(&mut results).await.unwrap().unwrap(), item);
            }
            let error = next(&mut results).await.unwrap().unwrap_err();
            assert!(error.is_shutdown(), "{error}");
            assert!(error.task_name().ends_with("pass"), "{error}");
            assert!(next(&mut results).await.is_none());
            within(shutdown).await;
        })
        .await;
    }
}

#[tokio::test]
async fn a_map_of_a_dropped_executor_is_one_error() {
    for ordered in [true, false] {
        let executors: [Arc<dyn Executor>; 2] = [
            Arc::new(ThreadPoolExecutor::new().unwrap()),
            Arc::new(ProcessPoolExecutor::new().unwrap()),
        ];
        for executor in executors {
            let mut results = executor.map(double, 0..);
            if !ordered {
                results = results.unordered();
            }
            drop(executor);
            assert!(next(&mut results).await.unwrap().unwrap_err().is_shutdown());
            assert!(next(&mut results).await.is_none());
        }
    }
}

#[tokio::test]
async fn a_map_over_nothing_is_empty() {
    on_each(1, PLENTY, async |executor| {
        let none: [u64; 0] = [];
        assert!(executor.map(double, none).next().await.is_none());
        assert!(
            executor
                .map(double, none)
                .unordered()
                .next()
                .await
                .is_none()
        );
    })
    .await;
}

#[test]
fn a_map_can_be_made_and_consumed_outside_of_a_runtime() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let executor = runtime.block_on(async { ThreadPoolExecutor::new().unwrap() });
    let results = executor.map(double, 0..100).chunk_size(7);
    let results: Vec<u64> = futures::executor::block_on(results.try_collect()).unwrap();
    assert_eq!(results, (0..100).map(double).collect::<Vec<_>>());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn results_are_the_same_for_every_chunk_size(
        items in prop::collection::vec(prop_oneof![60 => 1_u64..100, 1 => Just(0)], 0..60),
        chunk in 1_usize..70,
        buffer in 1_usize..70,
        ordered: bool,
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(on_each(2, PLENTY, async |executor| {
            let mut results = executor
                .map(divide, items.clone())
                .chunk_size(chunk)
                .buffer_size(buffer);
            let mut expected: Vec<_> = items.iter().map(|n| 60_u64.checked_div(*n)).collect();
            if !ordered {
                results = results.unordered();
            }
            let mut results: Vec<_> = within(results.map(told).collect()).await;
            if !ordered {
                results.sort_unstable();
                expected.sort_unstable();
            }
            assert_eq!(results, expected);
        }));
    }
}

/// The value, or nothing for a division by zero.
fn told(outcome: Result<u64, TaskError>) -> Option<u64> {
    match outcome {
        Ok(value) => Some(value),
        Err(error) => {
            assert!(error.is_panic(), "{error}");
            None
        }
    }
}

#[tokio::test]
async fn a_map_tells_how_far_it_is_and_of_how_many_if_the_source_knows() {
    let pool = ThreadPoolExecutor::with_workers(2).expect("a pool");
    let far = |map: &Map<u32>| (map.progress().done, map.progress().total);
    let mut known = pool.map(|x: u32| 12 / x, [3, 0, 4]);
    let mut unknown = pool.map(|x: u32| x, (0..10).filter(|x| x % 2 == 0));
    assert_eq!((far(&known), far(&unknown)), ((0, 3), (0, 0)));
    for done in 1..=3 {
        within(known.next()).await.expect("an item").ok();
        assert_eq!(far(&known), (done, 3));
    }
    assert!(within(known.next()).await.is_none());
    assert_eq!(far(&known), (3, 3));
    while within(unknown.next()).await.is_some() {}
    assert_eq!(far(&unknown), (5, 5));
    let mut endless = pool.map(|x: u32| x, 0..).chunk_size(2).buffer_size(4);
    within(endless.next())
        .await
        .expect("an item")
        .expect("a number");
    assert_eq!(endless.progress().done, 1);
}
