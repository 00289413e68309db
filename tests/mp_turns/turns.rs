//! No task or thread gets more than a few turns ahead of another.

use std::cell::RefCell;
use std::pin::pin;
use std::rc::Rc;
use std::sync::{Arc, Mutex};

use concurrent_futures::multiprocessing::{
    Array, Barrier, BoundedSemaphore, Condition, JoinableQueue, Lock, Queue, RLock, Semaphore,
    Value,
};
use concurrent_futures::{ExecutorExt as _, ProcessPoolExecutor};
use futures::poll;
use tokio::task::{JoinSet, LocalSet, yield_now};

use super::common::within;
use super::current_thread;

const TASKS: usize = 5;
const TURNS: usize = 60;

/// How many turns one may be ahead: a task may return before another one has arrived for the first time.
const AHEAD: usize = 2;

/// Counts the turns of each task.
#[derive(Clone, Default)]
struct Turns(Rc<RefCell<[usize; TASKS]>>);

impl Turns {
    fn count(&self, who: usize) {
        let mut turns = self.0.borrow_mut();
        turns[who] += 1;
        let (least, most) = (turns.iter().min(), turns.iter().max());
        let ahead = most.expect("some") - least.expect("some");
        assert!(ahead <= AHEAD, "{turns:?}");
    }
}

/// Each task takes the object again and again, and keeps it while the others run.
macro_rules! take_turns {
    ($object:expr, $take:ident) => {
        current_thread().block_on(LocalSet::new().run_until(within(async {
            let (object, turns) = ($object, Turns::default());
            let mut tasks = JoinSet::new();
            for who in 0..TASKS {
                let (object, turns) = (object.clone(), turns.clone());
                tasks.spawn_local(async move {
                    for _ in 0..TURNS {
                        let _kept = object.$take().await;
                        turns.count(who);
                        yield_now().await;
                        yield_now().await;
                    }
                });
            }
            tasks.join_all().await;
        })));
    };
}

#[test]
fn tasks_that_want_one_lock_take_turns() {
    take_turns!(Lock::new().expect("a lock"), lock);
    take_turns!(RLock::new().expect("a lock"), lock);
    take_turns!(Condition::new().expect("a condition"), lock);
}

#[test]
fn tasks_that_want_one_permit_take_turns() {
    take_turns!(Semaphore::new(1).expect("a permit"), acquire);
    take_turns!(BoundedSemaphore::new(1).expect("a permit"), acquire);
}

#[test]
fn tasks_that_want_one_value_take_turns() {
    take_turns!(Value::new(0_u64).expect("a value"), lock);
    take_turns!(Array::<u64>::zeroed(4).expect("an array"), lock);
}

#[test]
fn tasks_that_wait_for_items_take_turns_and_so_do_those_that_wait_for_room() {
    current_thread().block_on(LocalSet::new().run_until(within(async {
        let queue = Queue::bounded(1).expect("a queue");
        let (gets, puts) = (Turns::default(), Turns::default());
        let mut tasks = JoinSet::new();
        for who in 0..TASKS {
            let (putter, puts) = (queue.clone(), puts.clone());
            tasks.spawn_local(async move {
                for turn in 0..TURNS {
                    putter.put((who, turn)).await.expect("there comes room");
                    puts.count(who);
                }
            });
            let (getter, gets) = (queue.clone(), gets.clone());
            tasks.spawn_local(async move {
                for _ in 0..TURNS {
                    getter.get().await.expect("an item comes");
                    gets.count(who);
                }
            });
        }
        tasks.join_all().await;
    })));
}

#[tokio::test]
async fn one_that_waits_for_a_condition_gets_the_lock_though_others_take_it_all_the_time() {
    let condition = Condition::new().expect("a condition");
    let reached = Arc::new(Mutex::new(0));
    let mut others = JoinSet::new();
    for _ in 0..3 {
        let (condition, reached) = (condition.clone(), reached.clone());
        others.spawn(async move {
            loop {
                let guard = condition.lock().await;
                condition.notify_all(&guard);
                *reached.lock().expect("no panic") += 1;
                yield_now().await;
            }
        });
    }
    let guard = condition.lock().await;
    let waits = condition.wait_for(guard, || *reached.lock().expect("no panic") >= 50);
    drop(within(waits).await);
    assert!(*reached.lock().expect("no panic") < 70);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_that_wait_for_the_end_of_the_items_return_when_the_last_is_done() {
    let queue = JoinableQueue::<u8>::unbounded().expect("a queue");
    for round in 0..20 {
        queue.put(round).await.expect("there is room");
        let mut joins = JoinSet::new();
        for _ in 0..50 {
            let queue = queue.clone();
            joins.spawn(async move { queue.join().await });
        }
        for _ in 0..round {
            yield_now().await;
        }
        queue.get().await.expect("it is there");
        queue.task_done().await.expect("one was taken");
        assert_eq!(within(joins.join_all()).await, [0; 50]);
    }
}

#[test]
fn threads_that_want_one_lock_take_turns() {
    const THREADS: usize = 4;
    let lock = Lock::new().expect("a lock");
    let turns = Mutex::new([0_usize; THREADS]);
    std::thread::scope(|scope| {
        for who in 0..THREADS {
            let (lock, turns) = (&lock, &turns);
            scope.spawn(move || {
                // Until all others have taken some turns: a thread that starves would run for ever.
                loop {
                    let _kept = lock.blocking_lock();
                    let mut turns = turns.lock().expect("no panic");
                    turns[who] += 1;
                    assert!(turns[who] < 1_000_000, "{turns:?}");
                    if turns.iter().all(|turns| *turns >= 50) {
                        return;
                    }
                    drop(turns);
                    std::thread::yield_now();
                }
            });
        }
    });
}

/// Takes the object until all threads have taken some turns.
fn take(turns: Array<u64>, who: usize, start: Barrier) -> Vec<u64> {
    start.blocking_wait().expect("all arrive");
    loop {
        let mut kept = turns.blocking_lock();
        kept[who] += 1;
        if kept.iter().all(|turns| *turns >= 20) || kept[who] > 100_000 {
            return kept.to_vec();
        }
        std::thread::yield_now();
    }
}

#[tokio::test]
async fn processes_that_want_one_lock_all_have_their_turns() {
    const PROCESSES: usize = 4;
    let pool = ProcessPoolExecutor::with_workers(PROCESSES).expect("the settings are valid");
    let turns = Array::zeroed(PROCESSES).expect("an array");
    let start = Barrier::new(PROCESSES).expect("a barrier");
    let calls: Vec<_> = (0..PROCESSES)
        .map(|who| pool.submit(take, (turns.clone(), who, start.clone())))
        .collect();
    for call in calls {
        let turns = within(call).await.expect("it ends");
        eprintln!("{turns:?}");
        assert!(turns.iter().all(|turns| *turns >= 20), "{turns:?}");
    }
    within(pool.shutdown()).await;
}

/// A task waits. Then the object becomes free, and before the task runs again, another task wants the object.
macro_rules! newcomer_is_second {
    ($take:expr, $come:expr) => {{
        let (mut first, mut newcomer) = (pin!($take), pin!($take));
        assert!(poll!(first.as_mut()).is_pending());
        $come;
        assert!(poll!(newcomer.as_mut()).is_pending(), "it overtakes");
        let found = within(first).await;
        assert!(poll!(newcomer.as_mut()).is_pending());
        drop(found);
    }};
}

#[tokio::test]
async fn a_newcomer_stands_behind_those_who_wait_though_it_could_take_it_at_once() {
    let lock = Lock::new().expect("a lock");
    let held = lock.lock().await;
    newcomer_is_second!(lock.lock(), drop(held));

    let semaphore = Semaphore::new(1).expect("a semaphore");
    let held = semaphore.acquire().await;
    newcomer_is_second!(semaphore.acquire(), drop(held));

    let value = Value::new(0_u64).expect("a value");
    let held = value.lock().await;
    newcomer_is_second!(value.lock(), drop(held));

    let queue = Queue::bounded(1).expect("a queue");
    let put = || queue.try_put(1).expect("there is room");
    newcomer_is_second!(queue.get(), put());

    put();
    let get = || queue.try_get().expect("there is an item");
    newcomer_is_second!(queue.put(2), get());
}

#[test]
fn a_task_that_owns_a_reentrant_lock_takes_it_again_though_others_wait() {
    current_thread().block_on(LocalSet::new().run_until(within(async {
        let lock = RLock::new().expect("a lock");
        let outer = lock.lock().await;
        let other = tokio::task::spawn_local({
            let lock = lock.clone();
            async move { drop(lock.lock().await) }
        });
        yield_now().await;
        let inner = lock.lock().await;
        drop((outer, inner));
        other.await.expect("no panic");
    })));
}
