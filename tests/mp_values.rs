//! Shared values and arrays: each update is atomic, whichever process is killed.

#![cfg(feature = "multiprocessing")]
#![cfg(target_os = "linux")]

#[path = "common/again.rs"]
mod again;
#[path = "common/alone.rs"]
mod alone;
mod common;
#[path = "common/methods.rs"]
mod methods;

use std::fs;
use std::io::ErrorKind;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytemuck::{Pod, Zeroable};
use concurrent_futures::multiprocessing::{
    Array, AtomicBool, AtomicI8, AtomicU32, AtomicU64, Queue, Value,
};
use concurrent_futures::{ExecutorExt as _, StartMethod};
use rustix::process::{Pid, Signal, kill_process};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use self::alone::{alone, children, descriptors};
use self::common::{Gate, Guest, Key, eventually, within};
use self::methods::{held_by_every_start_method, processes};

concurrent_futures::init_before_main!();

held_by_every_start_method! { 2;
    tasks_in_all_processes_count_to_the_exact_number,
    a_killed_holder_leaves_the_old_value_and_the_next_one_gets_an_error,
    a_killed_process_leaves_each_atomic_number_whole,
    a_killed_holder_leaves_a_half_changed_array_and_the_next_one_gets_an_error,
}

/// A task: adds to each in its own way, until it is killed.
fn add_without_end(done: AtomicU64, running: AtomicI8, found: AtomicBool, gate: Key) {
    running.fetch_add(1, Ordering::Relaxed);
    found.store(true, Ordering::Relaxed);
    gate.wait();
    loop {
        done.fetch_add(1 << 32 | 1, Ordering::Relaxed);
    }
}

async fn a_killed_process_leaves_each_atomic_number_whole(method: StartMethod) {
    let pool = processes(method, 2);
    let (done, running) = (AtomicU64::new(0), AtomicI8::new(0));
    let (done, running) = (done.expect("a number"), running.expect("a number"));
    let found = AtomicBool::new(false).expect("a flag");
    let arguments = |gate: &Gate| (done.clone(), running.clone(), found.clone(), gate.key());
    let gate = Gate::new();
    let tasks = [(); 2].map(|()| pool.submit(add_without_end, arguments(&gate)));
    let guests = [gate.guest().await, gate.guest().await];
    assert_eq!(running.load(Ordering::Relaxed), 2);
    assert!(found.load(Ordering::Relaxed));
    for guest in guests {
        let pid = Pid::from_raw(guest.pid().cast_signed()).expect("a pid");
        guest.let_in().await;
        let seen = done.load(Ordering::Relaxed);
        eventually(|| done.load(Ordering::Relaxed) > seen).await;
        kill_process(pid, Signal::KILL).expect("it is there");
    }
    for task in tasks {
        assert!(within(task).await.expect_err("killed").is_worker_lost());
    }
    let left = done.load(Ordering::Relaxed);
    assert_eq!(left >> 32, left & u64::from(u32::MAX));
    assert_eq!(
        running.load(Ordering::Relaxed),
        2,
        "the dead subtract nothing"
    );
    within(pool.shutdown()).await;
}

/// Sent as a number of 4 bytes, and received as one of 8.
#[derive(Debug)]
enum Mistaken {
    Narrow(AtomicU32),
    Wide(AtomicU64),
}

impl Serialize for Mistaken {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Narrow(number) => number.serialize(serializer),
            Self::Wide(number) => number.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for Mistaken {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        AtomicU64::deserialize(deserializer).map(Self::Wide)
    }
}

#[test]
fn an_atomic_number_of_another_size_is_refused() {
    let queue = Queue::unbounded().expect("a queue");
    let number = AtomicU32::new(7).expect("a number");
    queue
        .try_put(Mistaken::Narrow(number))
        .expect("there is memory");
    let error = queue.try_get().expect_err("it has 4 bytes");
    let text = format!(
        "{error} {:?}",
        std::error::Error::source(&error).map(ToString::to_string)
    );
    assert!(text.contains("8 bytes") && text.contains("of 4"), "{text}");
}

fn kill(guest: &Guest) {
    let pid = Pid::from_raw(guest.pid().cast_signed()).expect("a pid");
    kill_process(pid, Signal::KILL).expect("it is there");
}

/// A task. Adds one `times` times, in each possible way.
fn count(value: Value<u64>, array: Array<u64>, times: u64) {
    for time in 0..times {
        match time % 3 {
            0 => *value.blocking_lock() += 1,
            1 => value.blocking_with(|value| *value += 1),
            _ => {
                let mut guard = loop {
                    match value.try_lock() {
                        Some(guard) => break guard,
                        None => std::thread::yield_now(),
                    }
                };
                let seen = *guard;
                std::thread::yield_now();
                *guard = seen + 1;
            }
        }
        let mut guard = array.blocking_lock();
        guard[0] += 1;
        std::thread::yield_now();
        guard[1] += 1;
        assert_eq!(guard[0], guard[1]);
    }
}

async fn tasks_in_all_processes_count_to_the_exact_number(method: StartMethod) {
    const TIMES: u64 = 200;
    let pool = processes(method, 2);
    let value = Value::new(0_u64).expect("a value");
    let array = Array::<u64>::zeroed(2).expect("an array");
    let elsewhere = [(); 4].map(|()| pool.submit(count, (value.clone(), array.clone(), TIMES)));
    let here = (0..8).map(|_| {
        let (value, array) = (value.clone(), array.clone());
        tokio::spawn(async move {
            for _ in 0..TIMES {
                let mut guard = value.lock().await;
                let seen = *guard;
                tokio::task::yield_now().await;
                *guard = seen + 1;
                drop(guard);
                let mut guard = array.lock().await;
                guard[0] += 1;
                tokio::task::yield_now().await;
                guard[1] += 1;
            }
        })
    });
    for task in here.collect::<Vec<_>>() {
        within(task).await.expect("no panic");
    }
    for task in elsewhere {
        within(task).await.expect("it ran");
    }
    assert_eq!(within(value.get()).await, 12 * TIMES);
    assert_eq!(within(array.lock()).await[..], [12 * TIMES; 2]);
    within(pool.shutdown()).await;
}

/// A task: takes the lock, makes a change, and waits at the gate.
fn change_and_wait(value: Value<[u64; 3]>, gate: Key) {
    let mut guard = value.blocking_lock();
    *guard = [7; 3];
    gate.wait();
}

async fn a_killed_holder_leaves_the_old_value_and_the_next_one_gets_an_error(method: StartMethod) {
    let pool = processes(method, 1);
    let value = Value::new([1_u64; 3]).expect("a value");
    for asked_first in [false, true] {
        let gate = Gate::new();
        let holder = pool.submit(change_and_wait, (value.clone(), gate.key()));
        let guest = gate.guest().await;
        assert!(value.try_lock().is_none());
        let waiting = tokio::spawn({
            let value = value.clone();
            async move {
                if asked_first {
                    assert_eq!(value.get().await, [1; 3]);
                }
                let guard = value.lock().await;
                (*guard, guard.abandoned_by())
            }
        });
        let in_time = Duration::from_millis(5);
        assert!(tokio::time::timeout(in_time, value.lock()).await.is_err());
        kill(&guest);
        let told = within(waiting).await.expect("no panic");
        assert_eq!(told, ([1; 3], Some(guest.pid())));
        assert_eq!(within(value.lock()).await.abandoned_by(), None);
        assert!(
            within(holder)
                .await
                .expect_err("it was killed")
                .is_worker_lost()
        );
    }
    within(pool.shutdown()).await;
}

fn change_half_and_wait(array: Array<u64>, gate: Key) {
    let mut guard = array.blocking_lock();
    guard[..5].fill(7);
    gate.wait();
}

async fn a_killed_holder_leaves_a_half_changed_array_and_the_next_one_gets_an_error(
    method: StartMethod,
) {
    let pool = processes(method, 1);
    let array = Array::new(&[1_u64; 10]).expect("an array");
    let gate = Gate::new();
    let holder = pool.submit(change_half_and_wait, (array.clone(), gate.key()));
    let guest = gate.guest().await;
    let waiting = tokio::task::spawn_blocking({
        let array = array.clone();
        move || {
            assert_eq!(array.blocking_get(9), Some(1)); // A read of one value does not report it.
            let guard = array.blocking_lock();
            (guard.to_vec(), guard.abandoned_by())
        }
    });
    kill(&guest);
    let told = within(waiting).await.expect("no panic");
    let half = [7, 7, 7, 7, 7, 1, 1, 1, 1, 1];
    assert_eq!(told, (half.to_vec(), Some(guest.pid())));
    assert_eq!(within(array.lock()).await.abandoned_by(), None);
    assert!(within(holder).await.is_err());
    within(pool.shutdown()).await;
}

/// Large enough that many kills happen during a write.
const LARGE: usize = 4096;

/// An endless task: puts one value after another, each filled with one number.
fn put_without_end(value: Value<[u64; LARGE]>, started: Key) {
    started.wait();
    for number in 0.. {
        value.blocking_set([number; LARGE]);
    }
}

#[tokio::test]
async fn kills_at_any_point_leave_the_old_value_or_the_new_one() {
    let pool = processes(StartMethod::default(), 2);
    let value = Value::new([0; LARGE]).expect("a value");
    for round in 0..30 {
        let gate = Gate::new();
        let writers = [(); 2].map(|()| pool.submit(put_without_end, (value.clone(), gate.key())));
        for _ in &writers {
            gate.guest().await.let_in().await;
        }
        for _ in 0..round {
            let seen = within(value.get()).await;
            assert!(seen.iter().all(|number| *number == seen[0]));
        }
        writers.iter().for_each(|writer| writer.abort());
        let seen = within(value.get()).await;
        assert!(seen.iter().all(|number| *number == seen[0]));
        for writer in writers {
            assert!(within(writer).await.expect_err("aborted").is_cancelled());
        }
    }
    within(pool.shutdown()).await;
    let seen = value.try_lock().expect("none is left");
    assert!(seen.iter().all(|number| *number == seen[0]));
}

#[test]
fn a_panic_leaves_a_value_as_it_was() {
    let value = Value::new(1).expect("a value");
    let panicked = catch_unwind(AssertUnwindSafe(|| {
        let mut guard = value.blocking_lock();
        *guard = 2;
        panic!("in the middle of it");
    }));
    assert!(panicked.is_err());
    assert_eq!(value.blocking_get(), 1);
    let panicked = catch_unwind(AssertUnwindSafe(|| {
        value.blocking_with(|value| {
            *value = 3;
            panic!("in the middle of it");
        });
    }));
    assert!(panicked.is_err());
    assert_eq!(value.blocking_get(), 1);

    struct Sets<'a>(&'a Value<i32>);

    impl Drop for Sets<'_> {
        fn drop(&mut self) {
            *self.0.blocking_lock() = 4;
        }
    }

    let panicked = catch_unwind(AssertUnwindSafe(|| {
        let _sets = Sets(&value);
        panic!("what is done by a drop is done");
    }));
    assert!(panicked.is_err());
    assert_eq!(value.blocking_get(), 4);
}

/// In a runtime of one thread: a waiter that blocked it would wait forever.
#[tokio::test]
async fn waiting_for_a_lock_blocks_no_other_task() {
    let pool = processes(StartMethod::default(), 1);
    let value = Value::new([1_u64; 3]).expect("a value");
    let gate = Gate::new();
    let holder = pool.submit(change_and_wait, (value.clone(), gate.key()));
    let guest = gate.guest().await;
    let waiting = value.lock();
    let (guard, ()) = within(futures::future::join(waiting, guest.let_in())).await;
    assert_eq!((*guard, guard.abandoned_by()), ([7; 3], None));
    drop(guard);
    within(holder).await.expect("it was let in");
    within(pool.shutdown()).await;
}

#[derive(Clone, Copy, Debug, PartialEq, Zeroable, Pod)]
#[repr(C)]
struct Sample {
    at: u32,
    name: [u8; 33],
    of: [u8; 3],
}

/// There is no gap between two of them, and each begins on a page.
#[derive(Clone, Copy, Zeroable, Pod)]
#[repr(C, align(4096))]
struct Page([u64; 512]);

#[test]
fn values_lie_where_they_have_to_whatever_their_type() {
    fn check<T: Pod + PartialEq + std::fmt::Debug>(values: &[T]) {
        let array = Array::new(values).expect("an array");
        assert_eq!(array.blocking_lock()[..], *values);
        assert_eq!(
            (array.len(), array.is_empty()),
            (values.len(), values.is_empty())
        );
        for (index, expected) in values.iter().enumerate() {
            assert_eq!(array.blocking_get(index).as_ref(), Some(expected));
            let value = Value::new(*expected).expect("a value");
            assert_eq!(value.blocking_get(), *expected);
            value.blocking_set(T::zeroed());
            assert_eq!(value.blocking_get(), T::zeroed());
        }
        assert_eq!(array.blocking_get(values.len()), None);
    }

    check::<u8>(&[1, 2, 3]);
    check::<u8>(&[]);
    check::<()>(&[(); 5]);
    check::<[u8; 100]>(&[[7; 100], [8; 100]]);
    check::<[[u16; 37]; 33]>(&[[[7; 37]; 33]; 2]);
    check::<Sample>(
        &[Sample {
            at: 1,
            name: [b'x'; 33],
            of: [7; 3],
        }; 3],
    );
    check::<[u8; 3]>(&[[1, 2, 3], [4, 5, 6]]);
    check::<i128>(&[i128::MIN, 0, i128::MAX]);
    check::<f32>(&[f32::MIN, f32::MAX]);
    let pages = Array::<Page>::zeroed(3).expect("an array");
    let mut guard = pages.blocking_lock();
    assert!((&raw const guard[0]).is_aligned());
    guard[2].0[511] = 7;
    drop(guard);
    let last = pages.blocking_get(2).expect("there are three");
    assert_eq!((last.0[510], last.0[511]), (0, 7));
    let page = Value::new(last).expect("a value");
    assert_eq!(page.blocking_get().0, last.0);
}

#[tokio::test]
async fn a_large_array_is_shared_and_not_copied() {
    const LEN: usize = 16 << 20; // 128 MiB.
    fn mark(array: Array<u64>) {
        array.blocking_set(LEN - 1, 7);
    }

    let pool = processes(StartMethod::default(), 1);
    let array = Array::<u64>::zeroed(LEN).expect("an array");
    for _ in 0..10 {
        within(pool.submit(mark, array.clone()))
            .await
            .expect("it ran");
        let mut guard = within(array.lock()).await;
        assert_eq!((guard[0], guard[LEN - 1]), (0, 7));
        guard[LEN - 1] = 0;
    }
    within(pool.shutdown()).await;
}

#[test]
fn an_array_that_there_is_no_room_for_is_an_error_at_creation() {
    for len in [1 << 47, usize::MAX / 8, usize::MAX] {
        let error = Array::<u64>::zeroed(len).expect_err("more than any has");
        assert_eq!(error.kind(), ErrorKind::OutOfMemory, "{error}");
    }
}

#[test]
fn an_index_beyond_the_end_is_a_panic_and_gives_the_lock_back() {
    let array = Array::new(&[1, 2]).expect("an array");
    let beyond = catch_unwind(AssertUnwindSafe(|| array.blocking_set(2, 7)));
    assert!(beyond.is_err());
    assert_eq!(array.try_lock().expect("it is free")[..], [1, 2]);
}

#[test]
fn sent_anywhere_else_they_are_a_clear_error() {
    let value = Value::new(1).expect("a value");
    let array = Array::new(&[1]).expect("an array");
    let number = AtomicU64::new(1).expect("a number");
    for error in [
        rmp_serde::to_vec(&number).expect_err("MessagePack carries no numbers of processes"),
        rmp_serde::to_vec(&value).expect_err("MessagePack carries no values"),
        rmp_serde::to_vec(&array).expect_err("MessagePack carries no arrays"),
    ] {
        assert!(error.to_string().contains("argument of a task"), "{error}");
    }
}

/// A process with the descriptor cannot shorten the memory, and every process that has the object has the
/// descriptor.
#[test]
fn no_process_can_shorten_the_memory() {
    alone("no_process_can_shorten_the_memory", || async {
        let array = Array::new(&[1_u64; 1000]).expect("an array");
        let memory = descriptors();
        let memory = memory
            .iter()
            .filter(|(_, file)| file.to_string_lossy().contains("memfd"));
        let memory: Vec<_> = memory.collect();
        assert_eq!(memory.len(), 1, "{memory:?}");
        let file = fs::OpenOptions::new()
            .write(true)
            .open(format!("/proc/self/fd/{}", memory[0].0));
        let error = file
            .expect("it is ours")
            .set_len(0)
            .expect_err("it is sealed");
        assert_eq!(error.kind(), ErrorKind::PermissionDenied, "{error}");
        assert_eq!(array.lock().await[999], 1);
    });
}

#[test]
fn no_descriptor_and_no_mapping_is_left() {
    alone("no_descriptor_and_no_mapping_is_left", || async {
        let mappings = || {
            let maps = fs::read_to_string("/proc/self/maps").expect("/proc");
            maps.lines()
                .filter(|line| line.contains("memfd:concurrent-futures"))
                .count()
        };
        let round = async || {
            let pool = processes(StartMethod::default(), 2);
            let value = Value::new([1_u64; 3]).expect("a value");
            let array = Array::<u64>::zeroed(10).expect("an array");
            let gate = Gate::new();
            let one = pool.submit(change_and_wait, (value.clone(), gate.key()));
            let killed = gate.guest().await;
            let other = pool.submit(change_half_and_wait, (array.clone(), gate.key()));
            let let_in = gate.guest().await;
            {
                let mut waiting = std::pin::pin!(array.lock());
                assert!(futures::poll!(waiting.as_mut()).is_pending());
            }
            kill(&killed);
            assert_eq!(
                within(value.lock()).await.abandoned_by(),
                Some(killed.pid())
            );
            let_in.let_in().await;
            assert!(within(one).await.is_err());
            within(other).await.expect("it was let in");
            within(pool.shutdown()).await;
        };
        round().await;
        let is_over = || children().is_empty() && mappings() == 0;
        eventually(is_over).await;
        let before = descriptors().len(); // Some descriptors may be about to close.
        for _ in 0..5 {
            round().await;
        }
        eventually(|| is_over() && descriptors().len() <= before).await;
    });
}
