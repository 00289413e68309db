//! The end of a queue: no more items can be put, and waiters see the end.

use std::time::Duration;

use concurrent_futures::ExecutorExt as _;
use concurrent_futures::multiprocessing::{Getter, JoinableQueue, Putter, Queue};
use futures::FutureExt as _;
use futures::future::join_all;
use rustix::process::Signal;

use super::alone::{alone, descriptors};
use super::common::{Gate, Key, eventually, in_thread, within};
use super::{TIME_LIMIT, pool, signal};

#[tokio::test]
async fn a_closed_queue_refuses_puts_and_gives_the_rest_and_then_its_end() {
    let queue = Queue::unbounded().expect("a queue");
    for number in 0..3 {
        queue.put(number).await.expect("it is open");
    }
    assert!(!queue.is_closed());
    queue.close().await;
    queue.close().await;
    assert!(queue.is_closed());
    for error in [
        queue.put(7).await.expect_err("it is closed"),
        queue.try_put(7).expect_err("it is closed"),
    ] {
        assert!(error.error().is_closed(), "{error}");
        assert_eq!(error.into_inner(), 7);
    }
    for number in 0..3 {
        assert_eq!(queue.get().await.expect("it was put before"), number);
    }
    for error in [
        queue.get().await.expect_err("that was the rest"),
        queue.try_get().expect_err("that was the rest"),
    ] {
        assert!(error.is_closed() && !error.is_empty());
        assert_eq!(
            error.to_string(),
            "the queue is closed and empty; no item will follow"
        );
    }
}

#[tokio::test]
async fn a_queue_that_is_closed_now_drops_the_rest() {
    let queue = Queue::unbounded().expect("a queue");
    let object = Queue::<u8>::unbounded().expect("a queue");
    // Small and large items, and items with objects.
    for number in 0..20_usize {
        let objects = vec![object.clone(); number % 2];
        let item = ("x".repeat(200_000 * number), objects);
        queue.put(item).await.expect("it is open");
    }
    assert_eq!(queue.close_now().await, 20);
    assert!(queue.is_empty() && queue.is_closed());
    assert!(queue.get().await.expect_err("it has ended").is_closed());
    assert_eq!(queue.close_now().await, 0);

    let queue = Queue::bounded(2).expect("a queue");
    queue.try_put(1).expect("there is room");
    queue.close().await;
    assert_eq!(queue.close_now().await, 1, "also after a close");
}

/// Tasks and threads of several processes.
#[tokio::test]
async fn a_close_wakes_all_who_wait_and_they_see_it() {
    fn get(empty: Queue<u64>, key: Key) -> bool {
        key.wait();
        empty.blocking_get().is_err_and(|error| error.is_closed())
    }
    fn put(full: Queue<u64>, key: Key) -> bool {
        key.wait();
        let error = full.blocking_put(7).expect_err("it is closed");
        error.error().is_closed() && error.into_inner() == 7
    }
    let (pool, gate) = (pool(2), Gate::new());
    let empty = Queue::<u64>::unbounded().expect("a queue");
    let full = Queue::bounded(1).expect("a queue");
    full.try_put(0).expect("there is room");
    let getters = pool.submit(get, (empty.clone(), gate.key()));
    let putters = pool.submit(put, (full.clone(), gate.key()));
    for _ in 0..2 {
        gate.guest().await.let_in().await;
    }
    let mut gets: Vec<_> = (0..5).map(|_| Box::pin(empty.get())).collect();
    let mut puts: Vec<_> = (0..5).map(|number| Box::pin(full.put(number))).collect();
    assert!(gets.iter_mut().all(|get| get.now_or_never().is_none()));
    assert!(puts.iter_mut().all(|put| put.now_or_never().is_none()));
    let (getting, putting) = (empty.clone(), full.clone());
    let getting = tokio::spawn(in_thread(move || getting.blocking_get_timeout(TIME_LIMIT)));
    let putting = tokio::spawn(in_thread(move || {
        putting.blocking_put_timeout(9, TIME_LIMIT)
    }));
    empty.close().await;
    full.close().await;
    for got in within(join_all(gets)).await {
        assert!(got.expect_err("it is closed").is_closed());
    }
    for (number, put) in within(join_all(puts)).await.into_iter().enumerate() {
        let error = put.expect_err("it is closed");
        assert!(error.error().is_closed() && error.into_inner() == number as u64);
    }
    let got = within(getting).await.expect("it ends");
    assert!(got.expect_err("it is closed").is_closed());
    let put = within(putting).await.expect("it ends");
    assert!(put.expect_err("it is closed").error().is_closed());
    assert!(within(getters).await.expect("it ends"));
    assert!(within(putters).await.expect("it ends"));
    assert_eq!(full.get().await.expect("it is the rest"), 0);
    within(pool.shutdown()).await;
}

#[tokio::test]
async fn any_process_closes_a_queue() {
    fn close(queue: Queue<u64>) {
        queue.blocking_close();
    }
    let (pool, queue) = (pool(1), Queue::unbounded().expect("a queue"));
    queue.put(1).await.expect("it is open");
    within(pool.submit(close, queue.clone()))
        .await
        .expect("it ends");
    assert!(
        queue
            .put(2)
            .await
            .expect_err("it is closed")
            .error()
            .is_closed()
    );
    assert_eq!(queue.get().await.expect("it is the rest"), 1);
    assert!(queue.get().await.expect_err("it has ended").is_closed());
    within(pool.shutdown()).await;
}

#[tokio::test]
async fn a_join_waits_for_the_rest_of_a_closed_queue_and_not_for_what_was_dropped() {
    let queue = JoinableQueue::unbounded().expect("a queue");
    for number in 0..4 {
        queue.put(number).await.expect("it is open");
    }
    queue.get().await.expect("it is there");
    queue.close().await;
    let mut join = Box::pin(queue.join());
    assert!(join.as_mut().now_or_never().is_none());
    assert_eq!(queue.close_now().await, 3);
    assert_eq!(queue.unfinished(), 1);
    assert!(
        join.as_mut().now_or_never().is_none(),
        "one is in our hands"
    );
    queue.task_done().await.expect("one was taken");
    assert_eq!(within(join).await, 0);
}

#[tokio::test]
async fn a_queue_ends_when_its_last_putter_is_dropped() {
    let (putter, getter) = Queue::unbounded().expect("a queue").split();
    let other = putter.clone();
    putter.put(1).await.expect("it is open");
    drop(putter);
    assert!(!getter.is_closed());
    assert_eq!(getter.get().await.expect("it was put"), 1);
    assert!(getter.try_get().expect_err("there is none").is_empty());
    let mut gets: Vec<_> = (0..3).map(|_| Box::pin(getter.get())).collect();
    assert!(gets.iter_mut().all(|get| get.now_or_never().is_none()));
    let thread = getter.clone();
    let thread = tokio::spawn(in_thread(move || thread.blocking_get()));
    other.put(2).await.expect("it is open");
    other.put(3).await.expect("it is open");
    drop(other);
    assert!(getter.is_closed());
    let mut got = within(join_all(gets)).await;
    got.push(within(thread).await.expect("it ends"));
    let (got, ended): (Vec<_>, Vec<_>) = got.into_iter().partition(Result::is_ok);
    assert_eq!((got.len(), ended.len()), (2, 2));
    for got in ended {
        assert!(got.expect_err("it has ended").is_closed());
    }
}

/// A queue that was not split counts as a putter.
#[tokio::test]
async fn a_clone_of_the_queue_counts_as_a_putter() {
    let queue = Queue::<u8>::bounded(3).expect("a queue");
    let (putter, getter) = queue.clone().split();
    drop(putter);
    assert!(getter.try_get().expect_err("there is none").is_empty());
    queue.try_put(1).expect("there is room");
    drop(queue);
    assert_eq!(getter.get().await.expect("it was put"), 1);
    assert!(getter.try_get().expect_err("it has ended").is_closed());
    assert_eq!((getter.len(), getter.capacity()), (0, Some(3)));
}

fn hold(key: Key, putter: Putter<u64>) {
    putter.blocking_put(7).expect("it is open");
    key.wait();
}

#[tokio::test]
async fn a_putter_of_a_killed_process_does_not_count() {
    let (pool, gate) = (pool(2), Gate::new());
    let (putter, getter) = Queue::unbounded().expect("a queue").split();
    let tasks = [(); 2].map(|()| pool.submit(hold, (gate.key(), putter.clone())));
    drop(putter);
    let guests = [gate.guest().await, gate.guest().await];
    for _ in 0..2 {
        assert_eq!(within(getter.get()).await.expect("it was put"), 7);
    }
    let mut get = Box::pin(getter.get());
    assert!(get.as_mut().now_or_never().is_none());
    let thread = getter.clone();
    let thread = tokio::spawn(in_thread(move || thread.blocking_get()));
    let [first, second] = guests;
    signal(first.pid(), Signal::KILL);
    let late = getter.clone();
    let late = in_thread(move || late.blocking_get_timeout(Duration::from_millis(3)));
    let error = within(late).await.expect_err("one putter is left");
    assert!(error.is_timed_out(), "{error}");
    signal(second.pid(), Signal::KILL);
    assert!(within(get).await.expect_err("it has ended").is_closed());
    let got = within(thread).await.expect("it ends");
    assert!(got.expect_err("it has ended").is_closed());
    for outcome in within(join_all(tasks)).await {
        assert!(outcome.expect_err("it was killed").is_worker_lost());
    }
    within(pool.shutdown()).await;
}

/// The putter is in no process, but in a queue that has one.
#[tokio::test]
async fn a_putter_in_transit_counts_until_what_carries_it_is_dropped() {
    let (putter, getter) = Queue::<u64>::unbounded().expect("a queue").split();
    let carrier = Queue::unbounded().expect("a queue");
    carrier.put(putter).await.expect("it is open");
    let mut get = Box::pin(getter.get());
    assert!(get.as_mut().now_or_never().is_none());
    let putter = carrier.get().await.expect("it is there");
    putter.put(3).await.expect("it is open");
    assert_eq!(within(get).await.expect("it was put"), 3);
    carrier.put(putter).await.expect("it is open");
    let mut get = Box::pin(getter.get());
    assert!(get.as_mut().now_or_never().is_none());
    drop(carrier);
    assert!(within(get).await.expect_err("it has ended").is_closed());
}

#[tokio::test]
async fn getters_in_other_processes_see_the_end_too() {
    fn sum(getter: Getter<u64>) -> u64 {
        std::iter::from_fn(|| getter.blocking_get().ok()).sum()
    }
    let pool = pool(2);
    let (putter, getter) = Queue::bounded(4).expect("a queue").split();
    let sums = [(); 2].map(|()| pool.submit(sum, getter.clone()));
    for number in 0..1000 {
        within(putter.put(number)).await.expect("it is open");
    }
    drop(putter);
    let sums = within(join_all(sums)).await;
    let sum: u64 = sums.into_iter().map(|sum| sum.expect("it ends")).sum();
    assert_eq!(sum, 999 * 500);
    within(pool.shutdown()).await;
}

#[tokio::test]
async fn a_getter_closes_the_queue_for_its_putters() {
    let (putter, getter) = Queue::bounded(1).expect("a queue").split();
    putter.put(1).await.expect("there is room");
    let mut put = Box::pin(putter.put(2));
    assert!(put.as_mut().now_or_never().is_none());
    assert_eq!(getter.close_now().await, 1);
    let error = within(put).await.expect_err("it is closed");
    assert!(error.error().is_closed() && error.into_inner() == 2);
    assert!(putter.is_closed() && getter.is_closed());
}

#[test]
fn halves_leave_no_descriptor() {
    alone("ends::halves_leave_no_descriptor", async || {
        let before = descriptors().len();
        for _ in 0..3 {
            let (putter, getter) = Queue::unbounded().expect("a queue").split();
            let waits = getter.clone();
            let waits = tokio::spawn(async move { waits.get().await });
            for size in [10, 100_000, 3 << 20] {
                putter.put(vec![1_u8; size]).await.expect("it is open");
            }
            drop(putter);
            let first = within(waits).await.expect("it ends");
            first.expect("it was put");
            while getter.get().await.is_ok() {}
            drop(getter);
        }
        eventually(|| descriptors().len() <= before).await;
    });
}
