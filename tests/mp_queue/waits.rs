//! Waits for room and for items, and operations that do not wait.

use std::fs;
use std::time::{Duration, Instant};

use concurrent_futures::ExecutorExt as _;
use concurrent_futures::multiprocessing::Queue;
use futures::FutureExt as _;
use futures::future::join_all;
use rustix::process::Signal;

use super::alone::alone;
use super::common::{eventually, in_thread, within};
use super::{TIME_LIMIT, pool, signal};

const SOON: Duration = Duration::from_millis(5);

#[tokio::test]
async fn a_put_into_a_full_queue_waits_for_room() {
    let queue = Queue::bounded(2).expect("a queue");
    assert_eq!(queue.capacity(), Some(2));
    queue.put(1).await.expect("there is room");
    queue.put(2).await.expect("there is room");
    let mut third = Box::pin(queue.put(3));
    assert!(third.as_mut().now_or_never().is_none());
    assert_eq!(queue.get().await.expect("it is there"), 1);
    within(third).await.expect("there is room");
    assert_eq!(queue.len(), 2);
}

#[tokio::test]
async fn waits_across_processes_end_with_what_they_wait_for() {
    fn pass_on(from: Queue<u32>, to: Queue<u32>) {
        for _ in 0..300 {
            let item = from.blocking_get_timeout(TIME_LIMIT).expect("it comes");
            to.blocking_put_timeout(item, TIME_LIMIT)
                .expect("there comes room");
        }
    }
    let pool = pool(2);
    let queues: Vec<Queue<u32>> = (0..3)
        .map(|_| Queue::bounded(1).expect("a queue"))
        .collect();
    let tasks = [0, 1].map(|at| pool.submit(pass_on, (queues[at].clone(), queues[at + 1].clone())));
    let first = queues[0].clone();
    let put = tokio::spawn(async move {
        for number in 0..300 {
            first.put(number).await.expect("there comes room");
        }
    });
    for number in 0..300 {
        assert_eq!(within(queues[2].get()).await.expect("it comes"), number);
    }
    within(put).await.expect("it ends");
    for task in tasks {
        within(task).await.expect("it ends");
    }
    within(pool.shutdown()).await;
}

#[test]
fn items_that_were_not_put_are_returned() {
    let queue = Queue::bounded(1).expect("a queue");
    queue.try_put("one".to_owned()).expect("there is room");
    let error = queue.try_put("two".to_owned()).expect_err("it is full");
    assert!(error.error().is_full());
    assert_eq!(error.into_inner(), "two");
    let late = queue.blocking_put_timeout("three".to_owned(), SOON);
    let error = late.expect_err("it is full");
    assert!(error.error().is_timed_out());
    assert_eq!(error.into_inner(), "three");
    assert_eq!(queue.try_get().expect("it is there"), "one");
    assert!(queue.is_empty());
}

#[test]
fn a_wait_is_over_when_its_time_is() {
    let queue = Queue::<u8>::unbounded().expect("a queue");
    let start = Instant::now();
    let error = queue.blocking_get_timeout(SOON).expect_err("it is empty");
    assert!(error.is_timed_out() && start.elapsed() >= SOON);
    let error = queue
        .blocking_get_timeout(Duration::ZERO)
        .expect_err("it is empty");
    assert!(error.is_timed_out());
    queue.try_put(5).expect("there is room");
    let item = queue.blocking_get_timeout(Duration::ZERO);
    assert_eq!(item.expect("it is there at once"), 5);
    queue.try_put(6).expect("there is room");
    assert_eq!(
        queue
            .blocking_get_timeout(Duration::MAX)
            .expect("it is there"),
        6
    );
}

#[tokio::test]
async fn a_get_that_is_dropped_has_taken_nothing_and_a_put_has_put_nothing_in() {
    let queue = Queue::bounded(1).expect("a queue");
    for _ in 0..3 {
        let mut get = Box::pin(queue.get());
        assert!(get.as_mut().now_or_never().is_none());
        queue.put(1).await.expect("there is room");
        drop(get);
        let mut put = Box::pin(queue.put(2));
        assert!(put.as_mut().now_or_never().is_none());
        assert_eq!(queue.get().await.expect("it is there"), 1);
        drop(put);
        assert!(queue.is_empty());
    }
}

/// Tasks and threads of one process wait for the same queue.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everybody_who_waits_gets_one() {
    const WAITING: u64 = 20;
    let queue = Queue::unbounded().expect("a queue");
    let tasks = (0..WAITING).map(|_| {
        let queue = queue.clone();
        tokio::spawn(async move { queue.get().await.expect("it comes") })
    });
    let threads = (0..WAITING).map(|_| {
        let queue = queue.clone();
        tokio::spawn(in_thread(move || {
            queue.blocking_get_timeout(TIME_LIMIT).expect("it comes")
        }))
    });
    let all: Vec<_> = tasks.chain(threads).collect();
    for number in 0..2 * WAITING {
        queue.put(number).await.expect("there is room");
    }
    let mut got: Vec<u64> = within(join_all(all))
        .await
        .into_iter()
        .map(|got| got.expect("it ends"))
        .collect();
    got.sort_unstable();
    assert!(got.into_iter().eq(0..2 * WAITING));
}

/// How many writing system calls this process has made. A ring is one of these.
fn writes() -> u64 {
    let io = fs::read_to_string("/proc/self/io").expect("/proc");
    let mut lines = io.lines().filter_map(|line| line.strip_prefix("syscw: "));
    let count = lines.next().expect("the system counts");
    count.parse().expect("a number")
}

#[test]
fn no_wake_up_without_a_waiter_and_one_for_a_sleeper() {
    let test = "waits::no_wake_up_without_a_waiter_and_one_for_a_sleeper";
    alone(test, async || {
        /// Sleeps until there is an item, then takes `count` of them.
        fn get(queue: Queue<u64>, count: u64) -> u64 {
            (0..count)
                .map(|_| queue.blocking_get().expect("it comes"))
                .sum()
        }
        fn is_asleep(pid: u32) -> bool {
            let stat = fs::read_to_string(format!("/proc/{pid}/stat")).expect("it is there");
            stat.contains(") S ")
        }
        let pool = pool(1);
        let queue = Queue::unbounded().expect("a queue");
        for _ in 0..2 {
            let before = writes();
            for number in 0..1000 {
                queue.try_put(number).expect("there is room");
                queue.try_get().expect("it is there");
            }
            (0..1000).for_each(|number| queue.try_put(number).expect("there is room"));
            (0..1000).for_each(|number| assert_eq!(queue.try_get().expect("it is there"), number));
            assert_eq!(writes() - before, 0, "none waits");
        }
        let task = pool.submit(get, (queue.clone(), 1000));
        eventually(|| task.is_running()).await;
        let pid = pool.workers()[0].pid();
        eventually(|| is_asleep(pid)).await;
        signal(pid, Signal::STOP); // Otherwise it would take the items, and sleep again.
        let before = writes();
        (0..1000).for_each(|number| queue.try_put(number).expect("there is room"));
        assert_eq!(writes() - before, 1, "one sleeper is woken");
        signal(pid, Signal::CONT);
        assert_eq!(within(task).await.expect("it ends"), 999 * 1000 / 2);
        within(pool.shutdown()).await;
    });
}
