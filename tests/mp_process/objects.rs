//! Shared objects as arguments of a process.

use std::collections::BTreeMap;
use std::hash::{BuildHasher as _, RandomState};

use concurrent_futures::StartMethod;
use concurrent_futures::multiprocessing::{Event, Lock, Process, Queue, SharedMemory, Value};

use super::alone::{alone, descriptors};
use super::builder;
use super::common::{Gate, Key, eventually, within};
use super::methods::held_by_every_start_method;

held_by_every_start_method! { 1;
    objects_that_processes_share_can_be_arguments,
    a_lock_of_a_killed_process_is_released_and_the_next_owner_gets_an_error,
    processes_that_are_killed_at_any_point_block_no_other,
}

async fn objects_that_processes_share_can_be_arguments(method: StartMethod) {
    let work =
        |go: Event, lock: Lock, sum: Value<u64>, queue: Queue<u64>, memory: SharedMemory, n| {
            go.blocking_wait();
            let _alone = lock.blocking_lock();
            sum.blocking_with(|sum| *sum += n);
            memory.write(n as usize, &[n as u8]);
            queue.blocking_put(n).expect("there is memory");
        };
    let (go, lock) = (Event::new().expect("one"), Lock::new().expect("one"));
    let sum = Value::new(0_u64).expect("one");
    let queue = Queue::unbounded().expect("one");
    let memory = SharedMemory::create(4).expect("one");
    let mut processes = Vec::new();
    for n in 1..=3_u64 {
        let (go, lock, sum) = (go.clone(), lock.clone(), sum.clone());
        let args = (go, lock, sum, queue.clone(), memory.clone(), n);
        let process = within(builder(method).spawn(work, args)).await;
        processes.push(process.expect("it starts"));
    }
    assert!(queue.is_empty(), "they wait");
    go.set();
    let mut items = Vec::new();
    for process in &processes {
        within(process.join()).await.expect("it ran");
        items.push(within(queue.get()).await.expect("an item"));
    }
    items.sort_unstable();
    assert_eq!(items, [1, 2, 3]);
    assert_eq!(within(sum.get()).await, 6);
    assert_eq!(memory.to_vec(), [0, 1, 2, 3]);
}

async fn a_lock_of_a_killed_process_is_released_and_the_next_owner_gets_an_error(
    method: StartMethod,
) {
    let lock = Lock::new().expect("a lock");
    let gate = Gate::new();
    let hold = |lock: Lock, gate: Key| {
        let _held = lock.blocking_lock();
        gate.wait();
    };
    let process = within(builder(method).spawn(hold, (lock.clone(), gate.key()))).await;
    let process = process.expect("it starts");
    let _guest = gate.guest().await;
    assert!(lock.try_lock().is_none(), "it is held");
    process.kill();
    let guard = within(lock.lock()).await;
    assert_eq!(guard.abandoned_by(), Some(process.pid()));
    let error = within(process.join()).await.expect_err("it was killed");
    assert_eq!(error.signal(), Some(9));
}

/// An item: the number of its process, and its number in that process.
type Item = (u32, u32);

/// How many items each process puts.
const ITEMS: u32 = 100;

fn count_and_put(lock: Lock, count: Value<u64>, queue: Queue<Item>, who: u32) {
    for n in 0..ITEMS {
        let held = lock.blocking_lock();
        count.blocking_with(|count| *count += 1);
        drop(held);
        queue.blocking_put((who, n)).expect("there is memory");
    }
}

async fn processes_that_are_killed_at_any_point_block_no_other(method: StartMethod) {
    const PROCESSES: u32 = 4;
    let lock = Lock::new().expect("a lock");
    let count = Value::new(0).expect("a value");
    let queue = Queue::bounded(5).expect("a queue");
    for round in 0..6 {
        within(count.set(0)).await;
        let mut processes = Vec::new();
        for who in 0..PROCESSES {
            let args = (lock.clone(), count.clone(), queue.clone(), who);
            let process = within(builder(method).spawn(count_and_put, args)).await;
            processes.push(process.expect("it starts"));
        }
        // Every other process is killed at some point of its work.
        let mut kills: BTreeMap<usize, &Process<()>> = BTreeMap::new();
        for (n, process) in processes.iter().enumerate().skip(1).step_by(2) {
            let chance = RandomState::new().hash_one((round, n)) as u32;
            kills.insert((chance % ITEMS) as usize, process);
        }
        let mut items: Vec<Item> = Vec::new();
        let all = futures::future::join_all(processes.iter().map(Process::join));
        tokio::pin!(all);
        let outcomes = loop {
            if let Some(process) = kills.remove(&items.len()) {
                process.kill();
            }
            let next = async {
                tokio::select! {
                    item = queue.get() => Err(item.expect("an item")),
                    outcomes = &mut all => Ok(outcomes),
                }
            };
            match within(next).await {
                Ok(outcomes) => break outcomes,
                Err(item) => items.push(item),
            }
        };
        while let Ok(item) = queue.try_get() {
            items.push(item);
        }
        for (who, outcome) in (0..PROCESSES).zip(outcomes) {
            let of_it: Vec<u32> = items
                .iter()
                .filter(|item| item.0 == who)
                .map(|item| item.1)
                .collect();
            // Each item that was put, once and in order.
            assert!(of_it.iter().copied().eq(0..of_it.len() as u32), "{of_it:?}");
            match outcome {
                Ok(()) => assert_eq!(of_it.len(), ITEMS as usize),
                Err(error) => assert_eq!((error.signal(), who % 2), (Some(9), 1), "{error}"),
            }
        }
        drop(within(lock.lock()).await);
        assert!(within(count.get()).await >= items.len() as u64);
    }
}

/// Once the process has the object, only that process holds its resources.
#[test]
fn an_object_lives_as_long_as_the_process_that_has_it() {
    let test = "objects::an_object_lives_as_long_as_the_process_that_has_it";
    alone(test, || async {
        let put = |event: Event, memory: SharedMemory| {
            event.blocking_wait();
            memory.write(0, b"text");
            memory.to_vec()
        };
        let start = async || {
            let (event, memory) = (Event::new().expect("one"), SharedMemory::create(4));
            let memory = memory.expect("memory");
            let process = within(Process::spawn(put, (event.clone(), memory))).await;
            (event, process.expect("it starts"))
        };
        let (event, process) = start().await; // The fork server exists after this.
        event.set();
        within(process.join()).await.expect("it ran");
        drop((event, process));
        eventually(|| !descriptors().iter().any(|(_, target)| is_memory(target))).await;
        let before = descriptors().len();
        for _ in 0..20 {
            let (event, process) = start().await;
            event.set();
            drop(event);
            assert_eq!(within(process.join()).await.expect("it ran"), b"text");
        }
        eventually(|| descriptors().len() <= before).await;
    });
}

fn is_memory(target: &std::path::Path) -> bool {
    target.to_string_lossy().contains("memfd:")
}
