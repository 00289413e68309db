//! Shared objects that a process receives more than once, or gets back: each remains one object.

#![cfg(feature = "multiprocessing")]
#![cfg(target_os = "linux")]

#[path = "common/again.rs"]
mod again;
#[expect(dead_code, reason = "other tests use the rest")]
#[path = "common/alone.rs"]
mod alone;
mod common;
#[path = "common/methods.rs"]
mod methods;

use std::any::Any;
use std::fs;
use std::sync::Mutex;
use std::sync::atomic::Ordering::SeqCst;

use concurrent_futures::multiprocessing::{
    Array, AtomicBool, AtomicU64, Barrier, BoundedSemaphore, Condition, Event, Getter,
    JoinableQueue, Lock, Putter, Queue, RLock, RwLock, Semaphore, SharedMemory, Value,
};
use concurrent_futures::{ExecutorExt as _, StartMethod};
use serde::{Deserialize, Serialize};

use self::alone::{alone, descriptors};
use self::common::within;
use self::methods::{held_by_every_start_method, processes};

concurrent_futures::init_before_main!();

held_by_every_start_method! { 2;
    a_worker_that_receives_an_object_again_and_again_keeps_one,
    objects_that_come_back_are_those_that_were_sent,
    a_getter_costs_nothing_where_its_putter_is,
}

const TIMES: usize = 500;

/// One object of each kind.
#[derive(Clone, Serialize, Deserialize)]
struct Objects {
    locks: (Lock, RLock, Condition, RwLock),
    permits: (Semaphore, BoundedSemaphore),
    signals: (Barrier, Event),
    queues: (Queue<u8>, JoinableQueue<u8>),
    halves: (Putter<u8>, Getter<u8>),
    memory: (SharedMemory, Value<[u8; 100]>, Array<u64>),
    atomics: (AtomicU64, AtomicBool),
}

impl Objects {
    fn new() -> Self {
        Self {
            locks: (
                Lock::new().expect("a lock"),
                RLock::new().expect("a lock"),
                Condition::new().expect("a condition"),
                RwLock::new().expect("a lock"),
            ),
            permits: (
                Semaphore::new(2).expect("a semaphore"),
                BoundedSemaphore::new(2).expect("a semaphore"),
            ),
            signals: (
                Barrier::new(2).expect("a barrier"),
                Event::new().expect("an event"),
            ),
            queues: (
                Queue::unbounded().expect("a queue"),
                JoinableQueue::unbounded().expect("a queue"),
            ),
            halves: Queue::unbounded().expect("a queue").split(),
            memory: (
                SharedMemory::create(1000).expect("memory"),
                Value::new([1; 100]).expect("a value"),
                Array::zeroed(100).expect("an array"),
            ),
            atomics: (
                AtomicU64::new(1).expect("a number"),
                AtomicBool::new(true).expect("a flag"),
            ),
        }
    }
}

/// The number of mappings of files in memory.
fn mappings() -> usize {
    let maps = fs::read_to_string("/proc/self/maps").expect("/proc");
    let ours = |line: &&str| line.contains("memfd:concurrent-futures");
    maps.lines().filter(ours).count()
}

static KEPT: Mutex<Vec<Box<dyn Any + Send>>> = Mutex::new(Vec::new());

/// A task. Returns the number of descriptors and of mappings.
fn keep(objects: Objects) -> (usize, usize) {
    KEPT.lock().expect("no panic").push(Box::new(objects));
    (descriptors().len(), mappings())
}

async fn a_worker_that_receives_an_object_again_and_again_keeps_one(method: StartMethod) {
    let pool = processes(method, 1);
    let objects = Objects::new();
    let first = within(pool.submit(keep, objects.clone())).await;
    let mut last = None;
    for _ in 1..TIMES {
        last = Some(
            within(pool.submit(keep, objects.clone()))
                .await
                .expect("it ran"),
        );
    }
    assert_eq!(last, Some(first.expect("it ran")));
    within(pool.shutdown()).await;
}

/// A task, as [`keep`].
fn keep_putter(putter: Putter<u8>) -> (usize, usize) {
    KEPT.lock().expect("no panic").push(Box::new(putter));
    (descriptors().len(), mappings())
}

/// A task, as [`keep`].
fn keep_getter(getter: Getter<u8>) -> (usize, usize) {
    KEPT.lock().expect("no panic").push(Box::new(getter));
    (descriptors().len(), mappings())
}

async fn a_getter_costs_nothing_where_its_putter_is(method: StartMethod) {
    let pool = processes(method, 1);
    let (putter, getter) = Queue::unbounded().expect("a queue").split();
    let before = within(pool.submit(keep_putter, putter)).await;
    let after = within(pool.submit(keep_getter, getter)).await;
    assert_eq!(after.expect("it ran"), before.expect("it ran"));
    within(pool.shutdown()).await;
}

/// A task: puts the objects that it receives.
fn bounce(objects: Objects, to: Queue<Objects>) {
    to.blocking_put(objects).expect("there is memory");
}

async fn objects_that_come_back_are_those_that_were_sent(method: StartMethod) {
    let pool = processes(method, 1);
    let (sent, back) = (Objects::new(), Queue::unbounded().expect("a queue"));
    within(pool.submit(bounce, (sent.clone(), back.clone())))
        .await
        .expect("it ran");
    let got = within(back.get()).await.expect("it is there");
    let outer = sent.locks.1.lock().await;
    assert!(got.locks.1.try_lock().is_some(), "its owner takes it again");
    drop(outer);
    let held = got.locks.0.lock().await;
    assert!(sent.locks.0.try_lock().is_none());
    drop(held);
    let guard = within(got.locks.2.lock()).await;
    got.locks.2.notify_all(&guard);
    drop(guard);
    let permits = [got.permits.0.try_acquire(), sent.permits.0.try_acquire()];
    assert!(permits.iter().all(Option::is_some) && got.permits.0.try_acquire().is_none());
    got.signals.1.set();
    assert!(sent.signals.1.is_set());
    let both = futures::future::join(sent.signals.0.wait(), got.signals.0.wait());
    let (one, other) = within(both).await;
    assert_ne!(
        one.expect("two").is_leader(),
        other.expect("two").is_leader()
    );
    got.queues.0.try_put(7).expect("there is memory");
    assert_eq!(sent.queues.0.try_get().expect("it is there"), 7);
    got.halves.0.try_put(8).expect("there is memory");
    assert_eq!(sent.halves.1.try_get().expect("it is there"), 8);
    let reading = got.locks.3.read().await;
    assert!(sent.locks.3.try_write().is_none());
    drop(reading);
    got.memory.1.set([7; 100]).await;
    assert_eq!(sent.memory.1.get().await, [7; 100]);
    got.memory.0.write(0, &[7]);
    assert_eq!(sent.memory.0.to_vec()[0], 7);
    assert_eq!(got.atomics.0.fetch_add(1, SeqCst), 1);
    assert_eq!(sent.atomics.0.load(SeqCst), 2);
    within(pool.shutdown()).await;
}

#[test]
fn an_object_that_returns_to_its_process_costs_nothing() {
    alone(
        "an_object_that_returns_to_its_process_costs_nothing",
        async || {
            let (objects, queue) = (Objects::new(), Queue::unbounded().expect("a queue"));
            let name = format!("test.{}.back", std::process::id());
            let named = SharedMemory::create_named(&name, 100).expect("memory");
            let (mut kept, mut opened) = (Vec::new(), Vec::new());
            let again = async || {
                let item = (objects.clone(), named.clone());
                queue.put(item).await.expect("there is memory");
                queue.get().await.expect("it is there")
            };
            drop(again().await); // After this, the queue has its memory for items.
            let count = || (descriptors().len(), mappings());
            let before = count();
            for _ in 0..TIMES {
                kept.push(again().await);
                opened.push(SharedMemory::open(&name).expect("it is there"));
            }
            let events = 1; // An event that comes back costs one descriptor, once.
            assert_eq!(count(), (before.0 + events, before.1));
            drop((kept, opened));
            assert_eq!(count(), before, "ours are left");
            drop((objects, named));
            assert!(SharedMemory::open(&name).is_err());
        },
    );
}

/// All handles of one object share one line in a process, however each was received.
#[tokio::test]
async fn tasks_that_wait_by_any_handle_take_turns_in_one_queue() {
    let (lock, queue) = (
        Lock::new().expect("a lock"),
        Queue::unbounded().expect("a queue"),
    );
    queue.try_put(lock.clone()).expect("there is memory");
    let handles = [lock, queue.try_get().expect("it is there")];
    let held = handles[0].lock().await;
    let order = Mutex::new(Vec::new());
    let wait = async |number: usize| {
        let _turn = handles[number % 2].lock().await;
        order.lock().expect("no panic").push(number);
    };
    let mut waiting: Vec<_> = (0..20).map(|number| Box::pin(wait(number))).collect();
    for task in &mut waiting {
        assert!(futures::poll!(task).is_pending());
    }
    drop(held);
    within(futures::future::join_all(waiting)).await;
    let order = order.into_inner().expect("no panic");
    assert!(order.iter().copied().eq(0..20), "{order:?}");
}

/// An object that was dropped everywhere is not found again, whatever identity the system gives the next one.
#[test]
fn an_object_that_is_dropped_is_not_found_in_a_new_one() {
    let queue = Queue::unbounded().expect("a queue");
    for number in 0..1000_u64 {
        let (value, event) = (
            Value::new(number).expect("a value"),
            Event::new().expect("an event"),
        );
        event.set();
        queue.try_put((value, event)).expect("there is memory");
        let (value, event): (Value<u64>, Event) = queue.try_get().expect("it is there");
        assert_eq!(value.blocking_get(), number);
        assert!(event.is_set());
        event.clear();
    }
}
