//! Queues between processes: what was accepted is there, each item once, and whoever is killed at whatever
//! point holds up nobody.
#![cfg(target_os = "linux")]

mod common;

use std::time::Duration;

use concurrent_futures::multiprocessing::{JoinableQueue, Queue, QueueError};
use concurrent_futures::{ExecutorExt as _, ProcessPoolExecutor};

use common::{Key, within};

concurrent_futures::init_before_main!();

fn pool(workers: usize) -> ProcessPoolExecutor {
    ProcessPoolExecutor::with_workers(workers).expect("the settings are valid")
}

#[tokio::test]
async fn items_come_out_in_order_and_as_they_went_in() {
    let queue = Queue::unbounded().expect("a queue");
    for number in 0..1000_u64 {
        queue
            .put((number, number.to_string()))
            .await
            .expect("there is room");
    }
    assert_eq!(queue.len(), 1000);
    for number in 0..1000 {
        assert_eq!(
            queue.get().await.expect("it is there"),
            (number, number.to_string())
        );
    }
    assert!(queue.is_empty());
    assert!(queue.try_get().expect_err("it is empty").is_empty());
}

#[tokio::test]
async fn a_worker_gets_what_is_put_and_puts_what_is_got() {
    fn double(from: Queue<u64>, to: Queue<u64>) -> Result<(), String> {
        loop {
            match from.blocking_get().map_err(|error| error.to_string())? {
                0 => return Ok(()),
                number => to
                    .blocking_put(number * 2)
                    .map_err(|error| error.to_string())?,
            }
        }
    }
    let pool = pool(1);
    let (from, to) = (
        Queue::unbounded().expect("a queue"),
        Queue::bounded(3).expect("a queue"),
    );
    let task = pool.submit(double, (from.clone(), to.clone()));
    for number in (1..100).chain([0]) {
        from.put(number).await.expect("there is room");
    }
    for number in 1..100 {
        assert_eq!(within(to.get()).await.expect("it is there"), number * 2);
    }
    within(task).await.expect("it ends").expect("it works");
}
