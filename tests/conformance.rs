//! What every executor promises, tested on each of them through `Arc<dyn Executor>`.

#![cfg(feature = "process")]
#[cfg(target_os = "linux")]
#[path = "common/again.rs"]
mod again;
mod common;
#[path = "common/kinds.rs"]
mod kinds;
#[path = "common/methods.rs"]
mod methods;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use concurrent_futures::{
    Executor, ExecutorExt as _, JoinHandle, Shutdown, ShutdownReport, TaskError, TaskOptions,
    ThreadPoolExecutor, as_completed, worker,
};
use futures::StreamExt as _;

use self::common::folder::Folder;
use self::common::{Gate, Key, eventually, within};
use self::kinds::{Kind, held_by_every_executor};

concurrent_futures::init_before_main!();

held_by_every_executor! { 2;
    a_function_of_any_arity_gives_its_result,
    one_argument_may_itself_be_a_tuple,
    a_panic_fails_its_task_with_message_location_and_backtrace_and_the_worker_lives_on,
    an_error_names_the_task,
    a_task_knows_who_it_is,
    at_most_max_workers_tasks_run_at_once,
    running_and_finished_differ,
    higher_priorities_start_first_and_equals_in_order,
    a_cancelled_task_that_has_not_started_never_runs,
    cancelling_a_task_never_delays_another,
    a_cancel_that_races_completion_has_one_outcome_and_loses_no_place,
    a_time_out_counts_from_the_start_of_the_run,
    a_task_that_waits_longer_than_its_queue_time_out_is_refused,
    a_dropped_handle_detaches_its_task,
    a_dropped_abort_on_drop_handle_cancels_its_task,
    a_finished_handle_that_is_not_polled_never_blocks_a_worker,
    awaiting_a_handle_by_reference_is_cancel_safe,
    a_callback_runs_once_also_when_it_comes_late,
    a_callback_sees_the_outcome_before_the_handle_yields_it,
    a_full_queue_refuses_and_hands_the_arguments_back,
    room_is_waited_for_in_line,
    map_gives_results_in_input_order,
    a_failed_item_of_a_map_is_that_items_error,
    a_dropped_map_cancels_what_it_covers,
    shutdown_finishes_all_that_is_queued,
    shutdown_with_cancel_pending_cancels_what_has_not_started,
    a_shutdown_returns_by_its_deadline_though_a_task_never_ends,
    a_second_shutdown_returns_too,
    shutdown_wakes_who_waits_for_room,
    submitting_after_shutdown_is_refused,
    a_dropped_pool_leaves_no_handle_unresolved,
    references_and_trait_objects_are_executors,
    stats_tell_what_is_going_on,
    a_thread_that_blocks_gets_what_async_code_gets,
    a_task_may_block_on_another_pool,
    a_blocking_call_in_async_code_panics,
}

fn nothing() {}

fn double(x: u64) -> u64 {
    x * 2
}

fn wait_at(gate: Key) {
    gate.wait();
}

fn touch(file: PathBuf) {
    std::fs::write(file, "").expect("the test's directory is there");
}

fn concat(a: u8, b: String) -> String {
    format!("{a}{b}")
}

fn sum_of_2(a: u32, b: u32) -> u32 {
    a + b
}

fn sum_of_3(a: i32, b: i32, c: i32) -> i32 {
    a + b + c
}

#[expect(clippy::too_many_arguments, reason = "as many as a task can have")]
fn list_of_8(a: u8, b: u8, c: u8, d: u8, e: u8, f: u8, g: u8, h: u8) -> Vec<u8> {
    vec![a, b, c, d, e, f, g, h]
}

fn swap((a, b): (u8, String)) -> (String, u8) {
    (b, a)
}

#[inline(never)] // So that the backtrace contains it, even with optimization.
fn divide(a: u32, b: u32) -> u32 {
    assert!(b != 0, "{a} cannot be divided by {b}");
    a / b
}

fn one_over(x: u32) -> u32 {
    1 / x
}

fn odd_only(n: u32) -> u32 {
    assert!(n % 2 == 1, "{n} is even");
    n
}

fn fail() {
    panic!("as it should");
}

fn who() -> (u64, u64, bool, bool) {
    let me = worker::current().expect("inside a task");
    let (id, worker) = (me.task_id(), me.worker_id());
    (id, worker, me.is_cancelled(), me.deadline().is_some())
}

fn double_elsewhere(n: u64) -> u64 {
    let pool = ThreadPoolExecutor::with_workers(1).expect("a pool");
    let doubled = pool.submit(double, n).blocking_join().expect("it ran");
    pool.blocking_shutdown();
    doubled
}

/// The functions that a cluster knows.
#[cfg(all(feature = "cluster", target_os = "linux"))]
fn named_tasks() -> concurrent_futures::cluster::Functions {
    concurrent_futures::functions![
        nothing,
        double,
        wait_at,
        touch,
        concat,
        sum_of_2,
        sum_of_3,
        list_of_8,
        swap,
        divide,
        one_over,
        odd_only,
        fail,
        who,
        double_elsewhere,
        std::process::id,
    ]
}

/// An `Arc` of a thread pool still reaches the pool's own methods, which take closures that capture.
#[tokio::test]
async fn a_shared_thread_pool_takes_closures_that_capture() {
    let pool = Arc::new(ThreadPoolExecutor::with_workers(1).expect("threads"));
    let text = String::from("four");
    assert_eq!(
        within(pool.submit(move || text.len(), ()))
            .await
            .expect("it ran"),
        4
    );
}

#[tokio::test]
async fn the_last_clone_of_a_thread_pool_closes_it() {
    closed_by_the_last(ThreadPoolExecutor::with_workers(1).expect("threads")).await;
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn the_last_clone_of_a_process_pool_closes_it() {
    let pool = concurrent_futures::ProcessPoolExecutor::with_workers(1);
    closed_by_the_last(pool.expect("processes")).await;
}

async fn closed_by_the_last(pool: impl Executor + Clone + 'static) {
    let second = pool.clone();
    let mut doubles = second.map(double, [1, 2]).chunk_size(1).buffer_size(1); // It must notice the drop.
    assert_eq!(
        within(doubles.next()).await.expect("one").expect("it ran"),
        2
    );
    drop(pool);
    assert_eq!(
        within(second.submit(double, 2)).await.expect("it is open"),
        4
    );
    drop(second);
    let error = within(doubles.next())
        .await
        .expect("one")
        .expect_err("it is closed");
    assert!(error.is_shutdown(), "{error}");
}

/// A pool of one worker that has done quick tasks, so that more may be sent ahead, and that is now busy until the gate
/// is opened.
struct Busy {
    pool: Arc<dyn Executor>,
    gate: Gate,
    guest: common::Guest,
    handle: JoinHandle<()>,
}

impl Busy {
    async fn new(kind: Kind) -> Self {
        Self::keep(kind.pool(1)).await
    }

    async fn keep(pool: Arc<dyn Executor>) -> Self {
        for n in 0..5 {
            assert_eq!(within(pool.submit(double, n)).await.expect("it ran"), n * 2);
        }
        let gate = Gate::new();
        let handle = pool.submit(wait_at, gate.key());
        let guest = gate.guest().await;
        eventually(|| handle.is_running()).await; // News of a cluster come later.
        Self {
            pool,
            gate,
            guest,
            handle,
        }
    }

    /// Lets the worker continue, and returns the pool.
    async fn release(self) -> Arc<dyn Executor> {
        self.guest.let_in().await;
        within(self.handle).await.expect("it was let in");
        drop(self.gate);
        self.pool
    }
}

async fn a_function_of_any_arity_gives_its_result(kind: Kind) {
    let pool = kind.pool(2);
    within(pool.submit(nothing, ())).await.expect("none");
    assert_eq!(within(pool.submit(double, 21)).await.expect("one"), 42);
    let text = within(pool.submit(concat, (1, "b".to_owned()))).await;
    assert_eq!(text.expect("two"), "1b");
    let sum = within(pool.submit(sum_of_3, (1, 2, 3))).await;
    assert_eq!(sum.expect("three"), 6);
    let all = within(pool.submit(list_of_8, (1, 2, 3, 4, 5, 6, 7, 8))).await;
    assert_eq!(all.expect("eight"), [1, 2, 3, 4, 5, 6, 7, 8]);
}

async fn one_argument_may_itself_be_a_tuple(kind: Kind) {
    let pool = kind.pool(1);
    let swapped = within(pool.submit(swap, (1, "b".to_owned()))).await;
    assert_eq!(swapped.expect("a tuple"), ("b".to_owned(), 1));
}

async fn a_panic_fails_its_task_with_message_location_and_backtrace_and_the_worker_lives_on(
    kind: Kind,
) {
    let pool = kind.pool(1);
    let before = within(pool.submit(std::process::id, ())).await;
    let error = within(pool.submit(divide, (7, 0))).await.expect_err("0");
    assert!(error.is_panic() && error.was_started(), "{error}");
    assert_eq!(error.panic_message(), Some("7 cannot be divided by 0"));
    let location = error.panic_location().expect("a location");
    assert!(location.file().ends_with("conformance.rs"), "{location}");
    let refused = ["RUST_LIB_BACKTRACE", "RUST_BACKTRACE"].map(std::env::var_os);
    if refused
        .into_iter()
        .flatten()
        .next()
        .is_none_or(|setting| setting != "0")
    {
        let backtrace = error.panic_backtrace().expect("a backtrace");
        assert!(backtrace.contains("divide"), "{backtrace}");
    }
    assert!(error.to_string().contains("7 cannot be divided by 0"));
    let after = within(pool.submit(std::process::id, ())).await;
    assert_eq!(before.expect("a pid"), after.expect("a pid"));
    assert_eq!(pool.stats().restarts, Default::default());
}

async fn an_error_names_the_task(kind: Kind) {
    let pool = kind.pool(1);
    let error = within(pool.submit(fail, ())).await.expect_err("a panic");
    assert!(error.task_name().ends_with("fail"), "{error}");
    let named = TaskOptions::new().name("thumbnail");
    let error = within(pool.submit_with(&named, fail, ())).await;
    let error = error.expect_err("a panic");
    assert_eq!(error.task_name(), "thumbnail");
    assert!(error.to_string().contains("`thumbnail`"), "{error}");
}

async fn a_task_knows_who_it_is(kind: Kind) {
    let pool = kind.pool(2);
    let handle = pool.submit(who, ());
    let id = handle.id();
    let (task, worker, cancelled, deadline) = within(handle).await.expect("who");
    assert_eq!(task, id);
    assert!((1..=2).contains(&worker), "{worker}");
    assert!(!cancelled && !deadline);
    let limited = TaskOptions::new().timeout(Duration::from_secs(60));
    let (_, _, cancelled, deadline) = within(pool.submit_with(&limited, who, ()))
        .await
        .expect("who");
    assert!(!cancelled && deadline);
    assert!(worker::current().is_none());
}

async fn at_most_max_workers_tasks_run_at_once(kind: Kind) {
    let pool = kind.pool(2);
    assert_eq!(pool.max_workers(), 2);
    let gate = Gate::new();
    let handles = [(); 3].map(|()| pool.submit(wait_at, gate.key()));
    let first = gate.guest().await;
    let second = gate.guest().await;
    eventually(|| pool.stats().running == 2).await;
    let stats = pool.stats();
    assert_eq!((stats.running, stats.queued), (2, 1));
    assert_eq!(
        handles.iter().filter(|handle| handle.is_running()).count(),
        2
    );
    first.let_in().await;
    let third = gate.guest().await;
    second.let_in().await;
    third.let_in().await;
    for handle in handles {
        within(handle).await.expect("it was let in");
    }
}

async fn running_and_finished_differ(kind: Kind) {
    let busy = Busy::new(kind).await;
    let waiting = busy.pool.submit(nothing, ());
    assert!(busy.handle.is_running() && !busy.handle.is_finished());
    assert!(!waiting.is_running() && !waiting.is_finished());
    let abort = busy.handle.abort_handle();
    assert_eq!(abort.id(), busy.handle.id());
    assert!(abort.is_running() && !abort.is_finished());
    let _pool = busy.release().await;
    assert!(!abort.is_running() && abort.is_finished());
    eventually(|| waiting.is_finished()).await;
    assert!(!waiting.is_running());
    abort.abort(); // Too late, so it has no effect.
    within(waiting).await.expect("it ran");
}

async fn higher_priorities_start_first_and_equals_in_order(kind: Kind) {
    let busy = Busy::new(kind).await;
    let (started, mut order) = tokio::sync::mpsc::unbounded_channel();
    let handles: Vec<_> = [(0, 'd'), (5, 'a'), (0, 'e'), (-1, 'f'), (3, 'b'), (3, 'c')]
        .into_iter()
        .map(|(priority, letter)| {
            let options = TaskOptions::new().priority(priority);
            let handle = busy.pool.submit_with(&options, nothing, ());
            let started = started.clone();
            handle.on_done(move |_| started.send(letter).expect("the test listens"));
            handle
        })
        .collect();
    let _pool = busy.release().await;
    let mut seen = String::new();
    for _ in 0..handles.len() {
        seen.extend(within(order.recv()).await);
    }
    // A worker of a cluster takes a lane for empty while the server is slow. Each lane is in order.
    let lanes: &[&str] = match kind.asks_a_server() {
        true => &["abc", "de", "f"],
        false => &["abcdef"],
    };
    for lane in lanes {
        let of_lane = seen.chars().filter(|letter| lane.contains(*letter));
        assert_eq!(of_lane.collect::<String>(), *lane, "{seen}");
    }
    for handle in handles {
        within(handle).await.expect("it ran");
    }
}

async fn a_cancelled_task_that_has_not_started_never_runs(kind: Kind) {
    let directory = Folder::new();
    let file = directory.path().join("ran");
    let busy = Busy::new(kind).await;
    let cancelled: Vec<_> = (0..10)
        .map(|_| busy.pool.submit(touch, file.clone()))
        .collect();
    let last = busy.pool.submit(nothing, ());
    for handle in &cancelled {
        handle.abort();
    }
    for handle in cancelled {
        // The outcome is available before the worker is free.
        let error = within(handle).await.expect_err("it was cancelled");
        assert!(error.is_cancelled() && !error.was_started(), "{error}");
    }
    let pool = busy.release().await;
    within(last).await.expect("it runs after them");
    within(pool.shutdown()).await;
    assert!(!file.exists());
}

async fn cancelling_a_task_never_delays_another(kind: Kind) {
    let busy = Busy::new(kind).await;
    let first = busy.pool.submit(nothing, ());
    let second = busy.pool.submit(double, 2);
    first.abort();
    assert_eq!(busy.pool.stats().queued, 1);
    let _pool = busy.release().await;
    assert_eq!(within(second).await.expect("it ran"), 4);
    assert!(within(first).await.expect_err("cancelled").is_cancelled());
}

async fn a_cancel_that_races_completion_has_one_outcome_and_loses_no_place(kind: Kind) {
    let pool = kind.pool(2);
    for round in 0..60 {
        let handle = pool.submit(double, round);
        let abort = handle.abort_handle();
        let racer = tokio::spawn(async move {
            for _ in 0..round {
                tokio::task::yield_now().await;
            }
            abort.abort();
        });
        match within(handle).await {
            Ok(doubled) => assert_eq!(doubled, round * 2),
            Err(error) => assert!(error.is_cancelled(), "{error}"),
        }
        within(racer).await.expect("no panic");
    }
    let gate = Gate::new();
    let handles = [(); 2].map(|()| pool.submit(wait_at, gate.key()));
    let both = [gate.guest().await, gate.guest().await];
    for guest in both {
        guest.let_in().await;
    }
    for handle in handles {
        within(handle).await.expect("both places are there");
    }
    assert_eq!(pool.stats().restarts.crashed, 0);
}

async fn a_time_out_counts_from_the_start_of_the_run(kind: Kind) {
    let busy = Busy::new(kind).await;
    let short = TaskOptions::new().timeout(Duration::from_millis(500));
    let in_time = busy.pool.submit_with(&short, nothing, ());
    // When this one is refused, the timeout of the one before has passed.
    let clock = TaskOptions::new().queue_timeout(Duration::from_millis(600));
    let clock = busy.pool.submit_with(&clock, nothing, ());
    assert!(within(clock).await.expect_err("refused").is_rejected());
    let pool = busy.release().await;
    within(in_time)
        .await
        .expect("it waited long and ran shortly");

    let gate = Gate::new();
    let short = TaskOptions::new().timeout(Duration::from_millis(50));
    let late = pool.submit_with(&short, wait_at, gate.key());
    let error = within(late).await.expect_err("it never ends");
    assert!(error.is_timeout() && error.was_started(), "{error}");
    assert!(!error.is_worker_lost() && !error.is_cancelled());
    assert!(error.to_string().contains("50ms"), "{error}");
}

async fn a_task_that_waits_longer_than_its_queue_time_out_is_refused(kind: Kind) {
    let directory = Folder::new();
    let file = directory.path().join("ran");
    let busy = Busy::new(kind).await;
    let options = TaskOptions::new().queue_timeout(Duration::from_millis(20));
    let waiting = busy.pool.submit_with(&options, touch, file.clone());
    let error = within(waiting).await.expect_err("none is free");
    assert!(error.is_rejected() && !error.was_started(), "{error}");
    assert!(error.to_string().contains("20ms"), "{error}");
    assert_eq!(busy.pool.stats().queued, 0);
    let pool = busy.release().await;
    within(pool.submit(nothing, ())).await.expect("it is free");
    within(pool.shutdown()).await;
    assert!(!file.exists());
}

async fn a_dropped_handle_detaches_its_task(kind: Kind) {
    let busy = Busy::new(kind).await;
    let gate = Gate::new();
    drop(busy.pool.submit(wait_at, gate.key()));
    let _pool = busy.release().await;
    gate.guest().await.let_in().await;
}

async fn a_dropped_abort_on_drop_handle_cancels_its_task(kind: Kind) {
    let directory = Folder::new();
    let file = directory.path().join("ran");
    let busy = Busy::new(kind).await;
    let handle = busy.pool.submit(touch, file.clone()).abort_on_drop();
    let abort = handle.abort_handle();
    drop(handle);
    kind.settles(|| abort.is_finished()).await;
    let pool = busy.release().await;
    within(pool.submit(nothing, ())).await.expect("it is free");
    within(pool.shutdown()).await;
    assert!(!file.exists());
}

async fn a_finished_handle_that_is_not_polled_never_blocks_a_worker(kind: Kind) {
    let pool = kind.pool(1);
    let unpolled: Vec<_> = (0..1000).map(|n| pool.submit(double, n)).collect();
    assert_eq!(within(pool.submit(double, 2)).await.expect("it ran"), 4);
    // In a cluster the last one may run before some of them.
    kind.settles(|| unpolled.iter().all(JoinHandle::is_finished))
        .await;
}

async fn awaiting_a_handle_by_reference_is_cancel_safe(kind: Kind) {
    let busy = Busy::new(kind).await;
    let mut handle = busy.pool.submit(double, 4);
    for _ in 0..3 {
        let given_up = tokio::time::timeout(Duration::ZERO, &mut handle).await;
        assert!(given_up.is_err(), "its worker is busy");
    }
    let _pool = busy.release().await;
    assert_eq!(within(&mut handle).await.expect("it ran"), 8);
}

async fn a_callback_runs_once_also_when_it_comes_late(kind: Kind) {
    let busy = Busy::new(kind).await;
    let (told, mut calls) = tokio::sync::mpsc::unbounded_channel();
    let tell = |what: &'static str| {
        let told = told.clone();
        move |_: &Result<(), TaskError>| told.send(what).expect("the test listens")
    };
    busy.handle
        .on_done(|_| panic!("a callback's panic goes nowhere"));
    busy.handle.on_done(tell("early"));
    let waiting = busy.pool.submit(nothing, ());
    let _pool = busy.release().await;
    assert_eq!(within(calls.recv()).await, Some("early"));
    eventually(|| waiting.is_finished()).await;
    waiting.on_done(tell("late"));
    assert_eq!(calls.try_recv(), Ok("late"));
    drop((told, waiting));
    assert_eq!(within(calls.recv()).await, None);
}

async fn a_callback_sees_the_outcome_before_the_handle_yields_it(kind: Kind) {
    let busy = Busy::new(kind).await;
    let handle = busy.pool.submit(double, 3);
    let abort = handle.abort_handle();
    let (seen, mut calls) = tokio::sync::mpsc::unbounded_channel();
    for name in ["first", "second"] {
        let (seen, abort) = (seen.clone(), abort.clone());
        handle.on_done(move |outcome| {
            let value = outcome.as_ref().ok().copied();
            seen.send((name, value, abort.is_finished()))
                .expect("the test listens");
        });
    }
    let dropped = busy.pool.submit(double, 4);
    let seen_of_dropped = seen.clone();
    dropped.on_done(move |outcome| {
        let value = outcome.as_ref().ok().copied();
        seen_of_dropped
            .send(("dropped", value, false))
            .expect("the test listens");
    });
    drop(dropped);
    let pool = busy.release().await;
    assert_eq!(within(handle).await.expect("6"), 6);
    assert_eq!(calls.try_recv(), Ok(("first", Some(6), false)));
    assert_eq!(calls.try_recv(), Ok(("second", Some(6), false)));
    assert_eq!(
        within(calls.recv()).await,
        Some(("dropped", Some(8), false))
    );
    let mut failed = pool.submit(one_over, 0);
    failed.on_done({
        let seen = seen.clone();
        move |outcome| {
            let is_panic = outcome.as_ref().is_err_and(TaskError::is_panic);
            seen.send(("failed", Some(is_panic.into()), false))
                .expect("the test listens");
        }
    });
    assert!(within(&mut failed).await.is_err());
    assert_eq!(calls.try_recv(), Ok(("failed", Some(1), false)));
}

async fn a_full_queue_refuses_and_hands_the_arguments_back(kind: Kind) {
    let busy = Busy::keep(kind.bounded(1, 2)).await;
    let waiting = [1, 2].map(|n| busy.pool.submit(double, n));
    let refused = busy.pool.try_submit(double, 3).expect_err("it is full");
    assert!(refused.error().is_rejected(), "{refused}");
    assert!(refused.to_string().contains("(2 waiting)"), "{refused}");
    assert_eq!(refused.into_args(), 3);
    let refused = within(busy.pool.submit(double, 3)).await;
    assert!(refused.expect_err("it is full").is_rejected());
    waiting[0].abort();
    let instead = busy.pool.try_submit(double, 4).expect("room again");
    let _pool = busy.release().await;
    assert_eq!(within(instead).await.expect("it ran"), 8);
}

async fn room_is_waited_for_in_line(kind: Kind) {
    let busy = Busy::keep(kind.bounded(1, 1)).await;
    let permit = within(busy.pool.reserve()).await.expect("room");
    let mut next = std::pin::pin!(busy.pool.reserve());
    assert!(futures::poll!(&mut next).is_pending());
    let first = permit.submit(double, 1);
    assert!(futures::poll!(&mut next).is_pending());
    first.abort();
    let second = within(next).await.expect("room").submit(double, 2);
    busy.guest.let_in().await;
    assert_eq!(within(second).await.expect("it ran"), 4);
    drop(within(busy.pool.reserve()).await.expect("room"));
    let third = within(busy.pool.reserve()).await.expect("it is free");
    assert_eq!(within(third.submit(double, 3)).await.expect("it ran"), 6);
}

async fn map_gives_results_in_input_order(kind: Kind) {
    let pool = kind.pool(2);
    let doubled: Vec<u64> = within(pool.map(double, 0..100).map(Result::unwrap).collect()).await;
    assert_eq!(doubled, (0..100).map(double).collect::<Vec<_>>());
    let sums = pool.map(sum_of_2, (0..10).zip(10..20));
    let sums: Vec<u32> = within(sums.map(Result::unwrap).collect()).await;
    assert_eq!(sums, (10..30).step_by(2).collect::<Vec<_>>());
}

async fn a_failed_item_of_a_map_is_that_items_error(kind: Kind) {
    let pool = kind.pool(2);
    for chunk in [1, 3] {
        let results: Vec<_> = within(pool.map(odd_only, 0..10).chunk_size(chunk).collect()).await;
        assert_eq!(results.len(), 10);
        for (n, result) in (0..).zip(results) {
            match result {
                Ok(odd) => assert!(odd == n && n % 2 == 1),
                Err(error) => {
                    assert_eq!(error.panic_message(), Some(&*format!("{n} is even")));
                }
            }
        }
    }
}

async fn a_dropped_map_cancels_what_it_covers(kind: Kind) {
    let directory = Folder::new();
    let file = directory.path().join("ran");
    let busy = Busy::new(kind).await;
    let mut map = busy.pool.map(touch, std::iter::repeat(file.clone()));
    assert!(futures::poll!(map.next()).is_pending());
    drop(map);
    eventually(|| busy.pool.stats().queued == 0).await;
    within(kind.until_left(1)).await;
    let pool = busy.release().await;
    within(pool.submit(nothing, ())).await.expect("it is free");
    within(pool.shutdown()).await;
    assert!(!file.exists());
}

async fn shutdown_finishes_all_that_is_queued(kind: Kind) {
    let busy = Busy::new(kind).await;
    let waiting: Vec<_> = (0..10).map(|n| busy.pool.submit(double, n)).collect();
    let mut shutdown = std::pin::pin!(busy.pool.shutdown());
    assert!(futures::poll!(&mut shutdown).is_pending());
    busy.guest.let_in().await;
    let report = within(shutdown).await;
    assert_eq!(
        (report.finished, report.cancelled, report.killed),
        (11, 0, 0)
    );
    for (n, handle) in (0..).zip(waiting) {
        assert_eq!(within(handle).await.expect("it ran"), n * 2);
    }
    assert_eq!(busy.pool.stats().workers, 0);
}

async fn shutdown_with_cancel_pending_cancels_what_has_not_started(kind: Kind) {
    let busy = Busy::new(kind).await;
    let waiting: Vec<_> = (0..10).map(|n| busy.pool.submit(double, n)).collect();
    let how = Shutdown::new().cancel_pending(true);
    let mut shutdown = std::pin::pin!(busy.pool.shutdown_with(how));
    assert!(futures::poll!(&mut shutdown).is_pending());
    for handle in waiting {
        // They wake before the shutdown has completed.
        let error = within(handle).await.expect_err("it was cancelled");
        assert!(error.is_cancelled() && !error.was_started(), "{error}");
    }
    busy.guest.let_in().await;
    let report = within(shutdown).await;
    assert_eq!(
        (report.finished, report.cancelled, report.killed),
        (1, 10, 0)
    );
    within(busy.handle).await.expect("what runs is left to end");
}

async fn a_shutdown_returns_by_its_deadline_though_a_task_never_ends(kind: Kind) {
    let busy = Busy::new(kind).await;
    let waiting = busy.pool.submit(nothing, ());
    let how = Shutdown::new().deadline(Duration::from_millis(100));
    let report = within(busy.pool.shutdown_with(how)).await;
    assert_eq!(
        (report.finished, report.cancelled, report.killed),
        (0, 1, 1)
    );
    let error = within(waiting).await.expect_err("it never started");
    assert!(error.is_cancelled() && !error.was_started(), "{error}");
    if !matches!(kind, Kind::Threads) {
        let error = within(busy.handle).await.expect_err("it was killed");
        assert!(error.is_shutdown() && error.was_started(), "{error}");
        assert!(!error.is_worker_lost());
    }
}

async fn a_second_shutdown_returns_too(kind: Kind) {
    let busy = Busy::new(kind).await;
    let (first, second) = (busy.pool.handle(), busy.pool.handle());
    let first = tokio::spawn(async move { first.shutdown().await });
    let second = tokio::spawn(async move { second.shutdown().await });
    tokio::task::yield_now().await;
    busy.guest.let_in().await;
    within(first).await.expect("no panic");
    within(second).await.expect("no panic");
    let third = within(busy.pool.shutdown()).await;
    assert_eq!(third, ShutdownReport::default());
}

async fn shutdown_wakes_who_waits_for_room(kind: Kind) {
    let busy = Busy::keep(kind.bounded(1, 1)).await;
    let waiting = busy.pool.submit(nothing, ());
    let mut room = std::pin::pin!(busy.pool.reserve());
    assert!(futures::poll!(&mut room).is_pending());
    let mut shutdown = std::pin::pin!(busy.pool.shutdown());
    assert!(futures::poll!(&mut shutdown).is_pending());
    assert!(within(room).await.expect_err("no more").is_shutdown());
    busy.guest.let_in().await;
    within(shutdown).await;
    within(waiting).await.expect("it was queued before");
}

async fn submitting_after_shutdown_is_refused(kind: Kind) {
    let pool = kind.pool(1);
    assert_eq!(within(pool.submit(double, 1)).await.expect("it ran"), 2);
    within(pool.shutdown()).await;
    let error = within(pool.submit(double, 1)).await.expect_err("too late");
    assert!(error.is_shutdown() && !error.was_started(), "{error}");
    let refused = pool.try_submit(double, 5).expect_err("too late");
    assert!(refused.error().is_shutdown());
    assert_eq!(refused.into_args(), 5);
    assert!(
        within(pool.reserve())
            .await
            .expect_err("late")
            .is_shutdown()
    );
    let mut map = pool.map(double, 0..3);
    let first = within(map.next()).await.expect("an item");
    assert!(first.expect_err("too late").is_shutdown());
}

async fn a_dropped_pool_leaves_no_handle_unresolved(kind: Kind) {
    let busy = Busy::new(kind).await;
    let waiting: Vec<_> = (0..10).map(|n| busy.pool.submit(double, n)).collect();
    let left = busy.pool.handle();
    drop(busy.pool);
    let late = within(left.submit(double, 1)).await;
    assert!(late.expect_err("it was dropped").is_shutdown());
    drop(busy.guest); // Lets it continue, if it still exists.
    let _ = within(busy.handle).await;
    for (n, handle) in (0..).zip(waiting) {
        match within(handle).await {
            Ok(doubled) => assert_eq!(doubled, n * 2),
            Err(error) => assert!(error.is_shutdown() || error.is_cancelled(), "{error}"),
        }
    }
}

async fn references_and_trait_objects_are_executors(kind: Kind) {
    async fn twice(pool: impl Executor, n: u64) -> u64 {
        let mut doubles = pool.map(double, [n]);
        let first = within(doubles.next()).await.expect("one");
        assert_eq!(first.expect("it ran"), n * 2);
        within(pool.submit(double, n)).await.expect("it ran")
    }
    let pool = kind.pool(1);
    assert_eq!(twice(pool.clone(), 1).await, 2);
    assert_eq!(twice(&*pool, 2).await, 4);
    assert_eq!(twice(&&pool, 3).await, 6);
    let boxed: Box<dyn Executor> = Box::new(pool.clone());
    assert_eq!(boxed.max_workers(), 1);
    assert_eq!(boxed.stats().finished, pool.stats().finished);
    assert_eq!(twice(boxed, 4).await, 8);
    within(pool.shutdown_with(Shutdown::new())).await;
}

async fn stats_tell_what_is_going_on(kind: Kind) {
    let busy = Busy::new(kind).await;
    let waiting = busy.pool.submit(nothing, ());
    let stats = busy.pool.stats();
    assert_eq!((stats.running, stats.queued, stats.workers), (1, 1, 1));
    assert_eq!((stats.finished, stats.failed), (5, 0));
    let pool = busy.release().await;
    within(waiting).await.expect("it ran");
    let error = within(pool.submit(fail, ())).await;
    assert!(error.expect_err("a panic").is_panic());
    eventually(|| pool.stats().running == 0).await;
    let stats = pool.stats();
    assert_eq!((stats.queued, stats.finished, stats.failed), (0, 8, 1));
}

/// Runs `test` on a thread without a runtime.
async fn on_a_thread<T: Send + 'static>(test: impl FnOnce() -> T + Send + 'static) -> T {
    let (done, outcome) = tokio::sync::oneshot::channel();
    std::thread::spawn(|| drop(done.send(test())));
    within(outcome).await.expect("the test passes")
}

async fn a_thread_that_blocks_gets_what_async_code_gets(kind: Kind) {
    let gate = Gate::new();
    let (pool, key) = (kind.pool(2), gate.key());
    let (pool, waiting) = on_a_thread(move || {
        let doubled = pool.submit(double, 21).blocking_join();
        assert_eq!(doubled.expect("it ran"), 42);
        let error = pool.submit(fail, ()).blocking_join();
        assert!(error.expect_err("a panic").is_panic());

        let doubled = pool.map(double, 0..100).blocking_iter();
        let doubled: Vec<u64> = doubled.collect::<Result<_, _>>().expect("they ran");
        assert!(doubled.into_iter().eq((0..100).map(double)));
        let handles = (0..10).map(|n| pool.submit(double, n));
        let sum = as_completed(handles)
            .blocking_iter()
            .map(Result::unwrap)
            .sum::<u64>();
        assert_eq!(sum, 90);

        let mut waiting = pool.submit(wait_at, key);
        let early = waiting.blocking_join_timeout(Duration::from_millis(1));
        assert!(early.is_none());
        (pool, waiting)
    })
    .await;
    gate.guest().await.let_in().await;
    on_a_thread(move || {
        waiting.blocking_join().expect("it was let in");
        let report = pool.blocking_shutdown();
        assert_eq!(report, ShutdownReport::default());
        let late = pool.submit(double, 1).blocking_join();
        assert!(late.expect_err("too late").is_shutdown());
    })
    .await;
}

async fn a_task_may_block_on_another_pool(kind: Kind) {
    let pool = kind.pool(1);
    let doubled = within(pool.submit(double_elsewhere, 21)).await;
    assert_eq!(doubled.expect("it ran"), 42);
}

async fn a_blocking_call_in_async_code_panics(kind: Kind) {
    let pool = kind.pool(1);
    let panics = |call: &dyn Fn()| {
        let call = std::panic::AssertUnwindSafe(call);
        let panic = std::panic::catch_unwind(call).expect_err("it may not block here");
        let message = panic.downcast_ref::<String>().expect("a message");
        assert!(message.contains("Cannot block"), "{message}");
    };
    panics(&|| drop(pool.submit(double, 1).blocking_join()));
    panics(&|| drop(pool.submit(double, 1).blocking_join_timeout(Duration::ZERO)));
    panics(&|| drop(pool.map(double, 0..3).blocking_iter().next()));
    panics(&|| _ = pool.blocking_shutdown());
    let doubled = within(pool.submit(double, 1)).await;
    assert_eq!(doubled.expect("no call above closed the pool"), 2);
}
