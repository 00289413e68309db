//! Deadlocks are reported with their places in the source, and ended. Nothing else is reported as a deadlock.

#![cfg(feature = "sync")]

#[path = "../common/explore.rs"]
mod explore;
mod model;
mod orders;
mod programs;

use std::panic::Location;
use std::pin::pin;
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use concurrent_futures::sync::deadlock::{self, Detection, Report};
use concurrent_futures::sync::{Condition, Lock, RLock};
use explore::{Fate, Scene, explore, pause};
use futures::FutureExt as _;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::timeout;

/// The longest wait for one thing.
const TIME_LIMIT: Duration = Duration::from_secs(30);

/// The reports, for one test at a time: the setting is process-wide.
struct Detected {
    reports: Arc<Mutex<Vec<Report>>>,
    _turn: MutexGuard<'static, ()>,
}

impl Detected {
    fn by(detection: Detection) -> Self {
        static TURN: Mutex<()> = Mutex::new(());
        let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        let reports = Arc::new(Mutex::new(Vec::new()));
        let detected = reports.clone();
        let hook = move |report: &Report| detected.lock().expect("no panic").push(report.clone());
        detection.on_report(hook).enable();
        Self {
            reports,
            _turn: turn,
        }
    }

    /// Deadlocks panic as soon as the wait that closes the cycle begins.
    fn at_once() -> Self {
        Self::by(Detection::new().patience(Duration::ZERO))
    }

    /// The reports since the last call.
    fn reports(&self) -> Vec<Report> {
        std::mem::take(&mut self.reports.lock().expect("no panic"))
    }

    fn only_report(&self) -> Report {
        let mut reports = self.reports();
        assert_eq!(reports.len(), 1, "{reports:#?}");
        reports.remove(0)
    }
}

/// The line that calls this, in the form in which a message contains a place on it.
#[track_caller]
fn here() -> String {
    let here = Location::caller();
    format!("{}:{}:", here.file(), here.line())
}

#[track_caller]
fn has_places(report: &Report, expected: &[[&String; 2]]) {
    let places = report.places();
    let words = report.to_string();
    assert_eq!(places.len(), expected.len(), "{words}");
    for (places, expected) in places.iter().zip(expected) {
        for (place, expected) in places.iter().zip(expected) {
            assert!(
                place.to_string().starts_with(*expected),
                "{expected} in {words}"
            );
            assert!(words.contains(&place.to_string()), "{place} in {words}");
        }
    }
}

/// The message that a task ended with.
async fn panic_of<T>(task: JoinHandle<T>) -> String {
    let ended = timeout(TIME_LIMIT, task).await.expect("it does not hang");
    let Err(error) = ended else {
        panic!("it went well");
    };
    let panic = error.into_panic();
    panic.downcast_ref::<String>().expect("a message").clone()
}

#[tokio::test]
async fn a_task_that_takes_a_lock_it_has_panics_with_both_places() {
    type Places = Arc<Mutex<Vec<String>>>;

    async fn outer(lock: &Lock<()>, places: Places) {
        places.lock().expect("no panic").push(here());
        let _guard = lock.lock().await; // The line after `here`.
        inner(lock, places).await;
    }

    async fn inner(lock: &Lock<()>, places: Places) {
        places.lock().expect("no panic").push(here());
        drop(lock.lock().await);
    }

    let _detected = Detected::at_once();
    let lock = Arc::new(Lock::new(()));
    let places = Places::default();
    let (shared, noted) = (lock.clone(), places.clone());
    let task = tokio::spawn(async move { outer(&shared, noted).await });
    let id = task.id();
    let message = panic_of(task).await;
    let lines: Vec<u32> = places
        .lock()
        .expect("no panic")
        .iter()
        .map(|p| line_of(p))
        .collect();
    let (first, second) = (lines[0] + 1, lines[1] + 1);
    let expected = format!("deadlock: task {id} waits at tests/deadlock/main.rs:{second}:");
    assert!(message.starts_with(&expected), "{message}");
    let expected =
        format!(" for a lock that it already holds, taken at tests/deadlock/main.rs:{first}:");
    assert!(message.contains(&expected), "{message}");
    assert!(lock.try_lock().is_ok(), "its guard was dropped");
}

fn line_of(place: &str) -> u32 {
    let number = place.trim_end_matches(':').rsplit(':').next();
    number
        .and_then(|number| number.parse().ok())
        .expect("a line")
}

#[tokio::test]
async fn a_circle_that_stands_for_long_enough_is_a_deadlock() {
    let _detected = Detected::by(Detection::new().patience(Duration::from_millis(20)));
    let task = tokio::spawn(async {
        let lock = Lock::new(());
        let _guard = lock.lock().await;
        drop(lock.lock().await);
    });
    let message = panic_of(task).await;
    assert!(message.starts_with("deadlock: task "), "{message}");
}

#[test]
fn a_thread_that_takes_a_lock_it_has_panics_with_both_places() {
    let _detected = Detected::by(Detection::new().patience(Duration::from_millis(20)));
    let thread = std::thread::spawn(|| {
        let lock = Lock::new(());
        let _guard = lock.blocking_lock();
        drop(lock.blocking_lock());
    });
    let panic = thread.join().expect_err("a deadlock");
    let message = panic.downcast_ref::<String>().expect("a message");
    assert!(message.starts_with("deadlock: thread "), "{message}");
    assert_eq!(
        message.matches("tests/deadlock/main.rs:").count(),
        2,
        "{message}"
    );
}

/// In some orders both tasks wait: one then gets an error, and the other continues. In the other orders, neither waits
/// forever.
#[test]
fn two_tasks_that_take_two_locks_in_opposite_orders_never_hang_and_get_an_error() {
    async fn take_both(first: Arc<Lock<()>>, second: Arc<Lock<()>>) {
        let _first = first.lock().await;
        pause().await;
        let _second = second.lock().await;
    }

    let detected = Detected::at_once();
    let outcomes = Arc::new(Mutex::new(Vec::new()));
    let seen = outcomes.clone();
    let runs = explore(move || {
        let (a, b) = <(Arc<Lock<()>>, Arc<Lock<()>>)>::default();
        let scene = Scene::new()
            .actor("forth", take_both(a.clone(), b.clone()))
            .actor("back", take_both(b, a));
        let seen = seen.clone();
        scene.check(move |ending| {
            assert!(ending.waiting().is_empty(), "a hang");
            let panics = ending.panics();
            assert!(panics.len() <= 1, "one is enough");
            for message in &panics {
                assert!(message.starts_with("deadlock: 2 tasks wait for each other\n"));
                assert_eq!(
                    message.matches("tests/deadlock/main.rs:").count(),
                    4,
                    "{message}"
                );
            }
            seen.lock().expect("no panic").push(panics.len());
        })
    });
    let outcomes = outcomes.lock().expect("no panic");
    assert_eq!(outcomes.len(), runs);
    assert!(
        outcomes.contains(&0) && outcomes.contains(&1),
        "{outcomes:?}"
    );
    assert!(
        !detected.only_report().is_deadlock(),
        "the two have the same places"
    );
}

#[test]
fn any_number_of_tasks_that_wait_for_each_other_in_a_cycle_get_an_error() {
    async fn take_both(first: Arc<RLock<()>>, second: Arc<RLock<()>>) {
        let _first = first.lock().await;
        pause().await;
        drop(second.lock().await);
    }

    let _detected = Detected::at_once();
    let circles = Arc::new(Mutex::new(0));
    let seen = circles.clone();
    explore(move || {
        let locks = [(); 3].map(|()| Arc::new(RLock::new(())));
        let body =
            |number: usize| take_both(locks[number].clone(), locks[(number + 1) % 3].clone());
        let scene = Scene::new()
            .actor("a", body(0))
            .actor("b", body(1))
            .mortal("c", body(2));
        let seen = seen.clone();
        scene.check(move |ending| {
            assert!(ending.waiting().is_empty(), "a hang");
            for message in ending.panics() {
                assert!(message.starts_with("deadlock: 3 tasks wait for each other\n"));
                *seen.lock().expect("no panic") += 1;
            }
        })
    });
    assert!(*circles.lock().expect("no panic") > 0);
}

#[test]
fn tasks_that_take_locks_in_one_order_get_no_error_wherever_they_are_dropped() {
    type Locks = (Lock<()>, RLock<()>, Lock<()>, Condition);

    async fn take_all(locks: Arc<Locks>) {
        let _first = locks.0.lock().await;
        let _second = locks.1.lock().await;
        pause().await;
        let _again = locks.1.lock().await;
        let third = locks.2.lock().await;
        locks.3.notify_one();
        pause().await;
        drop(third);
    }

    async fn wait(locks: Arc<Locks>) {
        let third = locks.2.lock().await;
        drop(locks.3.wait(third).await);
    }

    let detected = Detected::at_once();
    explore(|| {
        let locks = Arc::<(Lock<()>, RLock<()>, Lock<()>, Condition)>::default();
        let scene = Scene::new()
            .actor("a", take_all(locks.clone()))
            .mortal("b", take_all(locks.clone()))
            .mortal("waits", wait(locks));
        scene.check(|ending| {
            assert!(ending.panics().is_empty());
            assert_eq!(*ending.fate("a"), Fate::Done);
        })
    });
    assert!(detected.reports().is_empty());
}

#[tokio::test]
async fn detection_that_is_off_reports_nothing() {
    let detected = Detected::at_once();
    deadlock::disable();
    let (a, b) = (Lock::new(()), RLock::new(()));
    drop((a.lock().await, b.lock().await));
    let guards = (b.lock().await, a.lock().await);
    assert!(a.lock().now_or_never().is_none(), "it waits");
    assert!(detected.reports().is_empty());
    drop(guards);
}

/// Many tasks wait for one another in a long row without a cycle.
#[tokio::test]
async fn a_long_row_of_waits_is_looked_through() {
    const TASKS: usize = 2000;
    static LOCKS: LazyLock<Vec<Lock<()>>> =
        LazyLock::new(|| (0..=TASKS).map(|_| Lock::new(())).collect());
    let detected = Detected::at_once();
    let last = LOCKS[TASKS].lock().await;
    let mut tasks = Vec::new();
    for number in 0..TASKS {
        let (ready, is_ready) = oneshot::channel();
        tasks.push(tokio::spawn(async move {
            let _own = LOCKS[number].lock().await;
            let mut next = pin!(LOCKS[number + 1].lock());
            ready.send(()).expect("the test waits");
            drop(next.as_mut().await);
        }));
        is_ready.await.expect("no panic");
    }
    let first = tokio::spawn(async { drop(LOCKS[0].lock().await) });
    drop(last);
    timeout(TIME_LIMIT, first)
        .await
        .expect("no hang")
        .expect("no panic");
    for task in tasks {
        timeout(TIME_LIMIT, task)
            .await
            .expect("no hang")
            .expect("no panic");
    }
    assert!(detected.reports().is_empty());
}

#[tokio::test]
async fn a_wait_that_may_not_panic_is_reported_once_and_continues() {
    let detected = Detected::by(Detection::new().patience(Duration::ZERO).panics(false));
    let lock = Lock::new(());
    let (first, guard) = (here(), lock.lock().await);
    let mut second = String::new();
    for _ in 0..2 {
        let (place, again) = (here(), timeout(Duration::from_millis(1), lock.lock()).await);
        assert!(again.is_err(), "it waits on");
        second = place;
    }
    let report = detected.only_report();
    assert!(report.is_deadlock());
    has_places(&report, &[[&first, &second]]);
    drop(guard);
    assert!(lock.try_lock().is_ok());
}

/// The branches take the lock one after another. Each waits for longer than the patience.
#[tokio::test]
async fn branches_of_a_task_that_wait_for_each_other_are_no_deadlock() {
    async fn add(lock: &Lock<u32>) {
        let mut guard = lock.lock().await;
        pause().await;
        *guard += 1;
    }

    let detected = Detected::at_once();
    let lock = Lock::new(0);
    let (resume, resumed) = oneshot::channel::<()>();
    let holder = async {
        let mut guard = lock.lock().await;
        resumed.await.expect("the other says so");
        *guard += 1;
    };
    let waiter = async {
        let mut guard = pin!(lock.lock());
        assert!(guard.as_mut().now_or_never().is_none(), "it waits");
        resume.send(()).expect("it waits");
        *guard.await += 1;
    };
    tokio::join!(biased; holder, waiter);
    tokio::join!(add(&lock), add(&lock), add(&lock));
    futures::future::join_all((0..10).map(|_| add(&lock))).await;
    futures::future::join_all((0..100).map(|_| add(&lock))).await;
    let boxed = |_| -> futures::future::BoxFuture<'_, ()> { Box::pin(add(&lock)) };
    futures::future::join_all((0..10).map(boxed)).await;
    assert_eq!(*lock.lock().await, 125);
    assert!(detected.reports().is_empty());
}

/// Two branches hold a lock each. Each waits for a lock of another task, which waits for one of theirs.
#[tokio::test]
async fn a_circle_through_what_a_branch_holds_itself_is_a_deadlock() {
    static LOCKS: [RLock<()>; 2] = [RLock::new(()), RLock::new(())];
    let _detected = Detected::at_once();
    let (ready, is_ready) = oneshot::channel();
    let (resume, resumed) = oneshot::channel::<()>();
    let branches = tokio::spawn(async {
        let idle = async {
            let _own = Lock::new(()).lock_owned().await;
            pause().await;
        };
        let busy = async {
            let _held = LOCKS[0].lock().await;
            ready.send(()).expect("the test waits");
            resumed.await.expect("the test says so");
            drop(LOCKS[1].lock().await);
        };
        tokio::join!(idle, busy);
    });
    is_ready.await.expect("no panic");
    let other = tokio::spawn(async {
        let _held = LOCKS[1].lock().await;
        resume.send(()).expect("it waits");
        drop(LOCKS[0].lock().await);
    });
    let outcomes = timeout(TIME_LIMIT, async { (branches.await, other.await) });
    let outcomes = outcomes.await.expect("no hang");
    assert!(outcomes.0.is_err() ^ outcomes.1.is_err(), "one is enough");
}

#[tokio::test]
async fn an_owned_guard_that_went_to_another_task_is_no_reason_for_a_report() {
    let detected = Detected::at_once();
    let (a, b) = (Lock::new(()), Lock::new(()));
    drop((a.lock().await, b.lock().await));
    let (resume, resumed) = oneshot::channel::<()>();
    let guard = b.lock_owned().await;
    let holder = tokio::spawn(async move {
        resumed.await.expect("the test says so");
        drop(guard);
    });
    let again = async {
        resume.send(()).expect("it waits");
        drop(b.lock().await);
    };
    again.await;
    holder.await.expect("no panic");
    assert!(detected.reports().is_empty());
}

/// The holder uses the guard, so it is known to hold it.
#[tokio::test]
async fn a_guard_that_another_task_uses_is_no_reason_for_a_report() {
    static MOVED: LazyLock<Lock<u32>> = LazyLock::new(Lock::default);
    let detected = Detected::at_once();
    let (used, is_used) = oneshot::channel();
    let (resume, resumed) = oneshot::channel::<()>();
    let mut guard = MOVED.lock().await;
    let holder = tokio::spawn(async move {
        *guard += 1;
        used.send(()).expect("the test waits");
        resumed.await.expect("the test says so");
    });
    is_used.await.expect("no panic");
    let waits = async {
        let mut again = pin!(MOVED.lock());
        assert!(again.as_mut().now_or_never().is_none(), "it waits");
        resume.send(()).expect("it waits");
        *again.await
    };
    assert_eq!(waits.await, 1);
    holder.await.expect("no panic");
    assert!(detected.reports().is_empty());
}

/// Each call awaits the next one, and has some state.
#[tokio::test]
async fn a_lock_that_is_taken_some_calls_down_is_reported() {
    async fn first(lock: &Lock<u32>) -> u32 {
        let guard = lock.lock().await;
        let state = [*guard; 4];
        second(lock, state[0]).await + state[1]
    }

    async fn second(lock: &Lock<u32>, number: u32) -> u32 {
        pause().await;
        third(lock, &number.to_string()).await + number
    }

    async fn third(lock: &Lock<u32>, text: &str) -> u32 {
        let length = text.len();
        let count = timeout(TIME_LIMIT, lock.lock()).await;
        length as u32 + *count.expect("it is reported first")
    }

    let _detected = Detected::at_once();
    let task = tokio::spawn(async { first(&Lock::new(1)).await });
    let message = panic_of(task).await;
    assert!(message.starts_with("deadlock: task "), "{message}");
}
