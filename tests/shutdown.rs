//! A pool ends in every way without a hang, a panic or an unresolved handle. `conformance.rs` has the promises of every
//! executor.

#![cfg(feature = "process")]
#![cfg(target_os = "linux")]

#[path = "common/again.rs"]
mod again;
mod common;
#[path = "common/methods.rs"]
mod methods;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use concurrent_futures::{
    Executor as _, ExecutorExt as _, JoinHandle, Shutdown, StartMethod, TaskError, TaskOptions,
    ThreadPoolExecutor,
};
use tokio::runtime::Runtime;

use self::common::folder::Folder;
use self::common::{Gate, Key, eventually, within};
use self::methods::{builder, for_every_start_method, held_by_every_start_method, processes};

concurrent_futures::init_before_main!();

held_by_every_start_method! {
    1;
    busy_workers_are_killed_at_the_deadline_and_counted,
    a_shutdown_counts_each_task_once_however_it_ends,
    a_shutdown_counts_the_tasks_for_which_no_worker_starts,
    a_shutdown_that_is_not_awaited_still_closes_the_pool,
    a_shutdown_while_workers_start_leaves_none,
    shutting_down_a_pool_that_never_worked_returns,
    a_process_pool_dropped_in_a_runtime_ends_its_workers,
    2;
    a_shutdown_in_the_middle_of_a_chunk_leaves_no_item_unresolved,
}

fn double(x: u64) -> u64 {
    x * 2
}

fn wait_at(gate: Key) {
    gate.wait();
}

fn runtime() -> Runtime {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    builder
        .worker_threads(1)
        .enable_all()
        .build()
        .expect("a runtime")
}

/// Checks that a handle of an ended pool has a result or an error that explains why there is none.
fn is_answered<T: std::fmt::Debug>(outcome: Result<T, TaskError>) {
    if let Err(error) = outcome {
        assert!(error.is_shutdown() || error.is_cancelled(), "{error}");
    }
}

async fn busy_workers_are_killed_at_the_deadline_and_counted(method: StartMethod) {
    let pool = processes(method, 3);
    let gate = Gate::new();
    let handles = [(); 3].map(|()| pool.submit(wait_at, gate.key()));
    let [first, second, third] = [gate.guest().await, gate.guest().await, gate.guest().await];
    let queued: Vec<_> = (0..5).map(|n| pool.submit(double, n)).collect();
    queued[4].abort();
    let how = Shutdown::new().deadline(Duration::from_millis(200));
    let mut shutdown = std::pin::pin!(pool.shutdown_with(how));
    assert!(futures::poll!(&mut shutdown).is_pending());
    first.let_in().await;
    let report = within(shutdown).await;
    // The worker that was released has taken calls from the queue.
    assert_eq!(
        (report.finished, report.cancelled, report.killed),
        (5, 0, 2)
    );
    second.gone().await;
    third.gone().await;
    let outcomes = futures::future::join_all(handles).await;
    assert_eq!(outcomes.iter().filter(|outcome| outcome.is_ok()).count(), 1);
    outcomes.into_iter().for_each(is_answered);
    assert_eq!(pool.stats().workers, 0);
}

async fn a_shutdown_counts_each_task_once_however_it_ends(method: StartMethod) {
    let pool = processes(method, 1);
    let (first, rest) = (Gate::new(), Gate::new());
    let busy = pool.submit(wait_at, first.key());
    let guest = first.guest().await;
    // All of these begin after the shutdown.
    let result = pool.submit(double, 4);
    let panic = pool.submit(|| -> () { panic!("on purpose") }, ());
    let crash = pool.submit(|| -> () { std::process::abort() }, ());
    let timeout = TaskOptions::new().timeout(Duration::from_millis(300));
    let late = pool.submit_with(&timeout, wait_at, rest.key());
    let warned = timeout.clone().grace_period(Duration::from_millis(100));
    let warned = pool.submit_with(&warned, wait_at, rest.key());
    let aborted = pool.submit(wait_at, rest.key());
    let unstarted = pool.submit(double, 5);
    let killed = pool.submit(wait_at, rest.key());
    let never = pool.submit(double, 6);
    let mut shutdown = std::pin::pin!(pool.shutdown());
    assert!(futures::poll!(&mut shutdown).is_pending());
    guest.let_in().await;
    let tasks = async {
        within(busy).await.expect("it ran");
        assert_eq!(within(result).await.expect("it ran"), 8);
        assert!(within(panic).await.expect_err("it panics").is_panic());
        assert!(
            within(crash)
                .await
                .expect_err("it crashes")
                .is_worker_lost()
        );
        for task in [late, warned] {
            let guest = rest.guest().await;
            assert!(within(task).await.expect_err("it waits").is_timeout());
            guest.gone().await;
        }
        unstarted.abort();
        let guest = rest.guest().await;
        aborted.abort();
        guest.gone().await;
        let guest = rest.guest().await;
        pool.kill_workers();
        assert!(within(killed).await.expect_err("it waits").is_shutdown());
        guest.gone().await;
        assert!(within(never).await.expect_err("too late").is_cancelled());
    };
    let (report, ()) = futures::join!(within(shutdown), tasks);
    // Ended: `busy`, `result`, `panic`, `crash`, `late`, `warned`, `aborted`.
    assert_eq!(
        (report.finished, report.cancelled, report.killed),
        (7, 2, 1)
    );
    within(unstarted).await.expect_err("it was aborted");
}

async fn a_shutdown_counts_the_tasks_for_which_no_worker_starts(method: StartMethod) {
    fn fail_if_there(file: PathBuf) -> Result<(), String> {
        if file.exists() {
            return Err("it is there".to_owned());
        }
        Ok(())
    }
    fn crash_at(gate: Key) {
        gate.wait();
        std::process::abort();
    }
    let directory = Folder::new();
    let file = directory.path().join("fails");
    let pool = builder(method)
        .max_workers(1)
        .initializer(fail_if_there, file.clone())
        .build()
        .expect("a pool");
    let gate = Gate::new();
    let crash = pool.submit(crash_at, gate.key());
    let guest = gate.guest().await;
    std::fs::write(&file, "").expect("a file");
    let expires = TaskOptions::new().queue_timeout(Duration::from_millis(400));
    let expires = pool.submit_with(&expires, double, 1);
    let waiting = [(); 3].map(|()| pool.submit(double, 1));
    let mut shutdown = std::pin::pin!(pool.shutdown());
    assert!(futures::poll!(&mut shutdown).is_pending());
    assert!(within(expires).await.expect_err("too late").is_rejected());
    guest.let_in().await;
    let report = within(shutdown).await;
    assert!(
        within(crash)
            .await
            .expect_err("it crashes")
            .is_worker_lost()
    );
    for task in waiting {
        assert!(within(task).await.expect_err("no worker").is_init_failed());
    }
    assert_eq!(
        (report.finished, report.cancelled, report.killed),
        (5, 0, 0)
    );
}

async fn a_shutdown_that_is_not_awaited_still_closes_the_pool(method: StartMethod) {
    let pool = processes(method, 1);
    assert_eq!(within(pool.submit(double, 1)).await.expect("it ran"), 2);
    let given_up = tokio::time::timeout(Duration::ZERO, pool.shutdown()).await;
    if given_up.is_err() {
        let error = within(pool.submit(double, 1))
            .await
            .expect_err("it is closed");
        assert!(error.is_shutdown(), "{error}");
    }
    within(pool.shutdown()).await;
    assert_eq!(pool.stats().workers, 0);
}

/// Neither may a thread remain that waits for the workers: the next pool by `Fork` would be impossible.
async fn a_shutdown_while_workers_start_leaves_none(method: StartMethod) {
    for _ in 0..10 {
        let pool = processes(method, 2);
        let handles: Vec<_> = (0..4).map(|n| pool.submit(double, n)).collect();
        let how = Shutdown::new()
            .cancel_pending(true)
            .deadline(Duration::ZERO);
        let report = within(pool.shutdown_with(how)).await;
        assert_eq!(report.finished + report.cancelled + report.killed, 4);
        for handle in handles {
            is_answered(within(handle).await);
        }
        assert_eq!(pool.stats().workers, 0);
    }
}

async fn shutting_down_a_pool_that_never_worked_returns(method: StartMethod) {
    let pool = processes(method, 1);
    assert_eq!(within(pool.shutdown()).await, Default::default());
    let pool = ThreadPoolExecutor::with_workers(1).expect("a pool");
    assert_eq!(within(pool.shutdown()).await, Default::default());
}

async fn a_process_pool_dropped_in_a_runtime_ends_its_workers(method: StartMethod) {
    let pool = processes(method, 2);
    let gate = Gate::new();
    let busy = pool.submit(wait_at, gate.key());
    let guest = gate.guest().await;
    let queued: Vec<_> = (0..5).map(|n| pool.submit(double, n)).collect();
    let pids: Vec<_> = pool.workers().iter().map(|worker| worker.pid()).collect();
    drop(pool);
    drop(guest); // Lets it continue, if it still exists.
    is_answered(within(busy).await);
    for handle in queued {
        is_answered(within(handle).await);
    }
    for pid in pids {
        eventually(|| !std::path::Path::new(&format!("/proc/{pid}")).exists()).await;
    }
}

/// All handles resolve, although the pool's runtime has ended.
fn answers<T: Send + std::fmt::Debug + 'static>(handles: Vec<JoinHandle<T>>) {
    runtime().block_on(async {
        for handle in handles {
            is_answered(within(handle).await);
        }
    });
}

#[test]
fn a_pool_dropped_outside_of_a_runtime_leaves_no_handle_unresolved() {
    for_every_start_method(
        "a_pool_dropped_outside_of_a_runtime_leaves_no_handle_unresolved",
        dropped_outside_of_a_runtime,
    );
}

fn dropped_outside_of_a_runtime(method: StartMethod) {
    let processes = processes(method, 1); // Before there are threads, which prevent a fork.
    let runtime = runtime();
    let (threads, handles) = runtime.block_on(async {
        let threads = ThreadPoolExecutor::with_workers(1).expect("a pool");
        let mut handles: Vec<_> = (0..5).map(|n| threads.submit(double, n)).collect();
        handles.extend((0..5).map(|n| processes.submit(double, n)));
        (threads, handles)
    });
    drop((threads, processes));
    answers(handles);
}

#[test]
fn a_pool_dropped_after_its_runtime_has_ended_leaves_no_handle_unresolved() {
    for_every_start_method(
        "a_pool_dropped_after_its_runtime_has_ended_leaves_no_handle_unresolved",
        dropped_after_its_runtime,
    );
}

fn dropped_after_its_runtime(method: StartMethod) {
    let processes = processes(method, 1);
    let (threads, handles) = runtime().block_on(async {
        let threads = ThreadPoolExecutor::with_workers(1).expect("a pool");
        let mut handles: Vec<_> = (0..5).map(|n| threads.submit(double, n)).collect();
        handles.extend((0..5).map(|n| processes.submit(double, n)));
        (threads, handles)
    });
    drop((threads, processes));
    answers(handles);
}

/// An idle thread waits for work, and ends when the pool is closed or dropped. Here neither happens, and no task is
/// submitted.
#[test]
fn a_runtime_that_ends_while_a_pool_is_alive_ends_without_waiting_for_idle_pool_threads() {
    let (runtime, next) = (runtime(), self::runtime());
    let threads = runtime.block_on(async {
        let threads = ThreadPoolExecutor::with_workers(4).expect("a pool");
        let handles: Vec<_> = (0..100).map(|n| threads.submit(double, n)).collect();
        for handle in handles {
            within(handle).await.expect("it ran");
        }
        threads
    });
    next.block_on(async {
        within(tokio::task::spawn_blocking(move || drop(runtime)))
            .await
            .expect("it ends");
        // The pool had borrowed its threads, and now uses those of another runtime.
        assert_eq!(within(threads.submit(double, 4)).await.expect("it ran"), 8);
        within(threads.shutdown()).await;
    });
}

#[test]
fn the_workers_of_a_runtime_that_ended_can_still_be_killed() {
    for_every_start_method(
        "the_workers_of_a_runtime_that_ended_can_still_be_killed",
        workers_outlive_their_runtime,
    );
}

fn workers_outlive_their_runtime(method: StartMethod) {
    let pool = processes(method, 2);
    let test = runtime();
    let _inside = test.enter();
    let gate = Gate::new();
    let own = runtime();
    let handles = own.block_on(async { [(); 5].map(|()| pool.submit(wait_at, gate.key())) });
    let guests = test.block_on(async { [gate.guest().await, gate.guest().await] });
    drop(own); // The pool and its tasks continue.
    test.block_on(async {
        assert_eq!(pool.stats().running, 2);
        pool.kill_workers();
        for guest in guests {
            guest.gone().await;
        }
        let mut running = 0;
        for handle in handles {
            let error = within(handle).await.expect_err("never let in");
            assert!(error.is_shutdown() || error.is_cancelled(), "{error}");
            running += usize::from(error.is_shutdown());
        }
        assert_eq!((running, pool.stats().running), (2, 0));
        within(pool.shutdown()).await;
    });
}

#[test]
fn a_callback_may_use_the_pool_whose_runtime_ends() {
    for_every_start_method(
        "a_callback_may_use_the_pool_whose_runtime_ends",
        a_callback_uses_the_pool,
    );
}

fn a_callback_uses_the_pool(method: StartMethod) {
    let pool = Arc::new(processes(method, 1));
    let test = runtime();
    let _inside = test.enter();
    let gate = Gate::new();
    let own = runtime();
    let handle = {
        let _inside = own.enter();
        pool.submit(wait_at, gate.key())
    };
    let guest = test.block_on(gate.guest());
    let (seen, told) = std::sync::mpsc::channel();
    handle.on_done({
        let pool = pool.clone();
        move |_| seen.send(pool.stats().running).expect("the test waits")
    });
    std::thread::spawn(move || drop(own)); // On a separate thread, because the drop could hang.
    test.block_on(guest.let_in());
    told.recv_timeout(Duration::from_secs(30))
        .expect("the callback got through");
    let outcome = test.block_on(within(handle));
    outcome.expect("it outlives the runtime that it was submitted from");
}

#[test]
fn a_pool_goes_on_in_the_next_runtime() {
    for_every_start_method(
        "a_pool_goes_on_in_the_next_runtime",
        goes_on_in_the_next_runtime,
    );
}

fn goes_on_in_the_next_runtime(method: StartMethod) {
    let pool = processes(method, 1); // Without a runtime yet.
    for n in 0..3 {
        runtime().block_on(async {
            let doubled = within(pool.submit(double, n)).await;
            assert_eq!(doubled.expect("it ran"), n * 2);
        });
    }
    let pool = ThreadPoolExecutor::with_workers(1).expect("a pool, without a runtime yet");
    for n in 0..3 {
        runtime().block_on(async {
            let doubled = within(pool.submit(double, n)).await;
            assert_eq!(doubled.expect("it ran"), n * 2);
        });
    }
}

#[test]
fn submitting_without_any_runtime_works() {
    for_every_start_method(
        "submitting_without_any_runtime_works",
        works_without_a_runtime,
    );
}

fn works_without_a_runtime(method: StartMethod) {
    let processes = processes(method, 1);
    let threads = ThreadPoolExecutor::with_workers(1).expect("a pool");
    for handle in [threads.submit(double, 1), processes.submit(double, 1)] {
        assert_eq!(futures::executor::block_on(handle).expect("it ran"), 2);
    }
}

#[test]
fn a_task_submitted_outside_of_a_runtime_can_be_awaited_in_one() {
    for_every_start_method(
        "a_task_submitted_outside_of_a_runtime_can_be_awaited_in_one",
        submitted_from_outside,
    );
}

fn submitted_from_outside(method: StartMethod) {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.enable_all().build().expect("a runtime");
    let (processes, threads) = runtime.block_on(async {
        let processes = processes(method, 1);
        let threads = ThreadPoolExecutor::with_workers(1).expect("a pool");
        (processes, threads)
    });
    let handles = [threads.submit(double, 4), processes.submit(double, 4)];
    runtime.block_on(async {
        for handle in handles {
            assert_eq!(within(handle).await.expect("it ran"), 8);
        }
    });
}

/// At whatever item of a chunk the worker is, no item is forgotten.
async fn a_shutdown_in_the_middle_of_a_chunk_leaves_no_item_unresolved(method: StartMethod) {
    use futures::StreamExt as _;
    for round in 0..40 {
        let pool = processes(method, 1);
        within(pool.warm_up()).await.expect("a worker");
        let map = pool.map(double, 0..2000).chunk_size(1000);
        let items = tokio::spawn(map.collect::<Vec<_>>());
        eventually(|| pool.stats().finished > 20 * round).await;
        within(pool.shutdown_with(Shutdown::new().cancel_pending(true))).await;
        let items = within(items).await.expect("no panic");
        items.into_iter().for_each(is_answered);
    }
}
