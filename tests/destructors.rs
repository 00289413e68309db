//! A destructor of the user may use the pool, and may panic. So a pool runs no destructor under its lock, and none
//! where a panic would affect another task.

#![cfg(feature = "process")]

use std::future::Future;
use std::panic::panic_any;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use concurrent_futures::{
    Executor as _, ExecutorExt as _, ProcessPoolExecutor, Shutdown, TaskError, TaskOptions,
    ThreadPoolExecutor,
};
use futures::StreamExt as _;
use serde::{Deserialize, Serialize};

concurrent_futures::init_before_main!();

/// The longest wait. After that, the test fails.
const TIME_LIMIT: Duration = Duration::from_secs(30);

/// Runs `test` in a runtime on a separate thread, and fails if it does not end: a destructor may block the thread.
fn in_time<F: Future<Output = ()>>(test: impl FnOnce() -> F + Send + 'static) {
    let (done, is_done) = channel();
    let running = thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build();
        runtime.expect("a runtime").block_on(test());
        let _ = done.send(());
    });
    if is_done.recv_timeout(TIME_LIMIT) != Err(std::sync::mpsc::RecvTimeoutError::Timeout) {
        return running.join().expect("the test passes");
    }
    panic!("nobody waits for a destructor");
}

/// Uses its pool when it is dropped.
struct UsesItsPool {
    pool: Arc<ThreadPoolExecutor>,
    dropped: Sender<()>,
}

impl Drop for UsesItsPool {
    fn drop(&mut self) {
        let _ = self.pool.stats();
        drop(self.pool.submit(|| (), ()));
        let _ = self.dropped.send(());
    }
}

/// Keeps the only thread of the pool busy until the sender is dropped.
fn hold(pool: &ThreadPoolExecutor) -> Sender<()> {
    let (release, held) = channel::<()>();
    drop(pool.submit(move || held.recv().is_err(), ()));
    release
}

/// As `hold`, once the thread runs it.
fn occupy(pool: &ThreadPoolExecutor) -> Sender<()> {
    let (begun, has_begun) = channel();
    let (release, held) = channel::<()>();
    let task = move || {
        let _ = begun.send(());
        held.recv().is_err()
    };
    drop(pool.submit(task, ()));
    has_begun.recv_timeout(TIME_LIMIT).expect("it runs");
    release
}

async fn drop_wherever_a_task_can_be_dropped() {
    let pool = Arc::new(ThreadPoolExecutor::with_workers(1).expect("a pool"));
    let (dropped, drops) = channel();
    let argument = || UsesItsPool {
        pool: pool.clone(),
        dropped: dropped.clone(),
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
    for _ in 0..4 {
        let dropped = drops.recv_timeout(TIME_LIMIT);
        dropped.expect("no destructor waits for its pool");
    }
    assert!(drops.try_recv().is_err(), "each is dropped once");
}

#[test]
fn a_destructor_may_use_the_pool_wherever_a_task_is_dropped() {
    in_time(drop_wherever_a_task_can_be_dropped);
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
    // The task that occupies the thread may or may not have started.
    assert_eq!(report.finished + report.cancelled, 3);
}

/// Its destructor blocks until the test ends, or drops the sender.
struct BlocksAtItsEnd(Receiver<()>);

impl Drop for BlocksAtItsEnd {
    fn drop(&mut self) {
        let _ = self.0.recv();
    }
}

/// Values whose destructors are as the test wants them.
trait Ill: Send + 'static {
    /// Returns a value, and what frees its destructor.
    fn make() -> (Self, Option<Sender<()>>)
    where
        Self: Sized;
}

impl Ill for PanicsAtItsEnd {
    fn make() -> (Self, Option<Sender<()>>) {
        (Self, None)
    }
}

impl Ill for BlocksAtItsEnd {
    fn make() -> (Self, Option<Sender<()>>) {
        let (release, gate) = channel();
        (Self(gate), Some(release))
    }
}

/// A runtime, as blocking HTTP clients hold one. In async code its destructor panics.
impl Ill for tokio::runtime::Runtime {
    fn make() -> (Self, Option<Sender<()>>) {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .build();
        (runtime.expect("a runtime"), None)
    }
}

/// Drops tasks that have not started in every way. Each caller gets its own error, and another task runs.
async fn every_end_of_a_task_that_waits<T: Ill>() {
    let builder = ThreadPoolExecutor::builder();
    let pool = builder.max_workers(1).queue_capacity(4).build();
    let pool = pool.expect("a pool");
    let mut releases = Vec::new();
    let mut ill = || {
        let (value, release) = T::make();
        releases.extend(release);
        value
    };
    let release = occupy(&pool);

    let captured = ill();
    let aborted = pool.submit(move || drop(captured), ());
    aborted.abort();
    assert!(aborted.await.expect_err("it was aborted").is_cancelled());

    let dropped = pool.submit(drop, ill()).abort_on_drop();
    drop(dropped);

    let options = TaskOptions::new().queue_timeout(Duration::from_millis(1));
    let captured = ill();
    let expired = pool.submit_with(&options, move || drop(captured), ());
    assert!(expired.await.expect_err("it waited too long").is_rejected());

    let others: Vec<_> = (0..4).map(|n| pool.submit(|n| n, n)).collect();
    let captured = ill();
    let refused = pool.submit(move || drop(captured), ());
    assert!(refused.await.expect_err("the queue is full").is_rejected());
    let refused = pool.submit(drop, ill());
    assert!(refused.await.expect_err("the queue is full").is_rejected());
    let captured = ill();
    let refused = pool.try_submit(move || drop(captured), ());
    assert!(refused.expect_err("it is full").error().is_rejected());
    drop(release);
    for (n, other) in others.into_iter().enumerate() {
        assert_eq!(other.await.expect("it ran"), n);
    }

    let release = occupy(&pool);
    let captured = ill();
    let pending = [
        pool.submit(move || drop(captured), ()),
        pool.submit(drop, ill()),
    ];
    let last = pool.submit(|| (), ());
    let how = Shutdown::new()
        .cancel_pending(true)
        .deadline(Duration::from_millis(50));
    let report = pool.shutdown_with(how).await;
    assert_eq!((report.cancelled, report.killed), (3, 1));
    for pending in pending.into_iter().chain([last]) {
        assert!(pending.await.expect_err("it never ran").is_cancelled());
    }
    let captured = ill();
    let late = pool.submit(move || drop(captured), ());
    assert!(late.await.expect_err("the pool has ended").is_shutdown());
    drop(release);
}

#[test]
fn a_destructor_that_panics_reaches_no_caller_and_no_other_task() {
    in_time(every_end_of_a_task_that_waits::<PanicsAtItsEnd>);
}

#[test]
fn a_destructor_that_blocks_delays_no_caller_and_no_other_task() {
    in_time(every_end_of_a_task_that_waits::<BlocksAtItsEnd>);
}

#[test]
fn a_captured_runtime_reaches_no_caller_and_no_other_task() {
    in_time(every_end_of_a_task_that_waits::<tokio::runtime::Runtime>);
}

#[test]
fn a_destructor_that_blocks_delays_no_initializers_error() {
    in_time(|| async {
        let (release, held) = channel::<()>();
        let fail = |held: Arc<Mutex<Receiver<()>>>| {
            let _ = held.lock().expect("one thread").recv();
            Err::<(), _>("no such device")
        };
        let builder = ThreadPoolExecutor::builder().max_workers(1);
        let builder = builder.initializer(fail, Arc::new(Mutex::new(held)));
        let pool = builder.build().expect("a pool");
        let (blocks, _release) = BlocksAtItsEnd::make();
        let (others, _releases): (Vec<_>, Vec<_>) = (0..4).map(|_| BlocksAtItsEnd::make()).unzip();
        let mut results = pool.map(drop, others).chunk_size(4);
        assert!(futures::poll!(results.next()).is_pending());
        let first = pool.submit(drop, blocks);
        let second = pool.submit(|| (), ());
        drop(release);
        for _ in 0..4 {
            assert!(results.next().await.expect("an error").is_err());
        }
        for handle in [first, second] {
            let error = handle.await.expect_err("no thread is ready");
            assert!(error.to_string().contains("no such device"), "{error}");
        }
    });
}

/// For a task whose result is never taken.
async fn results_that_are_never_taken() {
    let pool = ThreadPoolExecutor::with_workers(1).expect("a pool");
    let release = hold(&pool);
    drop(pool.submit(|| PanicsAtItsEnd, ()));
    drop(release);
    assert_eq!(pool.submit(|| 7, ()).await.expect("another task"), 7);

    let (begun, has_begun) = channel();
    let (release, held) = channel::<()>();
    let running = pool.submit(
        move || {
            let _ = begun.send(());
            let _ = held.recv();
            PanicsAtItsEnd
        },
        (),
    );
    has_begun.recv_timeout(TIME_LIMIT).expect("it runs");
    running.abort();
    drop(release);
    let error = running.await.map(std::mem::forget).expect_err("aborted");
    assert!(error.is_cancelled());
    assert_eq!(pool.submit(|| 7, ()).await.expect("another task"), 7);

    drop(pool.submit(|| PanicsAtItsEnd, ()));
    let finished = pool.submit(|| PanicsAtItsEnd, ());
    while !finished.is_finished() {
        tokio::task::yield_now().await;
    }
    drop(finished);

    let mut results = pool.map(|_: u8| PanicsAtItsEnd, 0..8).chunk_size(4);
    std::mem::forget(results.next().await.expect("one").expect("it ran"));
    drop(results);
    let stats = async {
        pool.shutdown().await;
        pool.stats()
    };
    let stats = stats.await;
    assert!(stats.finished >= 7, "{stats:?}");
    assert_eq!(stats.failed, 0, "{stats:?}");
}

#[test]
fn a_panicking_drop_of_an_untaken_result_costs_no_other_task() {
    in_time(results_that_are_never_taken);
}

/// Yields numbers, and panics when it is dropped.
struct PanickySource(std::ops::Range<u64>, PanicsAtItsEnd);

impl Iterator for PanickySource {
    type Item = (u64, PanicsAtItsEnd);

    fn next(&mut self) -> Option<Self::Item> {
        assert_ne!(self.0.start, 6, "a source");
        Some((self.0.next()?, PanicsAtItsEnd))
    }
}

fn number(number: u64, panics: PanicsAtItsEnd) -> u64 {
    std::mem::forget(panics);
    number
}

#[test]
fn the_items_and_the_source_of_a_map_may_all_panic_as_they_are_dropped() {
    in_time(|| async {
        let pool = ThreadPoolExecutor::with_workers(1).expect("a pool");
        // When the source ends.
        let source = PanickySource(0..4, PanicsAtItsEnd);
        let numbers = pool.map(number, source).chunk_size(3).collect::<Vec<_>>();
        let numbers: Result<Vec<_>, TaskError> = numbers.await.into_iter().collect();
        assert_eq!(numbers.expect("none failed"), [0, 1, 2, 3]);
        // When the stream is dropped, with items that wait and others that are not sent.
        let release = hold(&pool);
        let source = PanickySource(0..6, PanicsAtItsEnd);
        let mut numbers = pool.map(number, source).chunk_size(3).buffer_size(5);
        assert!(futures::poll!(numbers.next()).is_pending());
        drop(numbers);
        // At its timeout.
        let source = PanickySource(0..6, PanicsAtItsEnd);
        let numbers = pool.map(number, source).chunk_size(3);
        let mut numbers = numbers.timeout(Duration::ZERO);
        let error = numbers.next().await.expect("an error").expect_err("late");
        assert!(error.is_timeout());
        // When the pool ends before the items begin.
        let source = PanickySource(0..6, PanicsAtItsEnd);
        let mut numbers = pool.map(number, source).chunk_size(3);
        assert!(futures::poll!(numbers.next()).is_pending());
        let how = Shutdown::new()
            .cancel_pending(true)
            .deadline(Duration::ZERO);
        pool.shutdown_with(how).await;
        let error = numbers.next().await.expect("an error");
        assert!(error.expect_err("it never ran").is_cancelled());
        drop(release);
        // When the source panics before its end.
        let pool = ThreadPoolExecutor::with_workers(1).expect("a pool");
        let source = PanickySource(5..8, PanicsAtItsEnd);
        let mut numbers = pool.map(number, source);
        assert_eq!(numbers.next().await.expect("one").expect("it ran"), 5);
        let next = std::panic::AssertUnwindSafe(numbers.next());
        let panic = futures::FutureExt::catch_unwind(next).await;
        let panic = panic.expect_err("the panic of the source reaches its map");
        assert!(
            panic
                .downcast_ref::<String>()
                .is_some_and(|text| text.contains("a source"))
        );
    });
}

#[test]
fn a_panic_whose_payload_panics_costs_no_other_task() {
    in_time(|| async {
        let pool = ThreadPoolExecutor::with_workers(1).expect("a pool");
        let release = hold(&pool);
        let handle = pool.submit(|| panic_any(PanicsAtItsEnd), ());
        handle.on_done(|_| panic_any(PanicsAtItsEnd));
        let (done, is_done) = channel();
        handle.on_done(move |_| done.send(()).expect("the test waits"));
        drop(release);
        assert!(handle.await.expect_err("it panics").is_panic());
        is_done.recv_timeout(TIME_LIMIT).expect("the next callback");
        let handle = pool.submit(|| (), ());
        while !handle.is_finished() {
            tokio::task::yield_now().await;
        }
        handle.on_done(|_| panic_any(PanicsAtItsEnd));
        assert_eq!(pool.submit(|| 7, ()).await.expect("another task"), 7);
    });
}

/// An argument or a result. In the test's process its destructor does what the test requests; in a worker it does
/// nothing.
#[derive(Serialize, Deserialize)]
struct Travels(u64);

/// What destructors do in this process: panic or, if there is a gate, wait for it.
static ARMED: AtomicBool = AtomicBool::new(false);
static GATE: Mutex<Option<Gate>> = Mutex::new(None);
static ARMED_BY: Mutex<()> = Mutex::new(());

impl Drop for Travels {
    fn drop(&mut self) {
        if ARMED.load(Ordering::SeqCst) {
            let gate = gate().clone();
            match gate {
                Some(gate) => drop(gate.lock().expect("no panic").recv()),
                None => panic!("a destructor"),
            }
        }
    }
}

/// Opens for all waiters when the sender is dropped.
type Gate = Arc<Mutex<Receiver<()>>>;

fn gate() -> std::sync::MutexGuard<'static, Option<Gate>> {
    GATE.lock().unwrap_or_else(PoisonError::into_inner)
}

fn keep(value: Travels) -> u64 {
    value.0
}

fn make(number: u64) -> Travels {
    Travels(number)
}

/// For worker processes: tasks that never begin, and results that are never taken.
async fn every_end_in_a_process_pool(new_gate: Option<Receiver<()>>) {
    // One place is for the stream that is no longer polled.
    let builder = ProcessPoolExecutor::builder();
    let pool = builder.max_workers(1).queue_capacity(3).build();
    let pool = pool.expect("a pool");
    pool.warm_up().await.expect("a worker");
    *gate() = new_gate.map(|gate| Arc::new(Mutex::new(gate)));
    ARMED.store(true, Ordering::SeqCst);

    for number in 0..4 {
        let handle = pool.reserve().await.expect("room").submit(make, number);
        thread::spawn(move || drop(handle)); // This drops the value, if it has arrived.
        let next = pool.reserve().await.expect("room").submit(u64::pow, (7, 1));
        assert_eq!(next.await.expect("another task"), 7);
    }
    let mut results = pool.map(make, 0..64).chunk_size(4);
    std::mem::forget(results.next().await.expect("one"));
    let numbers: Vec<_> = pool.map(|n: u64| n, 0..8).collect().await;
    assert!(numbers.into_iter().map(Result::unwrap).eq(0..8));

    let (pause, queued) = (Duration::from_secs(600), Duration::from_secs(600));
    let running = pool.submit(thread::sleep, pause).abort_on_drop();
    while pool.stats().running == 0 {
        tokio::task::yield_now().await;
    }
    let mut waits = Vec::new();
    while let Ok(handle) = pool.try_submit(thread::sleep, queued) {
        waits.push(handle.abort_on_drop()); // One is sent ahead.
    }
    let refused = pool.submit(keep, Travels(5));
    assert!(refused.await.expect_err("the queue is full").is_rejected());
    drop((running, waits));
    pool.shutdown().await;
    let late = pool.submit(keep, Travels(6));
    assert!(late.await.expect_err("the pool has ended").is_shutdown());
    ARMED.store(false, Ordering::SeqCst);
    *gate() = None;
    std::mem::forget(results);
}

#[test]
#[cfg(target_os = "linux")]
fn a_destructor_that_panics_costs_no_task_of_a_process_pool() {
    let _one_at_a_time = ARMED_BY.lock().unwrap_or_else(PoisonError::into_inner);
    in_time(|| every_end_in_a_process_pool(None));
}

#[test]
#[cfg(target_os = "linux")]
fn a_destructor_that_blocks_delays_no_task_of_a_process_pool() {
    let _one_at_a_time = ARMED_BY.lock().unwrap_or_else(PoisonError::into_inner);
    let (release, gate) = channel();
    in_time(|| every_end_in_a_process_pool(Some(gate)));
    drop(release);
}
