//! Queues whose items are marked as done.

use std::time::Duration;

use concurrent_futures::ExecutorExt as _;
use concurrent_futures::multiprocessing::{JoinableQueue, Queue, Receipt};
use futures::FutureExt as _;
use rustix::process::Signal;

use super::common::{Gate, Key, in_thread, within};
use super::{TIME_LIMIT, pool, signal};

#[tokio::test]
async fn a_join_waits_until_all_items_are_done() {
    let queue = JoinableQueue::unbounded().expect("a queue");
    assert_eq!(queue.join().await, 0);
    queue.put(1).await.expect("there is room");
    queue.put(2).await.expect("there is room");
    let mut join = Box::pin(queue.join());
    for left in [2, 1] {
        assert_eq!(queue.unfinished(), left);
        assert!(join.as_mut().now_or_never().is_none());
        queue.get().await.expect("it is there");
        assert!(join.as_mut().now_or_never().is_none());
        queue.task_done().await.expect("one was taken");
    }
    assert_eq!(within(join).await, 0);
    assert_eq!((queue.unfinished(), queue.len()), (0, 0));
}

#[test]
fn a_thread_waits_until_all_items_are_done_or_gives_up() {
    let queue = JoinableQueue::unbounded().expect("a queue");
    let late = queue.blocking_join_timeout(Duration::ZERO);
    assert_eq!(late.expect("all is done"), 0);
    queue.blocking_put(3).expect("there is room");
    let late = queue.blocking_join_timeout(Duration::from_millis(3));
    assert!(late.expect_err("one is not done").is_timed_out());
    std::thread::scope(|scope| {
        scope.spawn(|| {
            queue.blocking_get().expect("it is there");
            queue.blocking_task_done().expect("one was taken");
        });
        assert_eq!(queue.blocking_join(), 0);
    });
}

#[tokio::test]
async fn more_is_not_done_than_was_taken() {
    let queue = JoinableQueue::bounded(2).expect("a queue");
    assert!(
        queue
            .task_done()
            .await
            .expect_err("none was put in")
            .is_nothing_taken()
    );
    queue.put(1).await.expect("there is room");
    let blocking = queue.clone();
    let done = tokio::task::spawn_blocking(move || blocking.blocking_task_done());
    let error = done.await.expect("no panic").expect_err("none was taken");
    assert!(error.is_nothing_taken());
    queue.get().await.expect("it is there");
    queue.task_done().await.expect("one was taken");
    assert!(
        queue
            .task_done()
            .await
            .expect_err("that was it")
            .is_nothing_taken()
    );
    assert_eq!(queue.join().await, 0);
}

/// Takes items and marks them as done, until one of them says to end.
fn work(queue: JoinableQueue<u64>) {
    while queue.blocking_get_timeout(TIME_LIMIT).expect("it comes") > 0 {
        queue.blocking_task_done().expect("one was taken");
    }
    queue.blocking_task_done().expect("one was taken");
}

#[tokio::test]
async fn many_processes_do_the_items_and_many_wait_for_them() {
    let pool = pool(3);
    let queue = JoinableQueue::bounded(10).expect("a queue");
    let tasks = [(); 3].map(|()| pool.submit(work, queue.clone()));
    for number in (1..500).chain([0, 0, 0]) {
        within(queue.put(number)).await.expect("there is room");
    }
    let threads = [(); 2].map(|()| {
        let queue = queue.clone();
        tokio::spawn(in_thread(move || queue.blocking_join()))
    });
    assert_eq!(within(queue.join()).await, 0);
    for thread in threads {
        assert_eq!(within(thread).await.expect("it ends"), 0);
    }
    for task in tasks {
        within(task).await.expect("it ends");
    }
    within(pool.shutdown()).await;
}

/// As in Python: another process than the one that took an item may mark it as done.
#[tokio::test]
async fn an_item_that_was_passed_on_is_marked_done_by_its_last_receiver() {
    fn take(queue: JoinableQueue<u64>, to: Queue<u64>) {
        let item = queue.blocking_get_timeout(TIME_LIMIT).expect("it comes");
        to.blocking_put(item).expect("there is room");
    }
    let pool = pool(1);
    let queue = JoinableQueue::unbounded().expect("a queue");
    let handed = Queue::unbounded().expect("a queue");
    queue.put(7).await.expect("there is room");
    within(pool.submit(take, (queue.clone(), handed.clone())))
        .await
        .expect("it ends");
    assert_eq!(within(handed.get()).await.expect("it comes"), 7);
    queue.task_done().await.expect("one was taken");
    assert_eq!(within(queue.join()).await, 0);
    within(pool.shutdown()).await;
    assert_eq!(queue.join().await, 0, "its taker ended without one");
}

/// Takes one item, and waits until it may mark it.
fn take_one(queue: JoinableQueue<u64>, gate: Key) {
    queue.blocking_get_timeout(TIME_LIMIT).expect("it comes");
    gate.wait();
    queue.blocking_task_done().expect("one was taken");
}

/// One of two processes has passed its item on to this one, which marks it as done. It ends. The other still works.
#[tokio::test]
async fn a_join_does_not_return_while_a_process_works_on_what_it_took() {
    for dies in [0, 1] {
        let (pool, gate) = (pool(2), Gate::new());
        let queue = JoinableQueue::unbounded().expect("a queue");
        let mut tasks = Vec::new();
        let mut guests = Vec::new();
        for number in 0..2 {
            queue.put(number).await.expect("there is room");
            tasks.push(pool.submit(take_one, (queue.clone(), gate.key())));
            guests.push(gate.guest().await);
        }
        queue.task_done().await.expect("two were taken");
        let mut join = Box::pin(queue.join());
        assert!(join.as_mut().now_or_never().is_none());
        signal(guests.remove(dies).pid(), Signal::KILL);
        let killed = within(tasks.remove(dies)).await;
        assert!(killed.expect_err("it was killed").is_worker_lost());
        let early = queue.clone();
        let early = in_thread(move || early.blocking_join_timeout(Duration::from_millis(3)));
        let early = within(early).await;
        assert!(early.expect_err("one works").is_timed_out());
        guests.remove(0).let_in().await;
        within(tasks.remove(0)).await.expect("it ends");
        assert_eq!(within(join).await, 0);
        within(pool.shutdown()).await;
    }
}

/// Accepts an item, and waits until it may mark it.
fn finish(queue: JoinableQueue<u64>, receipt: Receipt, gate: Key) -> bool {
    if queue.blocking_accept(&receipt).is_err() {
        return false;
    }
    gate.wait();
    queue.blocking_task_done_with(receipt).is_ok()
}

/// A dispatcher takes all items, and workers do them. The join is exact, whichever process is killed.
#[tokio::test]
async fn an_item_with_a_receipt_is_lost_with_the_process_that_has_it() {
    let (pool, gate) = (pool(3), Gate::new());
    let queue = JoinableQueue::unbounded().expect("a queue");
    let mut tasks = Vec::new();
    let mut guests = Vec::new();
    for number in 0..3 {
        queue.put(number).await.expect("there is room");
        let (item, receipt) = queue.get_with_receipt().await.expect("it is there");
        assert_eq!(item, number);
        tasks.push(pool.submit(finish, (queue.clone(), receipt, gate.key())));
        guests.push(gate.guest().await);
    }
    let mut join = Box::pin(queue.join());
    let [first, second, third] = <[_; 3]>::try_from(guests).ok().expect("three");
    first.let_in().await;
    let mut tasks = tasks.into_iter();
    assert!(
        within(tasks.next().expect("the first"))
            .await
            .expect("it ends")
    );
    signal(second.pid(), Signal::KILL);
    assert!(within(tasks.next().expect("the second")).await.is_err());
    assert!(join.as_mut().now_or_never().is_none(), "the third works");
    third.let_in().await;
    assert!(
        within(tasks.next().expect("the third"))
            .await
            .expect("it ends")
    );
    assert_eq!(within(join).await, 1);
    within(pool.shutdown()).await;
}

/// The process that has the item is killed. A process that uses the receipt later is refused.
#[tokio::test]
async fn a_receipt_counts_once_and_only_for_its_queue() {
    let (pool, gate) = (pool(1), Gate::new());
    let queue = JoinableQueue::unbounded().expect("a queue");
    let copy = |receipt: &Receipt| -> Receipt {
        let bytes = rmp_serde::to_vec(receipt).expect("it is plain data");
        rmp_serde::from_slice(&bytes).expect("it is plain data")
    };
    queue.put(1).await.expect("there is room");
    queue.put(2).await.expect("there is room");
    let (_, first) = queue.get_with_receipt().await.expect("it is there");
    let (_, second) = queue.get_with_receipt().await.expect("it is there");
    let other = JoinableQueue::unbounded().expect("a queue");
    other.put(1).await.expect("there is room");
    other.get_with_receipt().await.expect("it is there");
    let error = other.accept(&first).await.expect_err("it is of another");
    assert!(error.is_nothing_taken());

    queue
        .task_done_with(copy(&first))
        .await
        .expect("it is unfinished");
    let error = queue.task_done_with(first).await.expect_err("it is done");
    assert!(error.is_nothing_taken());

    let task = pool.submit(finish, (queue.clone(), copy(&second), gate.key()));
    signal(gate.guest().await.pid(), Signal::KILL);
    within(task).await.expect_err("it was killed");
    assert_eq!(within(queue.join()).await, 1);
    let late = queue.accept(&second).await.expect_err("it is lost");
    assert!(late.is_nothing_taken());
    within(pool.shutdown()).await;
}

/// Takes `count` items, finishes the first and waits with the others.
fn take_and_wait(queue: JoinableQueue<u64>, count: u64, gate: Key) {
    for _ in 0..count {
        queue.blocking_get_timeout(TIME_LIMIT).expect("it comes");
    }
    queue.blocking_task_done().expect("one was taken");
    gate.wait();
}

#[tokio::test]
async fn a_join_does_not_wait_for_items_in_the_hands_of_the_dead() {
    let pool = pool(2);
    let queue = JoinableQueue::unbounded().expect("a queue");
    let gate = Gate::new();
    for number in 0..7 {
        queue.put(number).await.expect("there is room");
    }
    // The taker of one item dies before the join, and another one during it.
    let first = pool.submit(take_and_wait, (queue.clone(), 3, gate.key()));
    let guest = gate.guest().await;
    signal(guest.pid(), Signal::KILL);
    assert!(
        within(first)
            .await
            .expect_err("it was killed")
            .is_worker_lost()
    );
    let thread = tokio::spawn(in_thread({
        let queue = queue.clone();
        move || queue.blocking_join()
    }));
    let mut join = Box::pin(queue.join());
    assert!(join.as_mut().now_or_never().is_none());
    // The item is taken after the join has started.
    let second = pool.submit(take_and_wait, (queue.clone(), 4, gate.key()));
    let guest = gate.guest().await;
    assert!(join.as_mut().now_or_never().is_none());
    signal(guest.pid(), Signal::KILL);
    assert_eq!(within(join).await, 2 + 3);
    assert_eq!(within(thread).await.expect("it ends"), 2 + 3);
    assert!(
        within(second)
            .await
            .expect_err("it was killed")
            .is_worker_lost()
    );
    // The queue can still be used.
    queue.put(9).await.expect("there is room");
    queue.get().await.expect("it is there");
    queue.task_done().await.expect("one was taken");
    assert_eq!(within(queue.join()).await, 5, "all of them");
    within(pool.shutdown()).await;
}

/// There is no other process that would detect it.
#[tokio::test]
async fn a_joining_thread_gets_an_error_after_a_death() {
    let pool = pool(1);
    let queue = JoinableQueue::unbounded().expect("a queue");
    let gate = Gate::new();
    for number in 0..3 {
        queue.put(number).await.expect("there is room");
    }
    let task = pool.submit(take_and_wait, (queue.clone(), 3, gate.key()));
    let guest = gate.guest().await;
    let (joining, told) = (queue.clone(), gate.key());
    let thread = tokio::spawn(in_thread(move || {
        let early = joining.blocking_join_timeout(Duration::from_millis(1));
        assert!(early.expect_err("two are not done").is_timed_out());
        told.wait(); // The taker is killed when this thread is about to wait.
        joining.blocking_join()
    }));
    gate.guest().await.let_in().await;
    signal(guest.pid(), Signal::KILL);
    assert_eq!(within(thread).await.expect("it ends"), 2);
    within(task).await.expect_err("it was killed");
    within(pool.shutdown()).await;
}
