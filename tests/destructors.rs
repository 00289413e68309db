//! A destructor of the user may use the pool, and may panic: a pool runs no destructor under its lock, and
//! none where a panic would cost another task.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::thread;
use std::time::Duration;

use concurrent_futures::{Executor as _, Shutdown, TaskOptions, ThreadPoolExecutor};
use futures::StreamExt as _;

/// Uses its pool when it is dropped.
struct UsesItsPool {
    pool: Arc<ThreadPoolExecutor>,
    drops: Arc<AtomicUsize>,
}

impl Drop for UsesItsPool {
    fn drop(&mut self) {
        let _ = self.pool.stats();
        drop(self.pool.submit(|| (), ()));
        self.drops.fetch_add(1, Ordering::Relaxed);
    }
}

/// Keeps the only thread of the pool busy until the sender is dropped.
fn hold(pool: &ThreadPoolExecutor) -> Sender<()> {
    let (release, held) = channel::<()>();
    drop(pool.submit(move || held.recv().is_err(), ()));
    release
}

async fn drop_wherever_a_task_can_be_dropped() -> usize {
    let pool = Arc::new(ThreadPoolExecutor::with_workers(1).expect("a pool"));
    let drops = Arc::new(AtomicUsize::new(0));
    let argument = || UsesItsPool {
        pool: pool.clone(),
        drops: drops.clone(),
    };
    let release = hold(&pool);

    let captured = argument();
    let aborted = pool.submit(move || drop(captured), ());
    aborted.abort();
    assert!(aborted.await.expect_err("it was aborted").is_cancelled());

    let captured = argument();
    let options = TaskOptions::new().queue_timeout(Duration::from_millis(1));
    let expired = pool.submit_with(&options, move || drop(captured), ());
    assert!(expired.await.expect_err("it waited too long").is_rejected());

    let captured = argument();
    let panics = pool.submit(
        move || {
            let _captured = captured;
            panic!("with the argument on the stack");
        },
        (),
    );
    drop(release);
    assert!(panics.await.expect_err("it panics").is_panic());

    let release = hold(&pool);
    let captured = argument();
    let pending = pool.submit(move || drop(captured), ());
    let shutdown = pool.shutdown_with(Shutdown::new().cancel_pending(true));
    let end = async {
        assert!(pending.await.expect_err("it never ran").is_cancelled());
        drop(release);
    };
    futures::future::join(shutdown, end).await;
    drops.load(Ordering::Relaxed)
}

#[test]
fn a_destructor_may_use_the_pool_wherever_a_task_is_dropped() {
    let (done, is_done) = channel();
    thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build();
        let runtime = runtime.expect("a runtime");
        let _ = done.send(runtime.block_on(drop_wherever_a_task_can_be_dropped()));
    });
    let drops = is_done.recv_timeout(Duration::from_secs(60));
    assert_eq!(drops.expect("no destructor waits for its pool"), 4);
}

/// Panics when it is dropped.
struct PanicsAtItsEnd;

impl Drop for PanicsAtItsEnd {
    fn drop(&mut self) {
        panic!("a destructor");
    }
}

/// Maps a closure that captured a value with such a destructor. Another task waits behind it.
async fn map_before_another_task(chunk_size: usize) {
    let pool = ThreadPoolExecutor::with_workers(1).expect("a pool");
    let release = hold(&pool);
    let captured = PanicsAtItsEnd;
    let add_one = move |item: u64| {
        let _ = &captured;
        item + 1
    };
    let mut sums = pool.map(add_one, [1, 2]).chunk_size(chunk_size);
    assert!(futures::poll!(sums.next()).is_pending(), "both are queued");
    let other = pool.submit(|| 7, ());
    drop(release);
    assert_eq!(sums.next().await.expect("a sum").expect("2"), 2);
    assert_eq!(sums.next().await.expect("a sum").expect("3"), 3);
    assert_eq!(other.await.expect("it has nothing to do with the map"), 7);
    pool.shutdown_with(Shutdown::new()).await;
    let stats = pool.stats();
    assert_eq!((stats.finished, stats.failed), (4, 0));
}

#[tokio::test]
async fn a_panic_as_a_mapped_closure_is_dropped_costs_no_other_task() {
    map_before_another_task(2).await;
    map_before_another_task(1).await;
}

#[tokio::test]
async fn a_panic_as_a_cancelled_closure_is_dropped_reaches_no_other_caller() {
    let pool = ThreadPoolExecutor::with_workers(1).expect("a pool");
    let release = hold(&pool);
    let captured = PanicsAtItsEnd;
    let cancelled = pool.submit(move || drop(captured), ());
    let other = pool.submit(|| 7, ());
    let shutdown = pool.shutdown_with(Shutdown::new().cancel_pending(true));
    let end = async {
        assert!(cancelled.await.expect_err("it never ran").is_cancelled());
        assert!(other.await.expect_err("it never ran").is_cancelled());
        drop(release);
    };
    let (report, ()) = futures::future::join(shutdown, end).await;
    // The task that holds the thread may or may not have begun.
    assert_eq!(report.finished + report.cancelled, 3);
}
