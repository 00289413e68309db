//! Queues of every order, and their end.

use std::cmp::Ordering;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex};

use concurrent_futures::sync::{LifoQueue, PriorityQueue, Queue};

use crate::explore::{Scene, explore, pause};
use crate::none_waits_and_none_panicked;

#[tokio::test]
async fn the_item_that_is_next_is_the_oldest_the_newest_or_the_smallest() {
    let (first, last, smallest) = (Queue::new(), LifoQueue::new(), PriorityQueue::new());
    for item in [2, 3, 1] {
        first.put(item).await.expect("it is open");
        last.put(item).await.expect("it is open");
        smallest.put(item).await.expect("it is open");
    }
    assert_eq!([(); 3].map(|()| first.try_get()), [Ok(2), Ok(3), Ok(1)]);
    assert_eq!([(); 3].map(|()| last.try_get()), [Ok(1), Ok(3), Ok(2)]);
    assert_eq!([(); 3].map(|()| smallest.try_get()), [Ok(1), Ok(2), Ok(3)]);
}

/// A producer that waits for room puts its item in its place.
#[tokio::test]
async fn a_bounded_priority_queue_holds_no_more_than_its_bound() {
    let queue = Arc::new(PriorityQueue::bounded(2));
    queue.put(3).await.expect("it is open");
    queue.put(2).await.expect("it is open");
    let producer = tokio::spawn({
        let queue = queue.clone();
        async move { queue.put(1).await }
    });
    tokio::task::yield_now().await;
    assert_eq!((queue.len(), queue.capacity()), (2, Some(2)));
    assert_eq!(queue.get().await, Some(2));
    producer.await.expect("no panic").expect("it is open");
    assert_eq!((queue.get().await, queue.get().await), (Some(1), Some(3)));
}

#[test]
fn a_queue_that_is_closed_now_drops_the_rest_and_lets_all_end() {
    let runs = explore(|| {
        let queue = Arc::new(Queue::bounded(1));
        let counts = Arc::new(Mutex::new([0; 3]));
        let put = {
            let (queue, counts) = (queue.clone(), counts.clone());
            async move {
                for () in [(); 2] {
                    if queue.put(()).await.is_ok() {
                        counts.lock().expect("no panic")[0] += 1;
                    }
                }
            }
        };
        let get = || {
            let (queue, counts) = (queue.clone(), counts.clone());
            async move {
                while let Some(()) = queue.get().await {
                    counts.lock().expect("no panic")[1] += 1;
                    pause().await;
                    queue.task_done();
                }
            }
        };
        let join = {
            let queue = queue.clone();
            async move { queue.join().await }
        };
        let close = {
            let (queue, counts) = (queue.clone(), counts.clone());
            async move {
                let dropped = queue.close_now();
                counts.lock().expect("no panic")[2] += dropped;
            }
        };
        let scene = Scene::new().actor("puts", put).actor("gets", get());
        let scene = scene.actor("joins", join).actor("closes", close);
        scene.check(move |ending| {
            none_waits_and_none_panicked(ending);
            assert!(queue.is_empty() && queue.is_closed());
            assert_eq!(queue.close_now(), 0);
            let [put, got, dropped] = *counts.lock().expect("no panic");
            assert_eq!(put, got + dropped);
        })
    });
    assert!(runs > 200, "{runs}");
}

#[test]
fn items_left_in_a_closed_queue_can_still_be_dropped() {
    let queue = LifoQueue::new();
    queue.try_put("an item").expect("it is open");
    queue.close();
    assert_eq!((queue.close_now(), queue.len()), (1, 0));
    assert!(queue.try_get().expect_err("it is empty").is_closed());
    queue.blocking_join();
}

/// An item that uses the queue when it is dropped.
/// An item whose comparison panics on request.
#[derive(Debug)]
struct Touchy(u8, Arc<AtomicBool>);

impl Ord for Touchy {
    fn cmp(&self, other: &Self) -> Ordering {
        assert!(!self.1.load(Relaxed), "the comparison panics");
        self.0.cmp(&other.0)
    }
}

impl PartialOrd for Touchy {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Touchy {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Touchy {}

#[tokio::test]
async fn a_comparison_that_panics_leaves_a_priority_queue_as_it_was() {
    let (queue, panics) = (PriorityQueue::bounded(4), Arc::new(AtomicBool::new(false)));
    let item = |number| Touchy(number, panics.clone());
    for number in [3, 1, 2] {
        queue.try_put(item(number)).expect("there is room");
    }
    panics.store(true, Relaxed);
    let quietly = |act: &dyn Fn()| catch_unwind(AssertUnwindSafe(act)).expect_err("it panics");
    for _ in 0..10 {
        quietly(&|| drop(queue.try_put(item(0))));
        quietly(&|| drop(queue.try_get()));
        assert_eq!(queue.len(), 3);
    }
    panics.store(false, Relaxed);
    queue.try_put(item(4)).expect("there is room for one");
    assert!(queue.try_put(item(5)).is_err());
    for number in 1..=4 {
        assert_eq!(queue.get().await.expect("it is open").0, number);
        queue.task_done();
    }
    assert!(queue.try_get().is_err());
    queue.join().await;
}

#[test]
fn a_queue_drops_no_item_under_its_lock() {
    struct Uses(Arc<Queue<Uses>>);

    impl Drop for Uses {
        fn drop(&mut self) {
            assert!(self.0.is_closed());
        }
    }

    let queue = Arc::new(Queue::new());
    assert!(queue.try_put(Uses(queue.clone())).is_ok());
    assert_eq!(queue.close_now(), 1);
    assert!(queue.try_put(Uses(queue.clone())).is_err());
}
