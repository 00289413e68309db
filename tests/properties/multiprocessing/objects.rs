//! Another holder of an object writes anything into its memory. Whatever it has written, each method that does not wait
//! returns a result or an error, without a panic and without much memory.

use std::time::Duration;

use proptest::prelude::*;
use proptest::strategy::LazyJust;
use proptest::test_runner::TestRunner;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::*;
use crate::common::{cases, memory_of};
use crate::sys::{self, ProcessIdentity, SharedMapping};
use crate::wire::descriptors::{Descriptor, gather, supply};
use crate::wire::{Chain, Reader, codec};

/// The most memory of a case: a list of the holders that all places may name.
const MOST_MEMORY: usize = 8 << 20;

/// An object, encoded, with its descriptors.
fn encoded<T: Serialize + 'static>(object: T) -> (Reader, Vec<Descriptor>) {
    let (mut out, mut beside) = (Chain::new(), Vec::new());
    gather(&mut beside, || codec::put(object, &mut out)).expect("it can be sent");
    (Reader::from(out.into_bytes().to_vec()), beside)
}

/// The same object, as another process receives it, if it is valid.
fn received<T: Clone + Serialize + DeserializeOwned + 'static>(object: &T) -> Option<T> {
    let (mut bytes, mut beside) = encoded(object.clone());
    supply(&mut beside, || codec::get(&mut bytes)).ok()
}

/// An object, as a hostile process and an honest one see it.
struct Shared {
    /// With the number of its words.
    memory: Vec<(SharedMapping, usize)>,
    /// Calls one of several methods that do not wait.
    act: Box<dyn Fn(usize)>,
}

impl Shared {
    fn new<T>(object: T, act: impl Fn(&T, usize) + 'static) -> Self
    where
        T: Clone + Serialize + DeserializeOwned + 'static,
    {
        let (_, beside) = encoded(object.clone());
        let memory = beside.iter().filter_map(|descriptor| {
            let len = usize::try_from(sys::file_len(descriptor).ok()?).ok()?;
            let mapped = SharedMapping::open(descriptor, len)
                .or_else(|_| SharedMapping::window(descriptor, 0, len));
            Some((mapped.ok()?, len / 8))
        });
        Self {
            memory: memory.collect(),
            act: Box::new(move |which| match which % 5 {
                0 => drop(received(&object)),
                _ => act(&object, which / 5),
            }),
        }
    }
}

const AT_ONCE: Duration = Duration::ZERO;
const KINDS: usize = 11;

fn shared(kind: usize) -> Shared {
    match kind {
        0 => Shared::new(Lock::new().expect("memory"), |lock, which| {
            match which % 2 {
                0 => drop(lock.try_lock()),
                _ => drop(lock.blocking_lock_timeout(AT_ONCE)),
            }
        }),
        1 => Shared::new(RLock::new().expect("memory"), |lock, which| {
            match which % 2 {
                0 => drop(lock.try_lock()),
                _ => drop(lock.blocking_lock_timeout(AT_ONCE)),
            }
        }),
        2 => Shared::new(
            Semaphore::new(3).expect("memory"),
            |semaphore, which| match which % 6 {
                0 => drop(semaphore.try_acquire()),
                4 => drop(semaphore.try_acquire_many(2)),
                5 => drop(semaphore.blocking_acquire_many_timeout(2, AT_ONCE)),
                1 => drop(semaphore.blocking_acquire_timeout(AT_ONCE)),
                2 => drop(semaphore.add_permits(2)),
                _ => drop(semaphore.available_permits()),
            },
        ),
        3 => Shared::new(
            BoundedSemaphore::new(3).expect("memory"),
            |semaphore, which| match which % 3 {
                0 => drop(semaphore.try_acquire()),
                1 => drop(semaphore.add_permits(2)),
                _ => drop(semaphore.available_permits()),
            },
        ),
        4 => Shared::new(
            JoinableQueue::bounded(4).expect("memory"),
            |queue: &JoinableQueue<u64>, which| match which % 4 {
                0 => drop(queue.try_put(7)),
                1 => drop(queue.try_get()),
                2 => drop(queue.unfinished()),
                _ => drop(queue.blocking_join_timeout(AT_ONCE)),
            },
        ),
        5 => Shared::new(Condition::new().expect("memory"), |condition, _| {
            drop(format!("{condition:?}"));
        }),
        6 => Shared::new(Barrier::new(3).expect("memory"), |barrier, which| {
            match which % 3 {
                0 => drop(barrier.parties()),
                1 => drop(barrier.waiting()),
                _ => drop(barrier.is_broken()),
            }
        }),
        7 => Shared::new(
            Value::new([1_u64; 5]).expect("memory"),
            |value, which| match which % 2 {
                0 => drop(value.try_lock().map(|mut value| value[3] = 1)),
                _ => drop(value.blocking_lock_timeout(AT_ONCE).map(|value| value[4])),
            },
        ),
        8 => Shared::new(
            Array::new(&[1_u16; 999]).expect("memory"),
            |array, which| match which % 3 {
                0 => drop(array.try_lock().map(|mut values| values.fill(7))),
                1 => drop(
                    array
                        .blocking_lock_timeout(AT_ONCE)
                        .map(|values| values[998]),
                ),
                _ => assert_eq!(array.len(), 999),
            },
        ),
        9 => Shared::new(RwLock::new().expect("memory"), |lock, which| {
            match which % 6 {
                0 => drop(lock.try_read()),
                1 => drop(lock.blocking_read_timeout(AT_ONCE)),
                2 => drop(lock.try_write()),
                3 => drop(lock.blocking_write_timeout(AT_ONCE)),
                4 => drop(lock.try_write().map(RwLockWriteGuard::downgrade)),
                _ => drop(format!("{lock:?}")),
            }
        }),
        _ => Shared::new(
            Queue::unbounded().expect("memory"),
            |queue: &Queue<Vec<u8>>, which| match which % 4 {
                0 => drop(queue.try_put(vec![1; 77])),
                1 => drop(queue.try_get()),
                2 => drop(queue.len()),
                _ => drop(queue.blocking_get_timeout(AT_ONCE)),
            },
        ),
    }
}

#[derive(Clone, Debug)]
enum Step {
    Acts(usize),
    Forges {
        memory: usize,
        place: usize,
        word: u64,
    },
}

fn step() -> impl Strategy<Value = Step> {
    let place = prop_oneof![4 => 0_usize..16, 2 => 0_usize..128, 1 => any::<usize>()];
    let word = prop_oneof![
        3 => 0_u64..100,
        1 => any::<u64>(),
        1 => any::<u32>().prop_map(u64::from),
        1 => LazyJust::new(|| ProcessIdentity::own().to_word()),
        1 => (0_u32..9).prop_map(|bits| u64::MAX << bits),
        1 => (0_u32..64).prop_map(|bit| 1 << bit),
    ];
    prop_oneof![
        3 => any::<usize>().prop_map(Step::Acts),
        2 => (0_usize..3, place, word)
            .prop_map(|(memory, place, word)| Step::Forges { memory, place, word }),
    ]
}

#[test]
fn whatever_is_in_the_memory_of_an_object_what_does_not_wait_returns() {
    let mut runner = TestRunner::new(cases(5000));
    let input = (0..KINDS, prop::collection::vec(step(), 0..16));
    let tried = runner.run(&input, |(kind, steps)| {
        let ((), memory) = memory_of(|| {
            let shared = shared(kind);
            assert!(!shared.memory.is_empty(), "it has memory");
            for step in steps {
                match step {
                    Step::Acts(which) => (shared.act)(which),
                    Step::Forges {
                        memory,
                        place,
                        word,
                    } => {
                        let (memory, words) = &shared.memory[memory % shared.memory.len()];
                        memory
                            .word(place % words * 8)
                            .store(word, atomic::Ordering::SeqCst);
                    }
                }
            }
        });
        prop_assert!(memory <= MOST_MEMORY, "{} bytes", memory);
        Ok(())
    });
    tried.unwrap_or_else(|failure| panic!("{failure}"));
}
