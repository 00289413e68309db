//! Async functions as tasks, on every executor. The destructor of a dropped future reports at a gate.

#![cfg(feature = "process")]
#[cfg(target_os = "linux")]
#[path = "common/again.rs"]
mod again;
mod common;
#[path = "common/kinds.rs"]
mod kinds;
#[path = "common/methods.rs"]
mod methods;

use std::future::pending;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Mutex;
use std::time::Duration;

use concurrent_futures::{
    Async, CancellationToken, Executor, ExecutorExt as _, Retry, Shutdown, TaskOptions,
    ThreadPoolExecutor, retry, worker,
};
use futures::{StreamExt as _, TryStreamExt as _};
use tokio::task::{JoinHandle, yield_now};

use self::common::folder::Folder;
use self::common::{Gate, Key, eventually, within};
use self::kinds::{Kind, held_by_every_executor};

concurrent_futures::init_before_main!();

held_by_every_executor! { 2;
    an_async_function_of_any_arity_gives_its_result,
    a_future_may_be_bound_to_its_thread,
    a_panic_of_a_future_is_the_error_of_its_task_and_the_worker_lives_on,
    an_async_task_knows_who_it_is_after_each_await,
    an_async_task_reports_its_progress,
    a_map_of_an_async_function_gives_its_results_in_order,
    an_aborted_future_is_dropped_and_its_worker_goes_on,
    a_future_over_its_time_is_dropped_and_its_worker_goes_on,
    a_future_whose_token_is_cancelled_is_dropped_and_its_worker_goes_on,
    the_future_of_an_item_is_dropped_with_its_map,
    an_async_task_that_waits_longer_than_its_queue_timeout_never_runs,
    a_shutdown_drops_a_future_by_its_deadline,
    tasks_spawned_by_an_async_task_continue_during_the_next_one,
    a_future_that_an_async_task_spawned_is_told_of_its_end,
    a_blocking_call_in_an_async_task_panics,
    an_async_task_may_await_another_pool,
    an_async_task_is_attempted_again,
}

/// Longer than any test takes.
const HOUR: Duration = Duration::from_secs(3600);
const SHORT: Duration = Duration::from_millis(30);

/// Reports at a gate when it is dropped, and waits until the test lets it continue.
struct Farewell(Key);

impl Drop for Farewell {
    fn drop(&mut self) {
        self.0.wait();
    }
}

/// Ends only by being dropped.
async fn wait_forever(arrival: Key, end: Key) {
    let _farewell = Farewell(end);
    arrival.wait();
    pending::<()>().await;
}

async fn double(n: u64) -> u64 {
    yield_now().await;
    tokio::time::sleep(Duration::from_micros(n)).await;
    n * 2
}

async fn none() {
    yield_now().await;
}

async fn divide(a: u32, b: u32) -> Result<u32, String> {
    yield_now().await;
    a.checked_div(b)
        .ok_or_else(|| format!("{a} cannot be divided by {b}"))
}

async fn fail() {
    yield_now().await;
    panic!("as it should");
}

async fn double_and_add(a: u64, b: u64) -> u64 {
    double(a).await + b
}

async fn count(n: u32) -> usize {
    let shared = Rc::new(());
    let clones: Vec<_> = (0..n).map(|_| shared.clone()).collect();
    yield_now().await;
    let count = Rc::strong_count(&shared);
    drop(clones);
    count
}

async fn fail_later() {
    yield_now().await;
    panic!("after an await");
}

fn who() -> (u64, u64, u32, bool) {
    let me = worker::current().expect("inside a task");
    (
        me.task_id(),
        me.worker_id(),
        me.attempt(),
        me.is_cancelled(),
    )
}

async fn twice() -> [(u64, u64, u32, bool); 2] {
    let before = who();
    tokio::time::sleep(Duration::from_millis(1)).await;
    [before, who()]
}

async fn work() {
    for done in 1..=3 {
        yield_now().await;
        worker::current().expect("a task").report_progress(done, 3);
    }
}

async fn wait_with_note(arrival: Key, file: PathBuf) {
    let _note = Note(file);
    arrival.wait();
    pending::<()>().await;
}

async fn spawn() {
    let spawned = tokio::spawn(async {
        tokio::time::sleep(SHORT).await;
        7
    });
    *SPAWNED.lock().expect("no panic") = Some(spawned);
}

async fn join() -> u32 {
    let spawned = SPAWNED.lock().expect("no panic").take();
    spawned.expect("it was spawned").await.expect("it ran")
}

/// The spawned task stands for a connection, which ends when the last sender is dropped.
async fn connect(end: Key) {
    let (sender, mut receiver) = tokio::sync::mpsc::channel::<()>(1);
    let connection = async move {
        let _farewell = Farewell(end);
        receiver.recv().await
    };
    tokio::spawn(connection);
    yield_now().await;
    drop(sender);
}

async fn block() {
    let pool = ThreadPoolExecutor::with_workers(1).expect("threads");
    let _ = pool.submit(|| 1, ()).blocking_join();
}

async fn elsewhere(n: u64) -> u64 {
    let pool = ThreadPoolExecutor::with_workers(1).expect("threads");
    let doubled = pool.submit_async(double, n).await.expect("it ran");
    let sum = pool.submit(move || doubled + 1, ()).await.expect("it ran");
    pool.shutdown().await;
    sum
}

async fn third_time_lucky() -> Result<u32, String> {
    yield_now().await;
    let attempt = worker::current().expect("a task").attempt();
    match attempt {
        1 => panic!("not yet"),
        2 => Err("not yet".to_owned()),
        _ => Ok(attempt),
    }
}

/// The functions that a cluster knows.
#[cfg(all(feature = "cluster", target_os = "linux"))]
fn named_tasks() -> concurrent_futures::cluster::Functions {
    concurrent_futures::functions![std::process::id, u64::pow]
        .add("wait_forever", Async(wait_forever))
        .add("double", Async(double))
        .add("none", Async(none))
        .add("divide", Async(divide))
        .add("fail", Async(fail))
        .add("double_and_add", Async(double_and_add))
        .add("count", Async(count))
        .add("fail_later", Async(fail_later))
        .add("twice", Async(twice))
        .add("work", Async(work))
        .add("wait_with_note", Async(wait_with_note))
        .add("spawn", Async(spawn))
        .add("join", Async(join))
        .add("connect", Async(connect))
        .add("block", Async(block))
        .add("elsewhere", Async(elsewhere))
        .add("third_time_lucky", Async(third_time_lucky))
}

fn patient() -> TaskOptions {
    TaskOptions::new().grace_period(HOUR)
}

async fn an_async_function_of_any_arity_gives_its_result(kind: Kind) {
    let pool = kind.pool(1);
    within(pool.submit_async(none, ())).await.expect("none");
    let doubled = within(pool.submit_async(double, 21)).await;
    assert_eq!(doubled.expect("one"), 42);
    let quotient = within(pool.submit_async(divide, (7, 2))).await;
    assert_eq!(quotient.expect("two"), Ok(3));
    let error = within(pool.submit_async(divide, (7, 0))).await;
    let error = error.expect("an error of its own");
    assert_eq!(error.expect_err("0"), "7 cannot be divided by 0");
    let sum = within(pool.submit_async(double_and_add, (1, 2))).await;
    assert_eq!(sum.expect("two"), 4);
    if !kind.asks_a_server() {
        let closure = |a: u64, b: u64| async move { double(a).await + b };
        let sum = within(pool.submit_async(closure, (1, 2))).await;
        assert_eq!(sum.expect("a closure"), 4);
    }
    let error = within(pool.submit_async(fail, ()))
        .await
        .expect_err("a panic");
    assert!(error.task_name().ends_with("fail"), "{error}");
    let named = TaskOptions::new().name("thumbnail");
    let error = within(pool.submit_async_with(&named, fail, ())).await;
    assert_eq!(error.expect_err("a panic").task_name(), "thumbnail");
    assert_eq!(
        within(pool.submit(u64::pow, (2, 3))).await.expect("it ran"),
        8
    );
}

async fn a_future_may_be_bound_to_its_thread(kind: Kind) {
    let pool = kind.pool(1);
    let count = within(pool.submit_async(count, 3)).await;
    assert_eq!(count.expect("it ran"), 4);
}

async fn a_panic_of_a_future_is_the_error_of_its_task_and_the_worker_lives_on(kind: Kind) {
    let pool = kind.pool(1);
    let before = within(pool.submit(std::process::id, ())).await;
    let error = within(pool.submit_async(fail_later, ()))
        .await
        .expect_err("a panic");
    assert!(error.is_panic() && error.was_started(), "{error}");
    assert_eq!(error.panic_message(), Some("after an await"));
    let location = error.panic_location().expect("a location");
    assert!(location.file().ends_with("async_tasks.rs"), "{location}");
    assert_eq!(
        within(pool.submit_async(double, 2)).await.expect("it ran"),
        4
    );
    let after = within(pool.submit(std::process::id, ())).await;
    assert_eq!(before.expect("a pid"), after.expect("a pid"));
}

async fn an_async_task_knows_who_it_is_after_each_await(kind: Kind) {
    let pool = kind.pool(1);
    let handle = pool.submit_async(twice, ());
    let me = (handle.id(), 1, 1, false);
    assert_eq!(within(handle).await.expect("it ran"), [me, me]);
}

async fn an_async_task_reports_its_progress(kind: Kind) {
    let pool = kind.pool(1);
    let handle = pool.submit_async(work, ());
    let last = handle
        .progress()
        .fold(0, |_, progress| async move { progress.done });
    assert_eq!(within(last).await, 3);
    within(handle).await.expect("it ran");
}

async fn a_map_of_an_async_function_gives_its_results_in_order(kind: Kind) {
    let pool = kind.pool(2);
    for chunk_size in [1, 7] {
        let doubles = pool.map(Async(double), 0..50).chunk_size(chunk_size);
        let doubles: Vec<u64> = within(doubles.try_collect()).await.expect("they ran");
        assert!(doubles.into_iter().eq((0..50).map(|n| n * 2)));
    }
}

/// Starts a future that ends only by being dropped, calls `end`, and expects that its destructor runs in the worker,
/// which then continues.
async fn dropped_by<T>(
    kind: Kind,
    options: TaskOptions,
    end: impl AsyncFnOnce(concurrent_futures::JoinHandle<()>) -> T,
) -> T {
    let pool = kind.pool(1);
    let before = within(pool.submit(std::process::id, ())).await;
    let before = before.expect("it ran");
    let (arrival, leave) = (Gate::new(), Gate::new());
    let keys = (arrival.key(), leave.key());
    let handle = pool.submit_async_with(&options, wait_forever, keys);
    arrival.guest().await.let_in().await;
    let outcome = end(handle).await;
    let leaves = leave.guest().await;
    assert_eq!(leaves.pid(), before);
    leaves.let_in().await;
    let after = within(pool.submit(std::process::id, ())).await;
    assert_eq!(after.expect("the worker goes on"), before);
    assert_eq!(pool.stats().restarts, Default::default());
    outcome
}

async fn an_aborted_future_is_dropped_and_its_worker_goes_on(kind: Kind) {
    dropped_by(kind, patient(), async |handle| {
        handle.abort();
        let error = within(handle).await.expect_err("it was aborted");
        assert!(error.is_cancelled() && error.was_started(), "{error}");
    })
    .await;
    // The caller may have ended.
    dropped_by(kind, patient(), async |handle| drop(handle.abort_on_drop())).await;
}

async fn a_future_over_its_time_is_dropped_and_its_worker_goes_on(kind: Kind) {
    dropped_by(kind, patient().timeout(SHORT), async |handle| {
        let error = within(handle).await.expect_err("it is over its time");
        assert!(error.is_timeout(), "{error}");
    })
    .await;
}

async fn a_future_whose_token_is_cancelled_is_dropped_and_its_worker_goes_on(kind: Kind) {
    let token = CancellationToken::new();
    let options = patient().cancel_token(token.clone());
    dropped_by(kind, options, async |handle| {
        token.cancel();
        let error = within(handle).await.expect_err("it was cancelled");
        assert!(error.is_cancelled(), "{error}");
    })
    .await;
}

async fn the_future_of_an_item_is_dropped_with_its_map(kind: Kind) {
    let pool = kind.pool(1);
    let (arrival, leave) = (Gate::new(), Gate::new());
    let keys = (arrival.key(), leave.key());
    let mut map = pool
        .map(Async(wait_forever), [keys.clone(), keys])
        .chunk_size(2)
        .options(patient());
    assert!(futures::poll!(map.next()).is_pending());
    let guest = arrival.guest();
    tokio::pin!(guest);
    let guest = tokio::select! {
        guest = &mut guest => guest,
        _ = map.next() => panic!("it never ends"),
    };
    guest.let_in().await;
    drop(map);
    leave.guest().await.let_in().await;
    let doubled = within(pool.submit_async(double, 1)).await;
    assert_eq!(doubled.expect("the worker goes on"), 2);
}

async fn an_async_task_that_waits_longer_than_its_queue_timeout_never_runs(kind: Kind) {
    let pool = kind.pool(1);
    let (arrival, leave) = (Gate::new(), Gate::new());
    let keys = (arrival.key(), leave.key());
    let first = pool.submit_async_with(&patient(), wait_forever, keys.clone());
    let guest = arrival.guest().await;
    let options = TaskOptions::new().queue_timeout(SHORT);
    let second = pool.submit_async_with(&options, wait_forever, keys);
    let error = within(second).await.expect_err("it waited too long");
    assert!(error.is_rejected() && !error.was_started(), "{error}");
    guest.let_in().await;
    first.abort();
    leave.guest().await.let_in().await;
    let doubled = within(pool.submit_async(double, 1)).await;
    assert_eq!(doubled.expect("it ran"), 2);
}

/// Writes a file when it is dropped.
struct Note(PathBuf);

impl Drop for Note {
    fn drop(&mut self) {
        std::fs::write(&self.0, "").expect("the test's folder is there");
    }
}

async fn a_shutdown_drops_a_future_by_its_deadline(kind: Kind) {
    let pool = kind.pool(1);
    let (arrival, folder) = (Gate::new(), Folder::new());
    let file = folder.path().join("dropped");
    // A worker process drops it two grace periods before the deadline.
    let options = TaskOptions::new().grace_period(HOUR);
    let deadline = match kind {
        Kind::Threads => SHORT,
        #[cfg(target_os = "linux")]
        Kind::Processes(_) => HOUR * 2 + SHORT,
        #[cfg(all(feature = "cluster", target_os = "linux"))]
        Kind::Cluster(_) => SHORT,
    };
    let args = (arrival.key(), file.clone());
    let handle = pool.submit_async_with(&options, wait_with_note, args);
    arrival.guest().await.let_in().await;
    let report = within(pool.shutdown_with(Shutdown::new().deadline(deadline))).await;
    assert_eq!(report.finished + report.killed, 1);
    let error = within(handle).await.expect_err("it never ends");
    assert!(error.is_shutdown() && error.was_started(), "{error}");
    eventually(|| file.exists()).await;
}

/// A task that one task spawns, for the next task.
static SPAWNED: Mutex<Option<JoinHandle<u32>>> = Mutex::new(None);

async fn tasks_spawned_by_an_async_task_continue_during_the_next_one(kind: Kind) {
    let pool = kind.pool(1);
    within(pool.submit_async(spawn, ())).await.expect("it ran");
    // On threads, the worker leaves its thread in this time.
    tokio::time::sleep(SHORT).await;
    let seven = within(pool.submit_async(join, ())).await;
    assert_eq!(seven.expect("it ran"), 7);
}

async fn a_future_that_an_async_task_spawned_is_told_of_its_end(kind: Kind) {
    let pool = kind.pool(1);
    let end = Gate::new();
    let handle = pool.submit_async(connect, end.key());
    end.guest().await.let_in().await;
    within(handle).await.expect("it ran");
}

async fn a_blocking_call_in_an_async_task_panics(kind: Kind) {
    let pool = kind.pool(1);
    let error = within(pool.submit_async(block, ()))
        .await
        .expect_err("a panic");
    let message = error.panic_message().expect("a panic");
    assert!(message.contains("Cannot block"), "{message}");
    assert_eq!(
        within(pool.submit_async(double, 2)).await.expect("it ran"),
        4
    );
}

async fn an_async_task_may_await_another_pool(kind: Kind) {
    let pool = kind.pool(1);
    for _ in 0..2 {
        let sum = within(pool.submit_async(elsewhere, 2)).await;
        assert_eq!(sum.expect("it ran"), 5);
    }
}

async fn an_async_task_is_attempted_again(kind: Kind) {
    let pool = kind.pool(1);
    let policy = Retry::new(5).on_panic();
    let attempts = retry(policy, || pool.submit_async(third_time_lucky, ()))
        .when(|outcome| matches!(outcome, Ok(Err(_))));
    assert_eq!(within(attempts).await.expect("it ran"), Ok(3));
}

/// The executor's own method accepts closures that capture, and needs nothing of serde.
#[tokio::test]
async fn a_thread_pool_takes_async_closures_that_capture() {
    struct Plain(String);
    let pool = ThreadPoolExecutor::with_workers(1).expect("threads");
    let text = Rc::<str>::from("four").to_string();
    let closure = async move |more: Plain| {
        yield_now().await;
        Plain(text + &more.0)
    };
    let joined = within(pool.submit_async(closure, Plain("teen".to_owned()))).await;
    assert_eq!(joined.expect("it ran").0, "fourteen");
    let factor = String::from("2").parse::<u64>().expect("a number");
    let products = pool.map(
        Async(move |n: u64| async move { double(n).await * factor }),
        0..3,
    );
    let products: Vec<u64> = within(products.try_collect()).await.expect("they ran");
    assert_eq!(products, [0, 4, 8]);
    let numbers = [1, 2, 3];
    let sums = concurrent_futures::ThreadPoolExecutor::with_workers(1).expect("threads");
    let sum = tokio::task::spawn_blocking(move || {
        sums.scope(|scope| {
            let sum = Async(|| async { numbers.iter().sum::<u32>() });
            scope.submit(sum, ()).blocking_join()
        })
    });
    assert_eq!(within(sum).await.expect("no panic").expect("it ran"), 6);
}

/// The runtime of a thread pool ends with the pool, and so do the tasks on it.
#[tokio::test]
async fn a_closed_thread_pool_drops_what_its_async_tasks_have_spawned() {
    let pool = ThreadPoolExecutor::with_workers(1).expect("threads");
    let end = Gate::new();
    let farewell = Farewell(end.key());
    let spawn = async move || {
        tokio::spawn(async move {
            let _farewell = farewell;
            pending::<()>().await;
        });
    };
    within(pool.submit_async(spawn, ())).await.expect("it ran");
    within(pool.shutdown()).await;
    end.guest().await.let_in().await;
}

#[cfg(target_os = "linux")]
mod in_processes {
    use concurrent_futures::StartMethod;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::UnixStream;

    use super::methods::{held_by_every_start_method, processes};
    use super::*;

    async fn a_future_that_blocks_is_killed_after_its_grace(method: StartMethod) {
        async fn block(arrival: Key) {
            arrival.wait();
        }
        let pool = processes(method, 1);
        let options = TaskOptions::new().grace_period(SHORT);
        let arrival = Gate::new();
        let handle = pool.submit_async_with(&options, block, arrival.key());
        let guest = arrival.guest().await;
        handle.abort();
        assert!(within(handle).await.expect_err("aborted").is_cancelled());
        guest.gone().await;
        let doubled = within(pool.submit_async(double, 2)).await;
        assert_eq!(doubled.expect("another worker"), 4);
    }

    /// Bytes through a socket of its own, after a pause.
    async fn ping(n: u32) -> (u32, u32) {
        let (mut ours, mut theirs) = UnixStream::pair().expect("sockets");
        let reply = tokio::spawn(async move {
            tokio::time::sleep(Duration::from_micros(n.into())).await;
            ours.write_u32(n).await.expect("it is open");
        });
        let received = theirs.read_u32().await.expect("it is open");
        reply.await.expect("no panic");
        (std::process::id(), received)
    }

    async fn ping_once() {
        assert_eq!(ping(1).await.1, 1);
    }

    async fn a_forked_worker_shares_no_runtime_with_its_fork_server(method: StartMethod) {
        let builder = super::methods::builder(method).max_workers(2);
        let builder = match method {
            // It runs in the fork server.
            StartMethod::ForkServer => builder.preload(Async(ping_once), ()),
            // A fork of the program is still within the runtime of this test, in which no other can be started.
            _ => builder.initializer(Async(ping_once), ()),
        };
        let pool = builder.build().expect("processes");
        let pings = pool.map(Async(ping), 0..200).chunk_size(20);
        let pings: Vec<(u32, u32)> = within(pings.try_collect()).await.expect("they ran");
        for (n, (process, received)) in (0..).zip(pings) {
            assert_eq!(received, n);
            assert_ne!(process, std::process::id());
        }
    }

    async fn an_async_task_that_lost_its_worker_knows_the_number_of_its_attempt(
        method: StartMethod,
    ) {
        async fn third_time_lucky() -> u32 {
            yield_now().await;
            match worker::current().expect("a task").attempt() {
                attempt @ 1..=2 => std::process::exit(attempt as i32),
                attempt => attempt,
            }
        }
        let pool = processes(method, 1);
        let options = TaskOptions::new().retries(2);
        let attempt = within(pool.submit_async_with(&options, third_time_lucky, ())).await;
        assert_eq!(attempt.expect("the third"), 3);
        // Its own retries and those of the caller count together.
        let once = TaskOptions::new().retries(1);
        let attempts = retry(Retry::new(5), || {
            pool.submit_async_with(&once, third_time_lucky, ())
        });
        assert_eq!(within(attempts).await.expect("the third"), 3);
    }

    held_by_every_start_method! { 2;
        a_future_that_blocks_is_killed_after_its_grace,
        a_forked_worker_shares_no_runtime_with_its_fork_server,
        an_async_task_that_lost_its_worker_knows_the_number_of_its_attempt,
    }
}
