//! Locks, conditions, events, queues and timers between tasks: what holds in every order of polls, and
//! wherever a waiting task is dropped.

#![cfg(feature = "sync")]

mod barriers;
mod blocking;
mod budget;
#[path = "../common/explore.rs"]
mod explore;
mod queues;
mod timeouts;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use concurrent_futures::sync::{
    Barrier, Condition, Event, Lock, LockGuard, Queue, RLock, Semaphore, Timer,
};
use explore::{Ending, Fate, Scene, explore, pause};
use tokio::time::{Instant, sleep, timeout};

/// How many tasks are inside, which is at most one.
#[derive(Debug, Default)]
struct Inside(AtomicUsize);

impl Inside {
    fn enter(&self) -> impl Drop + '_ {
        assert_eq!(self.0.fetch_add(1, Ordering::SeqCst), 0, "two are inside");
        Leave(self)
    }
}

struct Leave<'a>(&'a Inside);

impl Drop for Leave<'_> {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::SeqCst);
    }
}

#[track_caller]
fn none_waits_and_none_panicked(ending: &Ending) {
    assert!(ending.waiting().is_empty(), "an actor waits forever");
    assert!(ending.panics().is_empty(), "an actor panicked");
}

#[test]
fn a_lock_has_one_owner_at_a_time_and_is_free_when_all_have_ended() {
    async fn add(lock: Arc<Lock<u32>>, inside: Arc<Inside>) {
        let mut count = lock.lock().await;
        let _inside = inside.enter();
        let read = *count;
        pause().await;
        *count = read + 1;
    }

    let runs = explore(|| {
        let (lock, inside) = <(Arc<Lock<u32>>, Arc<Inside>)>::default();
        let body = || add(lock.clone(), inside.clone());
        let scene = Scene::new().actor("a", body());
        let scene = scene.mortal("b", body()).mortal("c", body());
        scene.check(move |ending| {
            none_waits_and_none_panicked(ending);
            let done = ["a", "b", "c"].map(|name| *ending.fate(name) == Fate::Done);
            let done = done.into_iter().filter(|done| *done).count();
            let count = lock.try_lock().expect("it is free");
            assert_eq!(*count as usize, done);
        })
    });
    assert!(runs > 200, "{runs}");
}

#[test]
fn a_guard_that_went_to_another_task_keeps_the_lock_until_it_is_dropped() {
    explore(|| {
        let lock = Arc::new(Lock::new(()));
        let inside = Arc::new(Inside::default());
        let (send, receive) = tokio::sync::oneshot::channel();
        let giver = {
            let lock = lock.clone();
            let inside = inside.clone();
            async move {
                drop(send.send(lock.lock_owned().await)); // Drops the guard if the taker has ended.
                let _guard = lock.lock().await;
                let _inside = inside.enter();
                pause().await;
            }
        };
        let taker = {
            let inside = inside.clone();
            async move {
                let _guard = receive.await.expect("a guard");
                let _inside = inside.enter();
                pause().await;
            }
        };
        let scene = Scene::new().actor("giver", giver).mortal("taker", taker);
        scene.check(move |ending| {
            none_waits_and_none_panicked(ending);
            assert!(lock.try_lock_owned().is_ok());
        })
    });
}

#[test]
fn an_rlock_has_one_owner_at_a_time_which_may_take_it_again() {
    async fn outer(lock: Arc<RLock<()>>, inside: Arc<Inside>) {
        let _guard = lock.lock().await;
        let _inside = inside.enter();
        pause().await;
        inner(&lock).await;
        pause().await;
    }

    async fn inner(lock: &RLock<()>) {
        let guard = lock.lock().await;
        let again = lock.try_lock().expect("it is ours");
        drop(guard);
        pause().await;
        drop(again);
    }

    let runs = explore(|| {
        let (lock, inside) = <(Arc<RLock<()>>, Arc<Inside>)>::default();
        let body = || outer(lock.clone(), inside.clone());
        let scene = Scene::new().actor("a", body());
        let scene = scene.mortal("b", body()).mortal("c", body());
        scene.check(move |ending| {
            none_waits_and_none_panicked(ending);
            assert!(lock.try_lock().is_ok());
        })
    });
    assert!(runs > 2000, "{runs}");
}

#[test]
fn an_rlock_is_held_until_its_last_guard_is_dropped_in_any_task() {
    static KEPT: RLock<()> = RLock::new(());

    explore(|| {
        let inside = Arc::new(Inside::default());
        let (send, receive) = tokio::sync::oneshot::channel();
        let giver = async move {
            let _first = KEPT.lock().await;
            assert!(send.send(KEPT.lock().await).is_ok());
            pause().await;
        };
        let taker = {
            let inside = inside.clone();
            async move {
                let guard = receive.await.expect("a guard");
                pause().await;
                drop(guard);
                let _guard = KEPT.lock().await;
                let _inside = inside.enter();
            }
        };
        let scene = Scene::new().actor("giver", giver).actor("taker", taker);
        scene.check(move |ending| {
            none_waits_and_none_panicked(ending);
            assert!(KEPT.try_lock().is_ok());
        })
    });
}

/// Each waiter takes a token, and each producer of a token notifies one waiter. If a notified waiter is dropped,
/// another waiter must not miss the notification.
#[test]
fn a_notification_is_not_lost_by_a_waiter_that_goes_away() {
    async fn take(tokens: Arc<(Lock<u32>, Condition)>) {
        let (tokens, brought) = &*tokens;
        let mut tokens = brought
            .wait_for(tokens.lock().await, |tokens| *tokens > 0)
            .await;
        *tokens -= 1;
    }

    async fn bring(tokens: Arc<(Lock<u32>, Condition)>) {
        let (tokens, brought) = &*tokens;
        let mut tokens = tokens.lock().await;
        *tokens += 1;
        brought.notify_one();
        pause().await; // The notified task must wait for the lock.
    }

    let runs = explore(|| {
        let tokens = Arc::new((Lock::new(0), Condition::new()));
        let scene = Scene::new()
            .mortal("first", take(tokens.clone()))
            .mortal("second", take(tokens.clone()))
            .actor("brings", bring(tokens.clone()))
            .actor("brings, too", bring(tokens.clone()));
        scene.check(move |ending| {
            assert!(ending.panics().is_empty());
            let left = *tokens.0.try_lock().expect("it is free");
            assert!(
                left == 0 || ending.waiting().is_empty(),
                "a token lies there"
            );
        })
    });
    assert!(runs > 5000, "{runs}");
}

#[test]
fn all_who_wait_are_woken_by_one_notification_of_all() {
    let runs = explore(|| {
        let shared = Arc::new((Lock::new(false), Condition::new()));
        let wait = |shared: Arc<(Lock<bool>, Condition)>| async move {
            let (is_open, changed) = &*shared;
            let is_open = is_open.lock().await;
            drop(changed.wait_for(is_open, |is_open| *is_open).await);
        };
        let open = |shared: Arc<(Lock<bool>, Condition)>| async move {
            let (is_open, changed) = &*shared;
            let mut is_open = is_open.lock().await;
            *is_open = true;
            changed.notify_all();
            pause().await;
        };
        let scene = Scene::new()
            .actor("first", wait(shared.clone()))
            .mortal("second", wait(shared.clone()))
            .actor("opener", open(shared.clone()));
        scene.check(none_waits_and_none_panicked)
    });
    assert!(runs > 100, "{runs}");
}

#[test]
fn a_notification_wakes_so_many_of_those_who_wait_and_no_one_else() {
    async fn wait(shared: Arc<(Lock<()>, Condition)>) {
        drop(shared.1.wait(shared.0.lock().await).await);
    }

    explore(|| {
        let shared = Arc::new((Lock::new(()), Condition::new()));
        shared.1.notify_all();
        shared.1.notify_one(); // Without a waiter, the notification is not kept.
        let notify = {
            let shared = shared.clone();
            async move { shared.1.notify(2) }
        };
        let scene = Scene::new()
            .actor("first", wait(shared.clone()))
            .actor("second", wait(shared.clone()))
            .actor("third", wait(shared.clone()))
            .actor("notifier", notify);
        scene.check(|ending| {
            let notified = ending.story.iter();
            let before = notified.take_while(|step| !step.contains("notifier"));
            let who_waited = before.filter(|step| step.ends_with("Waits")).count();
            let woken = 3 - ending.waiting().len();
            assert_eq!(woken, who_waited.min(2));
        })
    });
}

#[test]
fn a_wait_for_a_condition_gives_the_lock_up_and_has_it_again() {
    explore(|| {
        let shared = Arc::new((Lock::new(0), Condition::new(), Inside::default()));
        let waiter = {
            let shared = shared.clone();
            async move {
                let (lock, changed, inside) = &*shared;
                let guard = lock.lock().await;
                let guard = changed.wait(guard).await;
                let _inside = inside.enter();
                assert_eq!(*guard, 1);
                pause().await;
            }
        };
        let other = {
            let shared = shared.clone();
            async move {
                let (lock, changed, inside) = &*shared;
                let mut guard = lock.lock().await;
                {
                    let _inside = inside.enter();
                    *guard += 1;
                    changed.notify_one();
                    pause().await; // The waiter is woken, and must wait for the lock.
                }
                assert!(LockGuard::lock(&guard).try_lock().is_err());
            }
        };
        let scene = Scene::new().mortal("waiter", waiter).actor("other", other);
        scene.check(move |ending| {
            assert!(ending.panics().is_empty());
            assert_eq!(*ending.fate("other"), Fate::Done);
            assert!(shared.0.try_lock().is_ok());
        })
    });
}

#[test]
fn an_event_wakes_its_waiters_though_it_is_cleared_at_once() {
    let runs = explore(|| {
        let event = Arc::new(Event::new());
        let wait = |event: Arc<Event>| async move { event.wait().await };
        let pulse = {
            let event = event.clone();
            async move {
                event.set();
                event.clear();
            }
        };
        let scene = Scene::new()
            .actor("first", wait(event.clone()))
            .mortal("second", wait(event.clone()))
            .actor("pulse", pulse);
        scene.check(|ending| {
            for name in ["first", "second"] {
                let began = ending.story.iter().position(|step| step.contains(name));
                let pulsed = ending.story.iter().position(|step| step.contains("pulse"));
                if began < pulsed {
                    assert_ne!(*ending.fate(name), Fate::Waits, "{name} was there");
                } else {
                    assert_ne!(*ending.fate(name), Fate::Done, "{name} came later");
                }
            }
        })
    });
    assert!(runs > 20, "{runs}");
}

/// Two tasks put two items each into room for one, two tasks get them; all but one of each may be dropped.
#[test]
fn no_item_is_lost_or_received_twice_and_none_waits_beside_an_item_or_room() {
    let runs = explore(|| {
        let queue = Arc::new(Queue::bounded(1));
        let accepted = Arc::new(Mutex::new(Vec::new()));
        let got = Arc::new(Mutex::new(Vec::new()));
        let put = |items: [u32; 2]| {
            let (queue, accepted) = (queue.clone(), accepted.clone());
            async move {
                for item in items {
                    queue.put(item).await.expect("it is open");
                    accepted.lock().expect("no panic").push(item);
                }
            }
        };
        let get = |number: usize| {
            let (queue, got) = (queue.clone(), got.clone());
            async move {
                for _ in 0..number {
                    let item = queue.get().await.expect("it is open");
                    got.lock().expect("no panic").push(item);
                }
            }
        };
        let scene = Scene::new()
            .mortal("a puts", put([1, 2]))
            .actor("b puts", put([3, 4]))
            .mortal("c gets", get(1))
            .actor("d gets", get(2));
        scene.check(move |ending| {
            let waiting = ending.waiting();
            let gets = waiting.iter().any(|name| name.ends_with("gets"));
            let puts = waiting.iter().any(|name| name.ends_with("puts"));
            assert!(!gets || queue.is_empty(), "beside an item");
            assert!(!puts || queue.len() == 1, "beside room");
            let mut got = got.lock().expect("no panic").clone();
            while let Ok(item) = queue.try_get() {
                got.push(item);
            }
            for items in [[1, 2], [3, 4]] {
                let order: Vec<&u32> = got.iter().filter(|item| items.contains(item)).collect();
                assert!(order.is_sorted(), "{order:?}");
            }
            got.sort_unstable();
            let mut accepted = accepted.lock().expect("no panic").clone();
            accepted.sort_unstable();
            assert_eq!(got, accepted);
        })
    });
    assert!(runs > 1000, "{runs}");
}

#[test]
fn a_closed_queue_lets_all_end_and_what_is_in_it_be_got() {
    let runs = explore(|| {
        let queue = Arc::new(Queue::bounded(1));
        let left = Arc::new(Mutex::new((0, 0)));
        let put = {
            let (queue, left) = (queue.clone(), left.clone());
            async move {
                for () in [(); 2] {
                    if queue.put(()).await.is_ok() {
                        left.lock().expect("no panic").0 += 1;
                    }
                }
            }
        };
        let get = || {
            let (queue, left) = (queue.clone(), left.clone());
            async move {
                while let Some(()) = queue.get().await {
                    left.lock().expect("no panic").1 += 1;
                }
            }
        };
        let close = {
            let queue = queue.clone();
            async move {
                pause().await;
                queue.close();
            }
        };
        let scene = Scene::new()
            .actor("puts", put)
            .actor("gets", get())
            .mortal("gets, too", get())
            .actor("closes", close);
        scene.check(move |ending| {
            none_waits_and_none_panicked(ending);
            assert!(queue.is_empty() && queue.is_closed());
            let (put, got) = *left.lock().expect("no panic");
            assert_eq!(put, got);
            let error = queue.try_get().expect_err("it is empty");
            assert!(error.is_closed() && !error.is_empty());
        })
    });
    assert!(runs > 1000, "{runs}");
}

#[test]
fn a_join_of_a_queue_returns_when_all_items_are_done() {
    explore(|| {
        let queue = Arc::new(Queue::new());
        let done = Arc::new(AtomicUsize::new(0));
        (0..2)
            .try_for_each(|item| queue.try_put(item))
            .expect("room");
        let work = || {
            let (queue, done) = (queue.clone(), done.clone());
            async move {
                queue.get().await;
                pause().await;
                done.fetch_add(1, Ordering::SeqCst);
                queue.task_done();
            }
        };
        let join = || {
            let (queue, done) = (queue.clone(), done.clone());
            async move {
                queue.join().await;
                assert_eq!(done.load(Ordering::SeqCst), 2);
            }
        };
        let scene = Scene::new()
            .actor("works", work())
            .actor("works, too", work())
            .actor("joins", join())
            .mortal("joins, too", join());
        scene.check(none_waits_and_none_panicked)
    });
}

#[test]
#[should_panic(expected = "`task_done` was called more often than items were put")]
fn an_item_that_was_not_put_is_not_done() {
    Queue::<u8>::new().task_done();
}

#[test]
#[should_panic(expected = "the capacity of a queue is 0")]
fn a_queue_without_room_is_refused() {
    drop(Queue::<u8>::bounded(0));
}

#[tokio::test(start_paused = true)]
async fn a_timer_runs_after_its_delay_and_not_before() {
    let start = Instant::now();
    let timer = Timer::start(Duration::from_secs(3), async { Instant::now() });
    assert!(!timer.is_finished());
    let ran = timer.join().await.expect("no panic").expect("it ran");
    assert!(ran - start >= Duration::from_secs(3), "{:?}", ran - start);
    assert!(ran - start < Duration::from_secs(4), "{:?}", ran - start);
}

#[tokio::test(start_paused = true)]
async fn a_cancelled_timer_never_runs_and_lets_go_of_what_it_has() {
    let (has, gone) = tokio::sync::oneshot::channel::<()>();
    let timer = Timer::start(Duration::from_secs(3), async { drop(has) });
    sleep(Duration::from_secs(1)).await;
    assert!(timer.cancel());
    gone.await.expect_err("it is dropped at once");
    assert!(!timer.cancel());
    assert_eq!(timer.join().await.expect("no panic"), None);
}

#[tokio::test(start_paused = true)]
async fn a_timer_that_has_started_is_not_cancelled() {
    let (begun, begins) = tokio::sync::oneshot::channel();
    let (resume, resumed) = tokio::sync::oneshot::channel();
    let timer = Timer::start(Duration::from_secs(3), async {
        begun.send(()).expect("the test waits");
        resumed.await.expect("the test says so")
    });
    begins.await.expect("it begins");
    assert!(!timer.cancel());
    resume.send(5).expect("it waits");
    assert_eq!(timer.join().await.expect("no panic"), Some(5));
}

#[tokio::test(start_paused = true)]
async fn a_dropped_timer_runs_all_the_same_and_one_of_a_far_future_waits() {
    let (ran, runs) = tokio::sync::oneshot::channel();
    let run = async { ran.send(()).expect("the test waits") };
    drop(Timer::start(Duration::from_secs(3), run));
    let never = Timer::start(Duration::MAX, async {});
    runs.await.expect("it runs");
    assert!(!never.is_finished() && never.cancel());
    let panics = Timer::start(Duration::ZERO, async { panic!("on purpose") });
    assert!(panics.join().await.expect_err("it panics").is_panic());
}

#[test]
fn a_timer_in_a_runtime_without_timers_fails_when_it_is_joined() {
    let runtime = tokio::runtime::Builder::new_current_thread().build();
    let joined = runtime.expect("a runtime").block_on(async {
        let timer = Timer::start(Duration::ZERO, async {});
        timer.join().await
    });
    assert!(joined.expect_err("there is no timer").is_panic());
}

/// Cancels at about the time when the timer fires, many times.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_timer_is_cancelled_or_runs_and_never_both() {
    for round in 0..500 {
        let ran = Arc::new(AtomicUsize::new(0));
        let runs = ran.clone();
        let timer = Timer::start(Duration::ZERO, async move {
            runs.fetch_add(1, Ordering::SeqCst)
        });
        (0..round % 5).for_each(|_| std::thread::yield_now());
        let is_cancelled = timer.cancel();
        let output = timer.join().await.expect("no panic");
        assert_eq!(output.is_none(), is_cancelled);
        assert_eq!(ran.load(Ordering::SeqCst), usize::from(!is_cancelled));
    }
}

/// On real threads, with tasks that are aborted at any point.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn tasks_that_are_aborted_anywhere_hold_up_no_other() {
    const ROUNDS: usize = 300;
    let shared = Arc::new(Shared::default());
    for round in 0..ROUNDS {
        let tasks: Vec<_> = (0..8)
            .map(|task| tokio::spawn(shared.clone().work(task)))
            .collect();
        for (number, task) in tasks.iter().enumerate() {
            if number % 2 == round % 2 {
                (0..round % 7).for_each(|_| std::thread::yield_now());
                task.abort();
            }
        }
        for (number, task) in tasks.into_iter().enumerate() {
            match timeout(Duration::from_secs(30), task)
                .await
                .expect("it is not held up")
            {
                Ok(()) => {}
                Err(error) => assert!(error.is_cancelled() && number % 2 == round % 2, "{error}"),
            }
        }
    }
    assert!(shared.lock.try_lock().is_ok() && shared.rlock.try_lock().is_ok());
    assert_eq!(shared.limit.available_permits(), 2);
    assert_eq!(
        format!("{:?}", shared.changed),
        "Condition { waiting: 0, .. }"
    );
}

#[derive(Debug)]
struct Shared {
    lock: Lock<usize>,
    inside: Inside,
    changed: Condition,
    rlock: RLock<Inside>,
    queue: Queue<usize>,
    limit: Semaphore,
}

impl Default for Shared {
    fn default() -> Self {
        Self {
            lock: Lock::default(),
            inside: Inside::default(),
            changed: Condition::new(),
            rlock: RLock::default(),
            queue: Queue::bounded(2),
            limit: Semaphore::new(2),
        }
    }
}

impl Shared {
    async fn work(self: Arc<Self>, task: usize) {
        for _ in 0..3 {
            let _permit = self.limit.acquire().await.expect("it is open");
            let mut count = self.lock.lock().await;
            {
                let _inside = self.inside.enter();
                *count += 1;
                tokio::task::yield_now().await;
            }
            self.changed.notify_one();
            drop(count);
            {
                let guard = self.rlock.lock().await;
                let again = self.rlock.lock().await;
                let _inside = guard.enter();
                tokio::task::yield_now().await;
                drop(again);
            }
            let count = self.lock.lock().await;
            let waits = timeout(Duration::from_micros(50), self.changed.wait(count));
            drop(waits.await);
            if self.queue.try_put(task).is_err() {
                let _ = self.queue.try_get();
            }
        }
    }
}

#[test]
fn threads_and_tasks_share_all_of_it() {
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    let runtime = runtime
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime");
    let queue = Arc::new(Queue::bounded(1));
    let results = Arc::new((Lock::new(Vec::new()), Condition::new(), RLock::new(())));
    let begin = Arc::new(Event::new());
    let thread = std::thread::spawn({
        let (queue, results, begin) = (queue.clone(), results.clone(), begin.clone());
        move || {
            begin.blocking_wait();
            while let Some(item) = queue.blocking_get() {
                let _first = results.2.blocking_lock();
                let _again = results.2.blocking_lock();
                results.0.blocking_lock().push(2 * item);
                results.1.notify_one();
            }
        }
    });
    runtime.block_on(async {
        let all = Arc::new(Barrier::new(2));
        let there = tokio::spawn({
            let all = all.clone();
            async move { all.wait().await.expect("it is whole").is_leader() }
        });
        let is_leader = all.wait().await.expect("it is whole").is_leader();
        assert!(is_leader ^ there.await.expect("no panic"));
        begin.set();
        for item in 0..50 {
            queue.put(item).await.expect("it is open");
        }
        let doubled = results.0.lock().await;
        let doubled = results.1.wait_for(doubled, |doubled| doubled.len() == 50);
        let doubled = timeout(Duration::from_secs(30), doubled)
            .await
            .expect("they come");
        assert!(doubled.iter().copied().eq((0..50).map(|item| 2 * item)));
        queue.close();
    });
    thread.join().expect("no panic");
}
