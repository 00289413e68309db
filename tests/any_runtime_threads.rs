//! One thread pool, used from any number of runtimes, or from none. A task does not depend on any runtime, not even on
//! its submitter's.

use std::future::Future;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, LazyLock, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use concurrent_futures::{
    Executor as _, ExecutorExt as _, JoinHandle, ReturnWhen, Shutdown, TaskOptions,
    ThreadPoolExecutor, as_completed, wait,
};
use futures::executor::block_on;
use futures::{FutureExt as _, StreamExt as _, TryStreamExt as _};
use tokio::runtime::{Builder, Handle, Runtime};

/// The longest wait. After that, the test fails.
const TIME_LIMIT: Duration = Duration::from_secs(60);

/// More than any test takes.
const HOUR: Duration = Duration::from_secs(3600);

/// Long enough for an alarm, short enough for a test.
const MOMENT: Duration = Duration::from_millis(50);

/// Runs `test` on a thread, and fails if it hangs. A runtime that hangs is left behind.
fn in_time<T: Send + 'static>(test: impl FnOnce() -> T + Send + 'static) -> T {
    let (done, is_done) = mpsc::channel();
    let running = thread::spawn(move || {
        let outcome = test();
        let _ = done.send(());
        outcome
    });
    match is_done.recv_timeout(TIME_LIMIT) {
        Err(mpsc::RecvTimeoutError::Timeout) => panic!("it hangs"),
        _ => running.join().expect("the test passes"),
    }
}

fn multi_thread() -> Runtime {
    let mut builder = Builder::new_multi_thread();
    let runtime = builder.worker_threads(1).enable_all().build();
    runtime.expect("a runtime")
}

fn current_thread() -> Runtime {
    let mut builder = Builder::new_current_thread();
    builder.enable_all().build().expect("a runtime")
}

/// A runtime of either flavour.
fn runtime(number: usize) -> Runtime {
    match number % 2 {
        0 => multi_thread(),
        _ => current_thread(),
    }
}

fn pool(workers: usize) -> Arc<ThreadPoolExecutor> {
    Arc::new(ThreadPoolExecutor::with_workers(workers).expect("a pool"))
}

/// A task that reports that it has started, and ends when the sender is dropped.
struct Held {
    handle: JoinHandle<()>,
    release: Sender<()>,
}

/// Occupies a worker. Returns once the task runs.
fn occupy(pool: &ThreadPoolExecutor) -> Held {
    let (held, begun) = submit_held(pool);
    begun.recv_timeout(TIME_LIMIT).expect("it runs");
    held
}

fn submit_held(pool: &ThreadPoolExecutor) -> (Held, Receiver<()>) {
    let (begun, has_begun) = mpsc::channel();
    let (release, gate) = mpsc::channel::<()>();
    let task = move || {
        let _ = begun.send(());
        let _ = gate.recv();
    };
    let handle = pool.submit(task, ());
    (Held { handle, release }, has_begun)
}

/// Fails if the future is not ready within the patience, by the real clock, in any context.
fn wait_for<F: Future + Send + 'static>(future: F) -> F::Output
where
    F::Output: Send + 'static,
{
    in_time(move || block_on(future))
}

#[test]
fn a_static_pool_serves_runtimes_that_come_and_go() {
    static POOL: LazyLock<ThreadPoolExecutor> =
        LazyLock::new(|| ThreadPoolExecutor::with_workers(4).expect("a pool"));
    static RAN: AtomicUsize = AtomicUsize::new(0);

    fn in_one_runtime(number: usize) {
        let double = |n: usize| {
            RAN.fetch_add(1, Ordering::Relaxed);
            2 * n
        };
        let left = runtime(number).block_on(async {
            let mut handles: Vec<_> = (0..10).map(|n| POOL.submit(double, n)).collect();
            let left = handles.split_off(5);
            for (n, handle) in handles.into_iter().enumerate() {
                assert_eq!(handle.await.expect("no runtime ends it"), 2 * n);
            }
            left
        });
        // The runtime has ended, but its tasks have not.
        for (n, handle) in (5..).zip(left) {
            assert_eq!(block_on(handle).expect("no runtime ends it"), 2 * n);
        }
    }

    in_time(|| {
        let threads: Vec<_> = (0..4)
            .map(|part| thread::spawn(move || (0..10).for_each(|n| in_one_runtime(part + n))))
            .collect();
        for thread in threads {
            thread.join().expect("each task has its result");
        }
    });
    assert_eq!(RAN.load(Ordering::Relaxed), 400);
}

#[test]
fn a_blocked_runtime_delays_no_task_of_another() {
    for number in 0..2 {
        in_time(move || {
            let pool = pool(2);
            let blocked = pool.clone();
            let (unblock, is_blocked) = mpsc::channel::<()>();
            let (ready, is_ready) = mpsc::channel();
            let first = thread::spawn(move || {
                runtime(number).block_on(async move {
                    assert_eq!(blocked.submit(|| 1, ()).await.expect("it runs"), 1);
                    let options = TaskOptions::new().queue_timeout(HOUR);
                    let other = blocked.submit_with(&options, || 2, ());
                    let _ = ready.send(());
                    let _ = is_blocked.recv(); // Blocks this runtime, timers and all.
                    other.await.expect("it ran meanwhile")
                })
            });
            is_ready.recv_timeout(TIME_LIMIT).expect("it is blocked");
            current_thread().block_on(async {
                for n in 0..100 {
                    assert_eq!(pool.submit(|n| n, n).await.expect("it runs"), n);
                }
                // Its alarms fire, too.
                let held = [occupy(&pool), occupy(&pool)];
                let options = TaskOptions::new().queue_timeout(MOMENT);
                let expired = pool.submit_with(&options, || (), ()).await;
                assert!(expired.expect_err("it waited too long").is_rejected());
                let how = Shutdown::new().deadline(MOMENT);
                assert_eq!(pool.shutdown_with(how).await.killed, 2);
                drop(held.map(|held| held.release));
            });
            drop(unblock);
            assert_eq!(first.join().expect("the first runtime goes on"), 2);
        });
    }
}

/// Without a runtime, the alarms of both pools are on the crate's one thread.
#[test]
fn a_callback_that_blocks_delays_no_other_pool() {
    let (unblock, gate) = mpsc::channel::<()>();
    let (blocks, is_blocked) = mpsc::channel();
    let limit = TaskOptions::new().timeout(MOMENT);
    let first = pool(1);
    let held = submit_late(&first, &limit);
    held.handle.on_done(move |_| {
        let _ = blocks.send(());
        let _ = gate.recv();
    });
    is_blocked.recv_timeout(TIME_LIMIT).expect("it timed out");
    let second = pool(1);
    let other = submit_late(&second, &limit);
    let late = wait_for(other.handle).expect_err("it timed out, too");
    assert!(late.is_timeout());
    drop((unblock, held.release, other.release));
}

/// A task that ends when the sender is dropped.
fn submit_late(pool: &ThreadPoolExecutor, limit: &TaskOptions) -> Held {
    let (release, gate) = mpsc::channel::<()>();
    let task = move || {
        let _ = gate.recv();
    };
    let handle = pool.submit_with(limit, task, ());
    Held { handle, release }
}

#[test]
fn an_idle_runtime_delays_no_task_of_another() {
    in_time(|| {
        let pool = pool(2);
        let idle = current_thread();
        let (held, begun) = idle.block_on(async { submit_held(&pool) });
        begun.recv_timeout(TIME_LIMIT).expect("it runs");
        // The first runtime is not polled from here on.
        let second = current_thread();
        second.block_on(async {
            let held = occupy(&pool);
            let options = TaskOptions::new().queue_timeout(MOMENT);
            let expired = pool.submit_with(&options, || (), ()).await;
            assert!(expired.expect_err("it waited too long").is_rejected());
            let late = TaskOptions::new().timeout(MOMENT);
            drop(held.release);
            let (release, gate) = mpsc::channel::<()>();
            let overran = pool
                .submit_with(&late, move || gate.recv().is_err(), ())
                .await;
            assert!(overran.expect_err("it ran too long").is_timeout());
            drop(release);
            assert_eq!(pool.submit(|| 7, ()).await.expect("it runs"), 7);
        });
        drop(held.release);
        idle.block_on(held.handle).expect("it ran");
    });
}

#[test]
fn the_end_of_a_runtime_ends_no_task_that_another_submitted_or_awaits() {
    for number in 0..2 {
        in_time(move || {
            let pool = pool(1);
            let first = runtime(number);
            let running = first.block_on(async { occupy(&pool) });
            let of_first: Vec<_> =
                first.block_on(async { (0..10).map(|n| pool.submit(|n| n, n)).collect() });
            let second = current_thread();
            let of_second: Vec<_> =
                second.block_on(async { (0..10).map(|n| pool.submit(|n| n, n)).collect() });
            // The end of the runtime waits for the one task that runs on its threads, and for no other.
            let Held { handle, release } = running;
            let end = thread::spawn(move || drop(first));
            drop(release);
            wait_for(handle).expect("it ran");
            for (n, handle) in of_first.into_iter().enumerate() {
                assert_eq!(block_on(handle).expect("its submitter awaits it"), n);
            }
            for (n, handle) in of_second.into_iter().enumerate() {
                assert_eq!(second.block_on(handle).expect("another runtime ended"), n);
            }
            end.join().expect("the runtime ends");
        });
    }
}

#[test]
fn a_runtime_that_ends_waits_for_no_task_that_is_still_queued() {
    for number in 0..2 {
        in_time(move || {
            let pool = pool(1);
            let only = runtime(number);
            let (running, queued) = only.block_on(async {
                let running = occupy(&pool);
                let (queued, begun) = submit_held(&pool);
                (running, (queued, begun))
            });
            drop(running.release); // Its seat is about to take the next task.
            let (next, begun) = queued;
            let (ended, has_ended) = mpsc::channel();
            thread::spawn(move || {
                drop(only);
                let _ = ended.send(());
            });
            begun.recv_timeout(TIME_LIMIT).expect("it runs somewhere");
            // It may run on a thread of that runtime, which then waits only for this task.
            let (last, has_begun) = submit_held(&pool);
            drop(next.release);
            wait_for(next.handle).expect("it ran");
            has_begun.recv_timeout(TIME_LIMIT).expect("it runs");
            has_ended
                .recv_timeout(TIME_LIMIT)
                .expect("the runtime has ended while a task runs");
            drop(last.release);
            wait_for(last.handle).expect("it ran");
        });
    }
}

#[test]
fn a_thread_pool_works_without_any_runtime() {
    in_time(|| {
        let pool = pool(2);
        assert_eq!(block_on(pool.submit(|| 7, ())).expect("it runs"), 7);
        let numbers: Vec<usize> =
            block_on(pool.map(|n: usize| n + 1, 0..1000).try_collect()).expect("none failed");
        assert!(numbers.into_iter().eq(1..=1000));
        let permit = block_on(pool.reserve()).expect("room");
        assert_eq!(block_on(permit.submit(|| 8, ())).expect("it runs"), 8);

        let held = [occupy(&pool), occupy(&pool)];
        let options = TaskOptions::new().queue_timeout(MOMENT);
        let expired = block_on(pool.submit_with(&options, || (), ()));
        assert!(expired.expect_err("it waited too long").is_rejected());
        let [one, other] = held;
        let waited = wait([one.handle, other.handle], ReturnWhen::AllCompleted).timeout(MOMENT);
        let waited = block_on(waited);
        assert_eq!((waited.done.len(), waited.pending.len()), (0, 2));
        let mut outcomes = as_completed(waited.pending).timeout(MOMENT);
        let late = block_on(outcomes.next()).expect("an error");
        assert!(late.expect_err("none is done").is_timeout());
        let mut late = pool.map(|n: u32| n, [1]).timeout(MOMENT);
        let late = block_on(late.next()).expect("an error");
        assert!(late.expect_err("all workers are taken").is_timeout());
        drop((one.release, other.release));

        let limit = TaskOptions::new().timeout(MOMENT);
        let (release, gate) = mpsc::channel::<()>();
        let overran = pool.submit_with(&limit, move || gate.recv().is_err(), ());
        assert!(
            block_on(overran)
                .expect_err("it is over its time")
                .is_timeout()
        );
        let held = occupy(&pool);
        let report = block_on(pool.shutdown_with(Shutdown::new().deadline(MOMENT)));
        assert_eq!(report.killed, 2);
        drop((release, held.release));
        block_on(pool.shutdown());
        assert!(block_on(pool.submit(|| (), ())).is_err_and(|error| error.is_shutdown()));
    });
}

/// The slow item occupies the pool's only thread.
async fn take_what_is_before_a_slow_item(ordered: bool) {
    let pool = pool(1);
    let (release, gate) = mpsc::channel::<()>();
    let gate = Mutex::new(gate);
    let slow_fourth = move |n: usize| {
        if n == 3 {
            let _ = gate.lock().expect("no panic").recv();
        }
        n
    };
    let map = pool.map(slow_fourth, 0..8).chunk_size(8);
    let mut map = match ordered {
        true => map,
        false => map.unordered(),
    };
    for n in 0..3 {
        let outcome = map.next().await.expect("eight items");
        assert_eq!(outcome.expect("it runs"), n);
    }
    assert!(map.next().now_or_never().is_none());
    drop(release);
    let rest: Vec<usize> = map.try_collect().await.expect("they run");
    assert_eq!(rest, [3, 4, 5, 6, 7]);
}

#[test]
fn outcomes_before_a_slow_item_of_a_chunk_arrive_while_it_runs() {
    for ordered in [true, false] {
        in_time(move || {
            for number in 0..2 {
                runtime(number).block_on(take_what_is_before_a_slow_item(ordered));
            }
            block_on(take_what_is_before_a_slow_item(ordered));
            let bare = Builder::new_current_thread().build().expect("a runtime");
            bare.block_on(take_what_is_before_a_slow_item(ordered));
            let mut paused = Builder::new_current_thread();
            let paused = paused.enable_all().start_paused(true).build();
            let paused = paused.expect("a runtime");
            paused.block_on(take_what_is_before_a_slow_item(ordered));
        });
    }
}

#[test]
fn outcomes_before_a_slow_item_arrive_although_the_runtime_that_waited_is_idle() {
    in_time(|| {
        let (first, second) = (current_thread(), current_thread());
        let mut task = Box::pin(take_what_is_before_a_slow_item(true));
        // It first waits here. This runtime is not polled again.
        let pending = first.block_on(async { (&mut task).now_or_never() });
        assert!(pending.is_none());
        second.block_on(task);
    });
}

/// The handle of a runtime that has ended still drives a future, without timers.
#[test]
fn a_map_is_awaited_by_the_handle_of_a_runtime_that_has_ended() {
    for (number, has_waited_before) in [(0, false), (0, true), (1, false), (1, true)] {
        in_time(move || {
            let (first, pool) = (runtime(number), pool(1));
            let handle = first.handle().clone();
            let (releases, gate) = mpsc::channel::<()>();
            let gate = Arc::new(Mutex::new(gate));
            let wait = move |n: usize| {
                let _ = gate.lock().expect("no panic").recv();
                n
            };
            let mut map = pool.map(wait, 0..20).chunk_size(10);
            if has_waited_before {
                // The timer of this wait is one of the first runtime.
                let outcome = first.block_on(async {
                    assert!(map.next().now_or_never().is_none());
                    let _ = releases.send(());
                    map.next().await
                });
                assert_eq!(outcome.expect("an item").expect("it runs"), 0);
            }
            first.shutdown_background();
            let rest = handle.block_on(async {
                assert!(map.next().now_or_never().is_none());
                drop(releases);
                map.try_collect::<Vec<_>>().await
            });
            let first_left = usize::from(has_waited_before);
            let rest = rest.expect("no runtime ends it");
            assert_eq!(rest, (first_left..20).collect::<Vec<_>>());
        });
    }
}

#[test]
fn a_paused_clock_changes_no_limit_of_a_task() {
    in_time(|| {
        let pool = pool(1);
        let mut builder = Builder::new_current_thread();
        let paused = builder.enable_all().start_paused(true).build();
        paused.expect("a runtime").block_on(async {
            let limits = TaskOptions::new().timeout(HOUR).queue_timeout(HOUR);
            let began = Instant::now();
            assert_eq!(
                pool.submit_with(&limits, || 7, ()).await.expect("it runs"),
                7
            );
            let held = occupy(&pool);
            let waits = pool.submit_with(&limits, || 8, ());
            tokio::time::advance(2 * HOUR).await;
            drop(held.release);
            assert_eq!(waits.await.expect("an hour has not passed"), 8);
            let held = occupy(&pool);
            let options = TaskOptions::new().queue_timeout(MOMENT);
            let expired = pool.submit_with(&options, || (), ()).await;
            assert!(expired.expect_err("a moment has passed").is_rejected());
            let how = Shutdown::new().deadline(MOMENT);
            assert_eq!(pool.shutdown_with(how).await.killed, 1);
            assert!(began.elapsed() >= 2 * MOMENT);
            drop(held.release);
        });
    });
}

#[test]
fn a_paused_clock_stands_still_while_a_task_runs() {
    in_time(|| {
        let pool = pool(1);
        let mut builder = Builder::new_current_thread();
        let paused = builder.enable_all().start_paused(true).build();
        paused.expect("a runtime").block_on(async {
            let (release, gate) = mpsc::channel::<()>();
            let releases = thread::spawn(move || {
                thread::park_timeout(MOMENT);
                drop(release);
            });
            // If it were idle, tokio would let its clock jump to the end of the hour.
            let task = pool.submit(move || gate.recv().is_err(), ());
            let outcome = tokio::time::timeout(HOUR, task).await;
            assert!(outcome.expect("no hour has passed").expect("it runs"));
            releases.join().expect("no panic");
        });
    });
}

#[test]
fn a_runtime_without_timers_or_a_free_thread_delays_no_limit() {
    in_time(|| {
        let bare = Builder::new_current_thread().build().expect("a runtime");
        bare.block_on(async {
            let pool = pool(1);
            let held = occupy(&pool);
            let options = TaskOptions::new().queue_timeout(MOMENT);
            let expired = pool.submit_with(&options, || (), ()).await;
            assert!(expired.expect_err("it waited too long").is_rejected());
            let waited = wait([held.handle], ReturnWhen::AllCompleted).timeout(MOMENT);
            assert_eq!(waited.await.pending.len(), 1);
            assert_eq!(
                pool.shutdown_with(Shutdown::new().deadline(MOMENT))
                    .await
                    .killed,
                1
            );
            drop(held.release);
        });
    });
    in_time(|| {
        let mut builder = Builder::new_multi_thread();
        builder
            .worker_threads(1)
            .max_blocking_threads(1)
            .enable_all();
        let runtime = builder.build().expect("a runtime");
        let (release, gate) = mpsc::channel::<()>();
        let (begun, has_begun) = mpsc::channel();
        let takes_the_thread = runtime.spawn_blocking(move || {
            let _ = begun.send(());
            gate.recv().is_err()
        });
        has_begun.recv_timeout(TIME_LIMIT).expect("it runs");
        let pool = pool(1);
        runtime.block_on(async {
            let options = TaskOptions::new().queue_timeout(MOMENT);
            let expired = pool.submit_with(&options, || (), ()).await;
            assert!(expired.expect_err("it waited too long").is_rejected());
        });
        let inside = runtime.enter();
        let waits = pool.submit(|| 7, ());
        drop(inside);
        assert!(!waits.is_running());
        // A second runtime waits for no thread of the first.
        let of_second = current_thread().block_on(async { pool.submit(|| 8, ()).await });
        assert_eq!(of_second.expect("it runs"), 8);
        assert_eq!(block_on(waits).expect("it runs elsewhere"), 7);
        drop(release);
        runtime.block_on(takes_the_thread).expect("no panic");
    });
}

#[test]
fn a_task_finds_the_runtime_that_it_was_submitted_from() {
    fn id() -> Option<tokio::runtime::Id> {
        Handle::try_current().map(|runtime| runtime.id()).ok()
    }
    in_time(|| {
        let pool = pool(2);
        let first = multi_thread();
        let second = current_thread();
        for _ in 0..2 {
            for runtime in [&first, &second] {
                runtime.block_on(async {
                    assert_eq!(pool.submit(id, ()).await.expect("it runs"), id());
                    let of_items = pool.map(|_: u32| id(), 0..32).chunk_size(8);
                    let of_items: Vec<_> = of_items.try_collect().await.expect("they run");
                    assert_eq!(of_items, [id(); 32]);
                });
            }
            // Without a runtime, it uses the first runtime that used the pool.
            let found = block_on(pool.submit(id, ())).expect("it runs");
            assert_eq!(found, Some(first.handle().id()));
        }
        let pool = first.block_on(async { self::pool(1) });
        let found = block_on(pool.submit(id, ())).expect("it runs");
        assert_eq!(found, Some(first.handle().id()), "it was built there");
        let pool = self::pool(1);
        assert_eq!(block_on(pool.submit(id, ())).expect("it runs"), None);
    });
}

#[test]
fn while_one_runtime_uses_a_pool_its_tasks_run_on_its_threads() {
    in_time(|| {
        let mut builder = Builder::new_multi_thread();
        builder.worker_threads(1).thread_name("mine").enable_all();
        let runtime = builder.build().expect("a runtime");
        let pool = pool(2);
        let name = || thread::current().name().map(str::to_owned);
        runtime.block_on(async {
            for _ in 0..10 {
                let ran_on = pool.submit(name, ()).await.expect("it runs");
                assert_eq!(ran_on.as_deref(), Some("mine"));
            }
        });
        let ran_on = block_on(pool.submit(name, ())).expect("it runs");
        assert_eq!(ran_on.as_deref(), Some("cf-thread"));
    });
}

#[test]
fn runtimes_that_end_at_any_moment_lose_no_task() {
    in_time(|| {
        for round in 0..60 {
            let pool = pool(2);
            let first = runtime(round);
            let handles: Vec<_> = first.block_on(async {
                let handles: Vec<_> = (0..20).map(|n| pool.submit(|n| n, n)).collect();
                for _ in 0..round % 7 {
                    tokio::task::yield_now().await;
                }
                handles
            });
            let other = pool.clone();
            let second = thread::spawn(move || {
                let handles: Vec<_> = current_thread()
                    .block_on(async { (0..20).map(|n| other.submit(|n| n, n)).collect() });
                handles
            });
            match round % 3 {
                0 => drop(first),
                1 => first.shutdown_background(),
                _ => first.shutdown_timeout(Duration::ZERO),
            }
            let of_second: Vec<JoinHandle<u64>> = second.join().expect("no panic");
            for handles in [handles, of_second] {
                for (n, handle) in handles.into_iter().enumerate() {
                    assert_eq!(block_on(handle).expect("no runtime ends it"), n as u64);
                }
            }
            block_on(pool.shutdown());
            assert_eq!(pool.stats().finished, 40);
            assert!(pool.submit(|| (), ()).now_or_never().is_some());
        }
    });
}

#[test]
fn a_runtime_that_ends_before_a_task_gets_one_of_its_threads_loses_no_task() {
    for number in 0..2 {
        in_time(move || {
            let mut builder = match number {
                0 => Builder::new_multi_thread(),
                _ => Builder::new_current_thread(),
            };
            builder
                .worker_threads(1)
                .max_blocking_threads(1)
                .enable_all();
            let first = builder.build().expect("a runtime");
            let (begun, has_begun) = mpsc::channel();
            let (release, gate) = mpsc::channel::<()>();
            first.spawn_blocking(move || {
                let _ = begun.send(());
                gate.recv().is_err()
            });
            has_begun.recv_timeout(TIME_LIMIT).expect("it runs");
            let pool = pool(2);
            let limits = TaskOptions::new().queue_timeout(HOUR);
            let inside = first.enter();
            let of_first = pool.submit_with(&limits, || 1, ());
            drop(inside);
            first.shutdown_background();
            assert_eq!(block_on(of_first).expect("its submitter awaits it"), 1);
            drop(release);
            block_on(pool.shutdown());
        });
    }
}

#[test]
fn a_blocked_runtime_lets_no_task_run_after_its_queue_timeout() {
    in_time(|| {
        let pool = pool(1);
        current_thread().block_on(async {
            let held = occupy(&pool);
            let options = TaskOptions::new().queue_timeout(MOMENT);
            let late = pool.submit_with(&options, || (), ());
            let began = Instant::now();
            // This runtime drives the alarm, but is too busy to do so.
            while began.elapsed() < 2 * MOMENT {
                thread::yield_now();
            }
            drop(held.release);
            while !late.is_finished() {
                thread::yield_now();
            }
            assert!(late.await.expect_err("it waited too long").is_rejected());
        });
    });
}
