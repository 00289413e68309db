//! Items of every kind are put and taken.

use std::fmt::Debug;

use concurrent_futures::multiprocessing::{JoinableQueue, Queue};
use concurrent_futures::{Data, ExecutorExt as _, Limits, ProcessPoolExecutor};

use tokio::task::spawn_blocking;

use super::alone::{alone, descriptors};
use super::common::within;
use super::values::{Carry, Picky, values_of_every_kind, values_of_every_size};
use super::{TIME_LIMIT, pool};

#[tokio::test]
async fn items_come_out_in_the_order_in_which_they_went_in() {
    let queue = Queue::unbounded().expect("a queue");
    for number in 0..5000_u64 {
        let put = queue.put((number, number.to_string())).await;
        put.expect("there is room");
    }
    assert_eq!((queue.len(), queue.capacity()), (5000, None));
    for number in 0..5000 {
        let item = queue.get().await.expect("it is there");
        assert_eq!(item, (number, number.to_string()));
    }
    assert!(queue.is_empty());
    assert!(queue.try_get().expect_err("it is empty").is_empty());
}

struct ThroughQueue;

impl Carry for ThroughQueue {
    fn carry<T: Data + Clone + PartialEq + Debug>(&self, items: &[T]) {
        let queue = Queue::unbounded().expect("a queue");
        for item in items {
            queue.blocking_put(item.clone()).expect("there is room");
            assert!(queue.try_get().expect("it is there") == *item);
        }
        for item in items {
            queue.try_put(item.clone()).expect("there is room");
        }
        for item in items {
            assert!(queue.blocking_get().expect("it is there") == *item);
        }
    }
}

#[test]
fn items_of_every_kind_come_out_as_they_went_in() {
    values_of_every_kind(&ThroughQueue);
}

/// Includes items that are sent in a file of their own.
#[test]
fn items_of_every_size_come_out_as_they_went_in() {
    values_of_every_size(&ThroughQueue);
}

#[tokio::test]
async fn a_worker_gets_what_is_put_and_puts_what_is_got() {
    fn double(from: Queue<u64>, to: Queue<u64>) {
        while let number @ 1.. = from.blocking_get().expect("it is there") {
            to.blocking_put(number * 2).expect("there is room");
        }
    }
    let pool = pool(1);
    let from = Queue::unbounded().expect("a queue");
    let to = Queue::bounded(3).expect("a queue");
    let task = pool.submit(double, (from.clone(), to.clone()));
    for number in (1..100).chain([0]) {
        from.put(number).await.expect("there is room");
    }
    for number in 1..100 {
        assert_eq!(within(to.get()).await.expect("it is there"), number * 2);
    }
    within(task).await.expect("it ends");
    within(pool.shutdown()).await;
}

/// The queue grows and shrinks again, while other processes have mapped its earlier memory.
#[tokio::test]
async fn a_queue_that_grows_and_shrinks_is_the_same_for_every_process() {
    fn put_many(queue: Queue<String>, from: usize, to: usize) {
        for number in from..to {
            let item = format!("{number} {}", "x".repeat(number % 3000));
            queue.blocking_put(item).expect("there is room");
        }
    }
    fn get_many(queue: Queue<String>, from: usize, to: usize) {
        for number in from..to {
            let item = queue.blocking_get_timeout(TIME_LIMIT).expect("it is there");
            assert_eq!(item, format!("{number} {}", "x".repeat(number % 3000)));
        }
    }
    let pool = pool(2);
    let queue = Queue::unbounded().expect("a queue");
    for round in 0..3 {
        let putter = queue.clone();
        within(spawn_blocking(move || put_many(putter, 0, 10)))
            .await
            .expect("it puts");
        let put = pool.submit(put_many, (queue.clone(), 10, 6000));
        within(put).await.expect("it puts");
        let getter = queue.clone();
        let get = spawn_blocking(move || get_many(getter, 0, 3000 * round / 2));
        within(get).await.expect("it gets");
        let get = pool.submit(get_many, (queue.clone(), 3000 * round / 2, 5000));
        within(get).await.expect("it gets");
        let getter = queue.clone();
        within(spawn_blocking(move || get_many(getter, 5000, 6000)))
            .await
            .expect("it gets");
    }
    within(pool.shutdown()).await;
}

/// Python's queue would hang here: its putter waits at its end until another process takes the item.
#[tokio::test]
async fn a_large_put_and_then_the_end_of_the_putter_does_not_hang() {
    fn put(queue: Queue<Vec<u8>>) {
        for size in [1 << 10, 60 << 10, 200 << 10, 20 << 20] {
            queue.blocking_put(vec![7; size]).expect("there is room");
        }
    }
    let pool = pool(1);
    let queue = Queue::unbounded().expect("a queue");
    within(pool.submit(put, queue.clone()))
        .await
        .expect("it puts");
    within(pool.shutdown()).await;
    for size in [1 << 10, 60 << 10, 200 << 10, 20 << 20] {
        assert!(queue.try_get().expect("it is there") == vec![7; size]);
    }
}

#[test]
fn a_queue_for_no_items_is_refused() {
    let error = Queue::<u8>::bounded(0).expect_err("it could hold nothing");
    assert!(error.is_invalid_setting());
    assert!(
        error.to_string().contains("capacity of a queue is 0"),
        "{error}"
    );
}

#[test]
fn outside_of_a_process_a_queue_is_a_clear_error() {
    let queue = Queue::<u8>::unbounded().expect("a queue");
    let error = rmp_serde::to_vec(&queue).expect_err("MessagePack carries no descriptors");
    assert!(error.to_string().contains("argument of a task"), "{error}");
    let error = rmp_serde::from_slice::<Queue<u8>>(&[0x92, 0x93, 0, 0x92, 1, 2, 3, 4])
        .expect_err("none came");
    assert!(error.to_string().contains("argument of a task"), "{error}");
}

#[test]
fn an_item_that_cannot_be_encoded_or_decoded_costs_no_other_item() {
    let queue = Queue::unbounded().expect("a queue");
    queue.try_put(Picky(0)).expect("there is room");
    let error = queue.try_put(Picky(1)).expect_err("it cannot be encoded");
    assert!(error.error().is_codec());
    assert!(error.to_string().contains("one is not written"), "{error}");
    assert_eq!(error.into_inner(), Picky(1));
    queue.try_put(Picky(2)).expect("there is room");
    queue.try_put(Picky(3)).expect("there is room");
    assert_eq!(queue.try_get().expect("it is there"), Picky(0));
    let error = queue.try_get().expect_err("it cannot be decoded");
    assert!(error.is_codec() && error.to_string().contains("two is not read"));
    assert_eq!(queue.try_get().expect("it is there"), Picky(3));
    assert!(queue.is_empty());
}

#[tokio::test]
async fn without_memory_an_item_stays_where_it_is() {
    fn get(queue: JoinableQueue<String>) -> bool {
        let error = queue.blocking_get().expect_err("there is no memory for it");
        error.is_no_space() && queue.try_get().is_err_and(|error| error.is_no_space())
    }
    let limits = Limits::new().address_space(300 << 20);
    let pool = ProcessPoolExecutor::builder().max_workers(1).limits(limits);
    let pool = pool.build().expect("the settings are valid");
    let queue = JoinableQueue::unbounded().expect("a queue");
    let item = "x".repeat(320 << 20);
    queue.put(item.clone()).await.expect("there is memory here");
    let is_no_space = within(pool.submit(get, queue.clone())).await;
    assert!(is_no_space.expect("it ends") && queue.len() == 1);
    assert!(within(queue.get()).await.expect("it is there") == item);
    queue.task_done().await.expect("one was taken");
    assert_eq!(within(queue.join()).await, 0);
}

#[tokio::test]
async fn without_memory_an_item_is_handed_back_and_the_queue_lives_on() {
    fn fill(queue: Queue<String>) -> (usize, bool, usize) {
        let mut count = 0;
        loop {
            let item = format!("{count} {}", "x".repeat(200_000));
            match queue.blocking_put(item.clone()) {
                Ok(()) => count += 1,
                Err(error) => {
                    let is_no_space = error.error().is_no_space();
                    assert!(error.into_inner() == item, "it is handed back");
                    let first = queue.try_get().expect("it is there");
                    assert!(first.starts_with("0 "));
                    queue.try_put(first).expect("there is room for as much");
                    return (count, is_no_space, queue.len());
                }
            }
        }
    }
    let limits = Limits::new().address_space(600 << 20);
    let pool = ProcessPoolExecutor::builder().max_workers(1).limits(limits);
    let pool = pool.build().expect("the settings are valid");
    let queue = Queue::unbounded().expect("a queue");
    let (count, is_no_space, len) = within(pool.submit(fill, queue.clone()))
        .await
        .expect("it ends");
    assert!(
        is_no_space && count == len && count > 50,
        "{count} {len} {is_no_space}"
    );
    for number in (1..count).chain([0]) {
        let item = queue.try_get().expect("it is there");
        assert!(item.starts_with(&format!("{number} ")));
    }
    within(pool.shutdown()).await;
}

fn mappings() -> usize {
    let maps = std::fs::read_to_string("/proc/self/maps").expect("/proc");
    maps.matches("concurrent-futures").count()
}

#[test]
fn a_queue_leaves_no_descriptor_and_no_memory() {
    alone(
        "basics::a_queue_leaves_no_descriptor_and_no_memory",
        async || {
            let before = (descriptors().len(), mappings());
            for _ in 0..3 {
                let queue = Queue::unbounded().expect("a queue");
                let nested = queue.clone();
                let get = tokio::spawn(async move { nested.get().await });
                for size in [0, 10, 100_000, 1 << 20] {
                    queue.put(vec![1_u8; size]).await.expect("there is room");
                }
                let first = within(get).await.expect("it ends");
                assert!(first.expect("an item").is_empty());
                queue.get().await.expect("it is there");
                let waits = queue.get();
                drop(waits);
            }
            let after = (descriptors().len(), mappings());
            assert_eq!(after, before, "{:?}", descriptors());
        },
    );
}
