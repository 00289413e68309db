//! The behaviour of a thread pool alone. The same file is built with worker processes and without any feature: code
//! that compiles without them must also compile with them, and do the same.

use std::collections::BTreeSet;
use std::future::Future;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, mpsc};
use std::time::Duration;

use concurrent_futures::{
    Executor, ExecutorExt as _, JoinHandle, Map, ReturnWhen, Shutdown, TaskError, TaskOptions,
    ThreadPermit, ThreadPoolExecutor, Waited, as_completed, wait, worker,
};
use futures::stream::{self, FusedStream as _};
use futures::{FutureExt as _, Stream, StreamExt as _, TryStreamExt as _, poll};

/// Neither `Clone` nor serializable.
#[derive(Debug, PartialEq, Eq)]
struct Opaque(u64);

/// How long a task may take to reach a point. After that, the test fails.
const TIME_LIMIT: Duration = Duration::from_secs(30);

async fn within<F: Future>(future: F) -> F::Output {
    let timely = tokio::time::timeout(TIME_LIMIT, future).await;
    timely.expect("it ends in time")
}

async fn all<T>(results: impl Stream<Item = Result<T, TaskError>>) -> Vec<T> {
    within(results.try_collect()).await.expect("none failed")
}

fn pool(workers: usize) -> ThreadPoolExecutor {
    ThreadPoolExecutor::with_workers(workers).expect("threads")
}

/// A door that tasks wait at until the test opens it.
#[derive(Clone, Default)]
struct Door(Arc<(Mutex<bool>, Condvar)>);

impl Door {
    fn open(&self) {
        *self.0.0.lock().expect("no panic") = true;
        self.0.1.notify_all();
    }

    fn pass(&self) {
        let is_open = self.0.0.lock().expect("no panic");
        let waited = self
            .0
            .1
            .wait_timeout_while(is_open, TIME_LIMIT, |open| !*open);
        assert!(!waited.expect("no panic").1.timed_out(), "it stays shut");
    }
}

#[tokio::test]
async fn a_map_shares_what_its_closure_captures() {
    let pool = pool(2);
    let table: Arc<[u64]> = Arc::new([10, 20, 30]);
    let (unit, calls) = (String::from("m"), Arc::new(AtomicUsize::new(0)));
    let seen = Mutex::new(BTreeSet::new()); // Neither `Clone` nor `Copy`.
    let counted = calls.clone();
    let describe = move |index: usize| {
        assert!(seen.lock().unwrap().insert(index), "one call an item");
        counted.fetch_add(1, Ordering::Relaxed);
        format!("{} {unit}", table[index])
    };
    let texts = all(pool.map(describe, 0..3)).await;
    assert_eq!(texts, ["10 m", "20 m", "30 m"]);
    assert_eq!(calls.load(Ordering::Relaxed), 3);
}

#[tokio::test]
async fn items_and_results_of_a_map_need_nothing_of_serde() {
    let pool = pool(2);
    let add = Opaque(1);
    let items = (0..100).map(Opaque);
    let sums = all(pool.map(move |item: Opaque| Opaque(item.0 + add.0), items)).await;
    assert!(sums.into_iter().eq((1..=100).map(Opaque)));
}

#[tokio::test]
async fn a_map_drops_its_captured_values_once_it_is_over() {
    let pool = pool(2);
    let captured = Arc::new(());
    let held = captured.clone();
    let shares = move |_: u8| Arc::strong_count(&held);
    let mut results = pool.map(shares, [1, 2, 3]);
    assert_eq!(
        Arc::strong_count(&captured),
        2,
        "one clone, however many items"
    );
    while let Some(result) = within(results.next()).await {
        result.expect("no panic");
    }
    drop(results);
    pool.shutdown().await;
    assert_eq!(Arc::strong_count(&captured), 1);
}

#[tokio::test]
async fn a_function_of_several_arguments_maps_over_tuples() {
    let pool = pool(2);
    assert_eq!(
        all(pool.map(u32::pow, (1..=3).zip([2, 2, 2]))).await,
        [1, 4, 9]
    );
    let offset = 100;
    let sum = move |a: u32, b: u32, c: u32| a + b + c + offset;
    assert_eq!(all(pool.map(sum, [(1, 2, 3), (4, 5, 6)])).await, [106, 115]);
    let name = String::from("unit");
    assert_eq!(all(pool.map(move || name.len(), [(), ()])).await, [4, 4]);
    let swap = |pair: (u8, u8)| (pair.1, pair.0); // One argument, which is a tuple.
    assert_eq!(all(pool.map(swap, [(1, 2)])).await, [(2, 1)]);
}

#[tokio::test]
async fn a_map_may_be_over_a_stream() {
    let pool = pool(2);
    let factor = Mutex::new(3);
    let times = move |n: u64| n * *factor.lock().unwrap();
    let source = stream::iter(1..=4).then(|n| async move {
        tokio::task::yield_now().await;
        n
    });
    assert_eq!(all(pool.map_stream(times, source)).await, [3, 6, 9, 12]);
}

#[tokio::test]
async fn results_of_a_capturing_map_are_the_same_for_every_chunk_size() {
    let pool = pool(2);
    for chunk in [1, 2, 7, 100, 1000] {
        let base = String::from("7");
        let add = move |n: u64| n + base.parse::<u64>().unwrap();
        let sums = all(pool.map(add, 0..100).chunk_size(chunk)).await;
        assert!(
            sums.into_iter().eq(7..107),
            "in order, by chunks of {chunk}"
        );
    }
}

#[tokio::test]
async fn a_capturing_map_pulls_lazily_and_no_more_than_its_buffer() {
    let pool = pool(2);
    let pulled = Arc::new(AtomicUsize::new(0));
    let counter = pulled.clone();
    let source = (0_u64..).inspect(move |_| {
        counter.fetch_add(1, Ordering::SeqCst);
    });
    let offset = Opaque(5);
    let mut results = pool.map(move |n: u64| n + offset.0, source).buffer_size(8);
    assert_eq!(
        pulled.load(Ordering::SeqCst),
        0,
        "nothing before the first poll"
    );
    for taken in 1..=100 {
        assert_eq!(within(results.next()).await.unwrap().unwrap(), taken + 4);
        assert!(pulled.load(Ordering::SeqCst) <= taken as usize + 8);
    }
}

#[tokio::test]
async fn one_items_panic_is_that_items_error_and_the_closure_lives_on() {
    let pool = pool(2);
    let twelve = Opaque(12);
    let mut results = pool.map(move |n: u64| twelve.0 / n, [3, 0, 4]);
    assert_eq!(within(results.next()).await.unwrap().unwrap(), 4);
    assert!(
        within(results.next())
            .await
            .unwrap()
            .unwrap_err()
            .is_panic()
    );
    assert_eq!(within(results.next()).await.unwrap().unwrap(), 3);
    assert!(within(results.next()).await.is_none());
    assert!(results.is_terminated());
}

#[tokio::test]
async fn a_slow_item_holds_up_no_other_item_of_a_capturing_chunk() {
    let pool = pool(2);
    let door = Door::default();
    let inner = door.clone();
    let slow_first = move |n: u64| {
        if n == 0 {
            inner.pass();
        }
        n
    };
    let mut results = pool.map(slow_first, 0..20).chunk_size(20).unordered();
    let mut others = BTreeSet::new();
    while others.len() < 19 {
        others.insert(within(results.next()).await.unwrap().unwrap());
    }
    assert!(others.into_iter().eq(1..20));
    door.open();
    assert_eq!(within(results.next()).await.unwrap().unwrap(), 0);
}

#[tokio::test]
async fn a_dropped_map_runs_none_of_its_waiting_items() {
    let pool = pool(1);
    let door = Door::default();
    let (begun, told) = mpsc::channel();
    let (inner, ran) = (door.clone(), Arc::new(AtomicUsize::new(0)));
    let counter = ran.clone();
    let begun = Mutex::new(begun);
    let task = move |_: u64| {
        counter.fetch_add(1, Ordering::SeqCst);
        begun.lock().unwrap().send(()).unwrap();
        inner.pass();
    };
    let mut results = pool.map(task, 0..10).chunk_size(1);
    assert!(poll!(results.next()).is_pending());
    told.recv_timeout(TIME_LIMIT).expect("the first has begun");
    drop(results);
    door.open();
    within(pool.shutdown()).await;
    assert_eq!(ran.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn the_time_of_a_capturing_map_ends_it() {
    let pool = pool(2);
    let one = Opaque(1);
    let results = pool.map(move |n: u64| n + one.0, 0..);
    let results: Vec<_> = within(results.timeout(Duration::from_millis(20)).collect()).await;
    let (last, before) = results.split_last().expect("an error");
    let error = last.as_ref().unwrap_err();
    assert!(error.is_timeout());
    assert!(
        error
            .to_string()
            .contains("the stream of results did not end"),
        "{error}"
    );
    assert!(before.iter().all(Result::is_ok));
}

#[tokio::test]
async fn sizes_of_zero_are_refused() {
    let pool = pool(1);
    let one = Opaque(1);
    let add = move |n: u64| n + one.0;
    let mut results = pool.map(add, [1]).chunk_size(0);
    let refusal = within(results.next()).await.unwrap().unwrap_err();
    assert!(refusal.is_rejected() && refusal.to_string().contains("chunk_size"));
    let mut results = pool.map(|n: u64| n, [1]).buffer_size(0);
    assert!(
        within(results.next())
            .await
            .unwrap()
            .unwrap_err()
            .is_rejected()
    );
    assert!(within(results.next()).await.is_none());
}

#[tokio::test]
async fn a_map_of_a_dropped_pool_is_one_error() {
    let pool = pool(1);
    let one = Opaque(1);
    let mut results: Map<u64> = pool.map(move |n: u64| n + one.0, 0..);
    drop(pool);
    assert!(
        within(results.next())
            .await
            .unwrap()
            .unwrap_err()
            .is_shutdown()
    );
    assert!(within(results.next()).await.is_none());
}

#[tokio::test]
async fn options_of_a_map_reach_its_items() {
    let pool = pool(1);
    let zero = Opaque(0);
    let named = TaskOptions::new().name("divide");
    let mut results = pool.map(move |n: u64| n / zero.0, [1]).options(named);
    let error = within(results.next()).await.unwrap().unwrap_err();
    assert_eq!(error.task_name(), "divide");
    let mut results = pool.map(|_: ()| worker::current().expect("a task").worker_id(), [()]);
    assert_eq!(within(results.next()).await.unwrap().unwrap(), 1);
}

#[tokio::test]
async fn a_permit_takes_a_closure_that_is_called_once() {
    let builder = ThreadPoolExecutor::builder().max_workers(1);
    let pool = builder.queue_capacity(1).build().expect("a pool");
    let permit: ThreadPermit<'_> = pool.reserve().await.expect("there is room");
    let refused = pool.try_submit(|text: String| text, String::from("back"));
    assert_eq!(
        refused.unwrap_err().into_args(),
        "back",
        "the permit has the room"
    );
    let text = String::from("moved");
    let handle = permit.submit(move || text, ());
    assert_eq!(within(handle).await.unwrap(), "moved");
    let dropped = pool.reserve().await.expect("there is room again");
    drop(dropped);
    let again = within(pool.reserve())
        .await
        .expect("a dropped permit gives it back");
    let options = TaskOptions::new().name("named");
    let opaque = Opaque(4);
    let handle = again.submit_with(&options, move || -> Opaque { panic!("{opaque:?}") }, ());
    let error = within(handle).await.unwrap_err();
    assert_eq!(
        (error.task_name(), error.panic_message()),
        ("named", Some("Opaque(4)"))
    );
}

#[tokio::test]
async fn a_reservation_waits_for_room_and_hears_of_a_shutdown() {
    let builder = ThreadPoolExecutor::builder().max_workers(1);
    let pool = builder.queue_capacity(1).build().expect("a pool");
    let permit = pool.reserve().await.expect("there is room");
    let mut second = Box::pin(pool.reserve());
    assert!(poll!(&mut second).is_pending());
    drop(permit);
    let permit = within(second).await.expect("its turn");
    let mut third = Box::pin(pool.reserve());
    assert!(poll!(&mut third).is_pending());
    within(pool.shutdown()).await;
    assert!(within(third).await.unwrap_err().is_shutdown());
    assert!(
        within(permit.submit(|| (), ()))
            .await
            .unwrap_err()
            .is_shutdown()
    );
}

#[tokio::test]
async fn handles_of_capturing_closures_are_waited_for_together() {
    let pool = pool(2);
    let door = Door::default();
    let inner = door.clone();
    let text = String::from("four");
    let mut quick: JoinHandle<usize> = pool.submit(move || text.len(), ());
    let mut slow = pool.submit(
        move || {
            inner.pass();
            2
        },
        (),
    );
    let first = wait([&mut quick, &mut slow], ReturnWhen::FirstCompleted);
    let Waited { done, pending, .. } = within(first).await;
    assert_eq!(*done[0].as_ref().unwrap(), 4);
    assert_eq!(pending.len(), 1);
    drop(pending);
    let waited = wait([&mut slow], ReturnWhen::AllCompleted).timeout(Duration::from_millis(5));
    assert!(within(waited).await.done.is_empty());
    door.open();
    let sum = as_completed([slow, pool.submit(|n: usize| n + 1, 2)]);
    assert_eq!(all(sum).await.into_iter().sum::<usize>(), 5);
}

#[tokio::test]
async fn an_aborted_waiting_task_never_runs_and_a_running_one_sees_its_cancellation() {
    let pool = pool(1);
    let (begun, told) = mpsc::channel();
    let running = pool.submit(
        move || {
            begun.send(()).unwrap();
            let task = worker::current().expect("a task");
            while !task.is_cancelled() {
                std::thread::yield_now();
            }
        },
        (),
    );
    told.recv_timeout(TIME_LIMIT).expect("it has begun");
    let ran = Arc::new(AtomicBool::new(false));
    let flag = ran.clone();
    let waiting = pool.submit(move || flag.store(true, Ordering::SeqCst), ());
    waiting.abort();
    assert!(
        waiting
            .now_or_never()
            .expect("at once")
            .unwrap_err()
            .is_cancelled()
    );
    running.abort_handle().abort();
    let error = within(running).await.unwrap_err();
    assert!(error.is_cancelled() && error.was_started());
    within(pool.shutdown()).await;
    assert!(!ran.load(Ordering::SeqCst));
}

#[tokio::test]
async fn a_pool_is_an_executor_that_configuration_can_choose() {
    let concrete = pool(3);
    let text = String::from("one");
    assert_eq!(
        within(concrete.submit(move || text.len(), ()))
            .await
            .unwrap(),
        3
    );
    let pool: Arc<dyn Executor> = Arc::new(concrete);
    assert_eq!(pool.max_workers(), 3);
    assert!(pool.room().await.is_ok());
    let stats = pool.stats();
    assert_eq!((stats.queued, stats.failed), (0, 0));
    let report = within(pool.shutdown_with(Shutdown::new().cancel_pending(true))).await;
    assert_eq!((report.cancelled, report.killed), (0, 0));
    assert_eq!(pool.stats().finished, 1);
    assert!(pool.try_room().unwrap_err().is_shutdown());
    within(pool.shutdown()).await;
}

/// Only compiled: forms of calls that must mean the same with worker processes and without.
#[test]
fn every_form_of_a_call_compiles_with_worker_processes_and_without() {
    fn generic<F, R>(pool: &ThreadPoolExecutor, function: F) -> Map<R>
    where
        F: Fn(u64) -> R + Send + Sync + 'static,
        R: Send + 'static,
    {
        pool.map(function, 0..3)
    }

    fn once<F, R>(pool: &ThreadPoolExecutor, function: F) -> JoinHandle<R>
    where
        F: FnOnce() -> R + Send + 'static,
        R: Send + 'static,
    {
        pool.submit(function, ())
    }

    fn boxed(pool: &ThreadPoolExecutor) -> Map<u64> {
        let function: Box<dyn Fn(u64) -> u64 + Send + Sync> = Box::new(|n| n + 1);
        pool.map(function, vec![1, 2, 3])
    }

    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(async {
        let pool = Arc::new(pool(2));
        assert_eq!(all(generic(&pool, |n| Opaque(n * 2))).await.len(), 3);
        assert_eq!(all(boxed(&pool)).await, [2, 3, 4]);
        let text = String::from("text");
        assert_eq!(within(once(&pool, move || text)).await.unwrap(), "text");
        assert_eq!(all(pool.map(u64::isqrt, [4, 9])).await, [2, 3]);
        assert_eq!(all(pool.map(str::len, ["one", "three"])).await, [3, 5]);
        assert_eq!(all(pool.map(<[u8]>::len, [&b"one"[..]])).await, [3]);
        assert_eq!(all(pool.map(|n: u32| 12 / n, [3, 4])).await, [4, 3]);
        assert_eq!(all(pool.map(Opaque, [1])).await, [Opaque(1)]);
        assert_eq!(within(pool.submit(|n| 12 / n, 3)).await.unwrap(), 4);
        assert_eq!(within(pool.submit(u64::pow, (2, 8))).await.unwrap(), 256);
        let handles = [1_u32, 2, 4].map(|n| pool.submit(|n| 12 / n, n));
        assert_eq!(all(as_completed(handles)).await.iter().sum::<u32>(), 21);
    });
}

#[test]
fn tasks_of_a_scope_borrow_and_the_scope_waits_for_them() {
    let pool = pool(2);
    let words = ["one".to_owned(), "three".to_owned()];
    let (mut lengths, total) = ([0; 2], AtomicUsize::new(0));
    let sum = pool.scope(|scope| {
        for (word, length) in words.iter().zip(&mut lengths) {
            let _detached = scope.submit(|| *length = word.len(), ());
        }
        let add = || total.fetch_add(words[0].len(), Ordering::Relaxed);
        let _nested = scope.submit(move || drop(scope.submit(add, ())), ());
        scope
            .submit(|word: &String| word.len(), &words[1])
            .blocking_join()
    });
    assert_eq!(sum.expect("it ran"), 5);
    assert_eq!((lengths, total.into_inner()), ([3, 5], 3));
}

#[test]
fn a_scope_waits_for_a_task_that_was_aborted_while_it_ran() {
    let (pool, has_returned) = (pool(1), AtomicBool::new(false));
    let (begun, has_begun) = mpsc::channel();
    let (release, gate) = mpsc::channel::<()>();
    let returned = &has_returned;
    pool.scope(|scope| {
        let task = scope.submit(
            move || {
                begun.send(()).expect("the test waits");
                let _ = gate.recv();
                returned.store(true, Ordering::Relaxed);
            },
            (),
        );
        has_begun.recv().expect("it begins");
        task.abort();
        assert!(task.blocking_join().expect_err("aborted").is_cancelled());
        assert!(!has_returned.load(Ordering::Relaxed));
        drop(release);
    });
    assert!(has_returned.into_inner());
}

#[test]
fn no_task_uses_its_borrows_after_its_scope_even_if_it_never_ran() {
    struct Count<'a>(&'a AtomicUsize);

    impl Drop for Count<'_> {
        fn drop(&mut self) {
            std::thread::yield_now();
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    let (pool, dropped) = (pool(1), AtomicUsize::new(0));
    pool.scope(|scope| {
        let count = Count(&dropped);
        let fail = move |_: Count<'_>| {
            let _count = count;
            panic!("as it should");
        };
        let fails = scope.submit(fail, Count(&dropped));
        assert!(fails.blocking_join().expect_err("a panic").is_panic());
        assert_eq!(dropped.load(Ordering::Relaxed), 2);
        let value = scope.submit(|| Count(&dropped), ());
        drop(value);
    });
    assert_eq!(dropped.load(Ordering::Relaxed), 3);
    let counts = dropped.load(Ordering::Relaxed);
    pool.blocking_shutdown();
    for round in 1..100 {
        pool.scope(|scope| {
            let count = Count(&dropped);
            let refused = scope.submit(move || drop(count), ());
            let error = refused.blocking_join().expect_err("it is shut down");
            assert!(
                error.is_shutdown() && error.to_string().contains("scope"),
                "{error}"
            );
        });
        assert_eq!(dropped.load(Ordering::Relaxed), counts + round);
    }
}

#[test]
fn a_scope_whose_body_panics_waits_first() {
    let (pool, has_returned) = (pool(1), AtomicBool::new(false));
    let panics = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        pool.scope(|scope| {
            let _task = scope.submit(|| has_returned.store(true, Ordering::Relaxed), ());
            panic!("as it should");
        })
    }));
    assert!(panics.is_err() && has_returned.into_inner());
}

#[tokio::test]
#[should_panic(expected = "Cannot block the current thread from within a runtime")]
async fn a_scope_in_async_code_panics() {
    pool(1).scope(|_| unreachable!("it may not block here"));
}
