//! One pool, used from any number of runtimes, or from none. A task depends only on the runtime of its caller.

#![cfg(feature = "process")]
#![cfg(target_os = "linux")]

#[path = "common/again.rs"]
mod again;
mod common;
#[path = "common/methods.rs"]
#[expect(
    dead_code,
    unused_imports,
    unused_macros,
    reason = "the tests here create their own runtimes"
)]
mod methods;

use std::io::{Read as _, Write as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::process::Command;
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread;
use std::time::Duration;

use concurrent_futures::{
    Executor as _, ExecutorExt as _, JoinHandle, Output, ProcessPoolExecutor, Shutdown,
    StartMethod, TaskOptions, worker,
};
use futures::executor::block_on;
use futures::{FutureExt as _, StreamExt as _, TryStreamExt as _};
use tokio::runtime::{Builder, Runtime};

use self::common::folder::Folder;
use self::common::within;
use self::methods::{builder, for_every_start_method};

concurrent_futures::init_before_main!();

/// The time limit of each test.
const LIMIT: Duration = Duration::from_secs(120);

fn double(number: u64) -> u64 {
    number * 2
}

fn letters(count: usize) -> String {
    "x".repeat(count)
}

/// Sends its process id to the door, and waits until the test opens the door.
fn wait_at(door: PathBuf) {
    let mut stream = UnixStream::connect(door).expect("the test listens");
    let pid = std::process::id().to_ne_bytes();
    stream.write_all(&pid).expect("it is open");
    let _ = stream.read(&mut [0]);
}

fn report_at(door: PathBuf) {
    wait_at(door);
    let context = worker::current().expect("a task runs");
    context.report_progress(1, 1);
}

fn print_line() {
    println!("a line");
}

fn wait_forever() {
    loop {
        thread::park();
    }
}

/// A door at which a task waits. It belongs to no runtime.
struct Door {
    listener: UnixListener,
    path: PathBuf,
    _folder: Folder,
}

impl Door {
    fn new() -> Self {
        let folder = Folder::new();
        let path = folder.path().join("door");
        Self {
            listener: UnixListener::bind(&path).expect("a socket"),
            path,
            _folder: folder,
        }
    }

    /// Accepts the task that waits, and returns the id of its process. Dropping the stream lets the task continue.
    fn guest(&self) -> (UnixStream, u32) {
        let (mut stream, _) = self.listener.accept().expect("a task comes");
        let mut pid = [0; 4];
        stream.read_exact(&mut pid).expect("its process id");
        (stream, u32::from_ne_bytes(pid))
    }
}

/// A runtime of one thread, or of two.
fn runtime(threads: usize) -> Runtime {
    let mut builder = match threads {
        1 => Builder::new_current_thread(),
        _ => Builder::new_multi_thread(),
    };
    builder.worker_threads(threads).enable_all();
    builder.build().expect("a runtime")
}

/// Runs `body` on a separate thread and returns its outcome. A hang fails the test.
fn in_time<T: Send + 'static>(body: impl FnOnce() -> T + Send + 'static) -> T {
    let (give, take) = mpsc::channel();
    let thread = thread::spawn(move || give.send(body()).expect("the test waits"));
    let outcome = take.recv_timeout(LIMIT);
    if let Ok(outcome) = outcome {
        thread.join().expect("it has sent its outcome");
        return outcome;
    }
    assert!(thread.is_finished(), "it hangs");
    std::panic::resume_unwind(thread.join().expect_err("it panicked"))
}

/// A pool that every thread of a test can use.
fn shared_pool(method: StartMethod, workers: usize) -> &'static ProcessPoolExecutor {
    let pool = builder(method).max_workers(workers).build();
    Box::leak(Box::new(pool.expect("a pool")))
}

fn end(pool: &'static ProcessPoolExecutor) {
    in_time(move || block_on(pool.shutdown()));
    assert_eq!(pool.stats().workers, 0);
}

#[test]
fn four_hundred_tasks_outlive_the_forty_runtimes_that_come_and_go() {
    for_every_start_method(
        "four_hundred_tasks_outlive_the_forty_runtimes_that_come_and_go",
        come_and_go,
    );
}

#[test]
fn a_blocked_runtime_holds_up_no_task_of_another() {
    for_every_start_method("a_blocked_runtime_holds_up_no_task_of_another", blocked);
}

#[test]
fn a_runtime_that_is_not_polled_blocks_no_task_of_another() {
    for_every_start_method(
        "a_runtime_that_is_not_polled_blocks_no_task_of_another",
        idle,
    );
}

#[test]
fn a_caller_that_only_asks_depends_on_no_runtime() {
    for_every_start_method("a_caller_that_only_asks_depends_on_no_runtime", asked);
}

#[test]
fn a_reader_of_progress_depends_on_no_runtime() {
    for_every_start_method("a_reader_of_progress_depends_on_no_runtime", read_progress);
}

#[test]
fn the_end_of_a_runtime_takes_no_task_along() {
    for_every_start_method("the_end_of_a_runtime_takes_no_task_along", ended);
}

#[test]
fn a_pool_survives_the_end_of_its_runtime_at_any_point() {
    for_every_start_method(
        "a_pool_survives_the_end_of_its_runtime_at_any_point",
        ended_at_any_point,
    );
}

#[test]
fn a_pool_works_without_any_runtime() {
    for_every_start_method("a_pool_works_without_any_runtime", none);
}

#[test]
fn a_paused_clock_changes_nothing() {
    for_every_start_method("a_paused_clock_changes_nothing", paused);
}

#[test]
fn nothing_waits_for_a_blocking_thread_of_the_runtime() {
    for_every_start_method(
        "nothing_waits_for_a_blocking_thread_of_the_runtime",
        no_blocking_threads,
    );
}

#[test]
fn a_runtime_without_drivers_is_as_good_as_none() {
    for_every_start_method("a_runtime_without_drivers_is_as_good_as_none", no_drivers);
}

#[test]
fn a_callback_that_blocks_holds_up_no_other_pool() {
    for_every_start_method(
        "a_callback_that_blocks_holds_up_no_other_pool",
        blocking_callbacks,
    );
}

fn come_and_go(method: StartMethod) {
    let pool = shared_pool(method, 2);
    for round in 0..40_u64 {
        let runtime = runtime(1 + (round % 2) as usize);
        let outcomes: Vec<_> = runtime.block_on(async {
            let handles: Vec<_> = (0..10).map(|n| pool.submit(double, n + round)).collect();
            within(futures::future::join_all(handles)).await
        });
        for (n, outcome) in (0..).zip(outcomes) {
            assert_eq!(outcome.expect("no runtime ends it"), 2 * (n + round));
        }
    }
    assert_eq!(pool.stats().finished, 400);
    end(pool);
}

fn blocked(method: StartMethod) {
    // Both are built while this process has one thread.
    for (threads, pool) in [1, 2].map(|threads| (threads, shared_pool(method, 2))) {
        let (blocks, is_blocked) = mpsc::channel();
        let (unblock, waits) = mpsc::channel::<()>();
        let first = thread::spawn(move || {
            runtime(1).block_on(async move {
                assert_eq!(within(pool.submit(double, 1)).await.expect("it runs"), 2);
                blocks.send(()).expect("the test listens");
                waits.recv().expect("the test ends it"); // Blocks the only thread of the runtime.
                assert_eq!(within(pool.submit(double, 2)).await.expect("it runs"), 4);
            });
        });
        is_blocked.recv().expect("it blocks");
        in_time(move || {
            runtime(threads).block_on(async {
                for n in 0..20 {
                    let outcome = within(pool.submit(double, n)).await;
                    assert_eq!(outcome.expect("it runs"), 2 * n);
                }
            });
        });
        unblock.send(()).expect("it waits");
        first.join().expect("no panic");
        end(pool);
    }
}

fn idle(method: StartMethod) {
    let pool = shared_pool(method, 1);
    let (first, second) = (runtime(1), runtime(1));
    // Each is polled only in its own `block_on`.
    let [handle] = first.block_on(async {
        within(pool.submit(double, 1)).await.expect("it runs");
        let mut handle = pool.submit(double, 2);
        // It first waits here.
        assert!((&mut handle).now_or_never().is_none());
        [handle]
    });
    let [mut map] = first.block_on(async {
        let mut map = pool.map(double, 0..3);
        assert!(map.next().now_or_never().is_none());
        [map]
    });
    in_time(move || {
        second.block_on(async {
            assert_eq!(within(pool.submit(double, 3)).await.expect("it runs"), 6);
            assert_eq!(within(handle).await.expect("of the other runtime"), 4);
            let first = within(map.next()).await.expect("three items");
            assert_eq!(first.expect("of the other runtime"), 0);
        });
    });
    drop(first);
    end(pool);
}

/// The first runtime is polled only in its `block_on`.
fn asked(method: StartMethod) {
    let pool = shared_pool(method, 1);
    let first = runtime(1);
    let [handle] = first.block_on(async {
        within(pool.submit(double, 1)).await.expect("it runs");
        [pool.submit(double, 2)]
    });
    in_time(move || {
        while !handle.is_finished() {
            thread::yield_now();
        }
        assert_eq!(block_on(handle).expect("it ran"), 4);
    });
    drop(first);
    end(pool);
}

/// The first runtime is polled only in its `block_on`.
fn read_progress(method: StartMethod) {
    let pool = shared_pool(method, 1);
    let first = runtime(1);
    let door = Door::new();
    let [(handle, mut progress)] = first.block_on(async {
        within(pool.submit(double, 1)).await.expect("it runs");
        let handle = pool.submit(report_at, door.path.clone());
        let mut progress = handle.progress();
        assert!(progress.next().now_or_never().is_none());
        for _ in 0..10 {
            tokio::task::yield_now().await; // The call is sent.
        }
        [(handle, progress)]
    });
    in_time(move || {
        block_on(async {
            let mut next = progress.next();
            assert!(futures::poll!(&mut next).is_pending());
            drop(door.guest());
            assert_eq!(next.await.expect("a report").done, 1);
            assert!(progress.next().await.is_none());
        });
    });
    block_on(handle).expect("it ran");
    drop(first);
    end(pool);
}

fn ended(method: StartMethod) {
    for (threads, pool) in [1, 2].map(|threads| (threads, shared_pool(method, 1))) {
        let door = Door::new();
        let first = runtime(threads);
        let (busy, waiting) = first.block_on(async {
            within(pool.submit(double, 0)).await.expect("it runs"); // The worker is ready after this.
            let busy = pool.submit(wait_at, door.path.clone());
            let waiting: Vec<_> = (0..10).map(|n| pool.submit(double, n)).collect();
            (busy, waiting)
        });
        let (guest, pid) = door.guest();
        drop(first); // The worker and the waiting calls now belong to no runtime.
        let second = runtime(threads);
        second.block_on(async {
            drop(guest);
            within(busy).await.expect("the running task goes on");
            for (n, handle) in (0..).zip(waiting) {
                assert_eq!(within(handle).await.expect("it still runs"), 2 * n);
            }
            assert_eq!(pool.workers()[0].pid(), pid, "its worker lives on");
        });
        end(pool);
    }
}

/// The runtime runs one more turn in each round before it ends: while the worker starts, while the first messages are
/// exchanged, while the task runs, while its outcome arrives.
fn ended_at_any_point(method: StartMethod) {
    // `Fork` needs a process with one thread when a pool is built, so all rounds use the same pool.
    let shared = (method == StartMethod::Fork).then(|| shared_pool(method, 1));
    for turns in 0..60 {
        let pool = shared.unwrap_or_else(|| shared_pool(method, 1));
        let first = runtime(1 + turns % 2);
        let [handle] = first.block_on(async {
            let handle = pool.submit(letters, 300_000);
            for _ in 0..turns {
                tokio::task::yield_now().await;
                thread::sleep(Duration::from_micros(100)); // Gives the worker time to make progress.
            }
            [handle]
        });
        drop(first);
        let text = in_time(|| runtime(1).block_on(handle)).expect("no runtime ends it");
        assert_eq!(text.len(), 300_000);
        if shared.is_none() {
            end(pool);
        }
    }
    if let Some(pool) = shared {
        end(pool);
    }
}

fn none(method: StartMethod) {
    let pool = shared_pool(method, 2);
    in_time(move || {
        block_on(async {
            pool.warm_up().await.expect("ready");
            assert_eq!(pool.submit(double, 4).await.expect("it runs"), 8);
            let text = pool.submit(letters, 1 << 20).await.expect("it runs");
            assert_eq!(text.len(), 1 << 20);
            let limit = TaskOptions::new().timeout(Duration::from_millis(20));
            let late = pool.submit_with(&limit, wait_forever, ());
            assert!(late.await.expect_err("it waits for ever").is_timeout());
            let how = Shutdown::new().deadline(Duration::from_secs(60));
            pool.shutdown_with(how).await;
        });
    });
    assert_eq!(pool.stats().workers, 0);
}

fn paused(method: StartMethod) {
    let pool = shared_pool(method, 2);
    in_time(move || {
        let mut builder = Builder::new_current_thread();
        let runtime = builder.enable_all().start_paused(true).build();
        runtime.expect("a runtime").block_on(async {
            assert_eq!(pool.submit(double, 5).await.expect("it runs"), 10);
            let limit = TaskOptions::new().timeout(Duration::from_secs(3600));
            let slow = pool.submit_with(&limit, double, 6);
            assert_eq!(slow.await.expect("an hour has not passed"), 12);
        });
    });
    in_time(move || {
        // A clock that is paused later is noticed by the next timer.
        runtime(1).block_on(async {
            assert_eq!(pool.submit(double, 7).await.expect("it runs"), 14);
            tokio::time::pause();
            let limit = TaskOptions::new().timeout(Duration::from_secs(3600));
            let door = Door::new();
            let held = pool.submit_with(&limit, wait_at, door.path.clone());
            let (guest, _) = door.guest();
            tokio::time::advance(Duration::from_secs(7200)).await;
            drop(guest);
            held.await.expect("an hour has not passed");
        });
    });
    end(pool);
}

/// Without a runtime, the crate's own threads drive all pools.
fn blocking_callbacks(method: StartMethod) {
    let (blocks, is_blocked) = mpsc::channel();
    let (unblock, gate) = mpsc::channel::<()>();
    let gate = Arc::new(Mutex::new(gate));
    let callback = move || {
        let _ = blocks.send(());
        let _ = gate.lock().unwrap_or_else(PoisonError::into_inner).recv();
    };
    let tell = callback.clone();
    // All are built while this process has one thread.
    let called = shared_pool(method, 1);
    let read = builder(method)
        .max_workers(1)
        .stdout(Output::lines(move |_| tell()));
    let read: &ProcessPoolExecutor = Box::leak(Box::new(read.build().expect("a pool")));
    let other = shared_pool(method, 1);
    let handle = called.submit(double, 1);
    handle.on_done(move |_| callback());
    is_blocked.recv_timeout(LIMIT).expect("the task is done");
    let reading = read.submit(print_line, ());
    is_blocked.recv_timeout(LIMIT).expect("it has a line");
    in_time(move || {
        assert_eq!(block_on(other.submit(double, 2)).expect("it runs"), 4);
        assert_eq!(block_on(called.submit(double, 3)).expect("it runs"), 6);
    });
    drop(unblock);
    in_time(move || block_on(reading).expect("it ran"));
    for pool in [called, read, other] {
        end(pool);
    }
}

fn no_blocking_threads(method: StartMethod) {
    let pool = shared_pool(method, 2);
    in_time(move || {
        let mut builder = Builder::new_multi_thread();
        builder
            .worker_threads(1)
            .max_blocking_threads(2)
            .enable_all();
        let runtime = builder.build().expect("a runtime");
        let handle = runtime.handle().clone();
        let submits = [1, 2].map(|n| {
            let handle = handle.clone();
            runtime.spawn_blocking(move || {
                handle.block_on(async {
                    let number = pool.submit(double, n).await.expect("it runs");
                    let text = pool.submit(letters, 1 << 20).await.expect("it runs");
                    (number, text.len())
                })
            })
        });
        runtime.block_on(async {
            for (submit, n) in submits.into_iter().zip([1, 2]) {
                assert_eq!(submit.await.expect("no panic"), (2 * n, 1 << 20));
            }
        });
    });
    end(pool);
}

fn no_drivers(method: StartMethod) {
    let pool = shared_pool(method, 2);
    // The next runtimes get what they need from the pool, with and without drivers.
    for has_drivers in [false, true, false, true] {
        in_time(move || {
            let mut builder = Builder::new_current_thread();
            if has_drivers {
                builder.enable_all();
            }
            let runtime = builder.build().expect("a runtime");
            runtime.block_on(async {
                let handle: JoinHandle<u64> = pool.submit(double, 8);
                assert_eq!(handle.await.expect("it runs"), 16);
                let doubles: Vec<_> = pool
                    .map(double, 0..100)
                    .try_collect()
                    .await
                    .expect("all run");
                assert_eq!(doubles.len(), 100);
            });
        });
    }
    assert_eq!(pool.stats().restarts.failed_to_start, 0);
    end(pool);
}

/// Tokio panics when asked for missing drivers; there is no other way to ask.
#[test]
fn a_runtime_without_drivers_prints_no_panic() {
    let own = std::env::current_exe().expect("it is there");
    let test = [
        "--exact",
        "a_runtime_without_drivers_is_as_good_as_none",
        "--nocapture",
    ];
    let output = Command::new(own).args(test).output().expect("it starts");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success() && !stderr.contains("panicked"),
        "{stderr}"
    );
}
