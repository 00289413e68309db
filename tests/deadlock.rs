//! Deadlocks are reported with their places in the source, and ended. Nothing else is reported as one.

#![cfg(feature = "sync")]

#[path = "common/explore.rs"]
mod explore;

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
const PATIENCE: Duration = Duration::from_secs(30);

/// The reports, for one test at a time: the setting is process-wide.
struct Told {
    reports: Arc<Mutex<Vec<Report>>>,
    _turn: MutexGuard<'static, ()>,
}

impl Told {
    fn by(detection: Detection) -> Self {
        static TURN: Mutex<()> = Mutex::new(());
        let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        let reports = Arc::new(Mutex::new(Vec::new()));
        let told = reports.clone();
        let hook = move |report: &Report| told.lock().expect("no panic").push(report.clone());
        detection.on_report(hook).enable();
        Self {
            reports,
            _turn: turn,
        }
    }

    /// Deadlocks panic as soon as the wait begins that closes the circle.
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

/// The line that calls this, as a message begins a place in it.
#[track_caller]
fn here() -> String {
    let here = Location::caller();
    format!("{}:{}:", here.file(), here.line())
}

#[track_caller]
fn has_places(report: &Report, expected: &[[&String; 2]]) {
    let told = report.places();
    let words = report.to_string();
    assert_eq!(told.len(), expected.len(), "{words}");
    for (told, expected) in told.iter().zip(expected) {
        for (told, expected) in told.iter().zip(expected) {
            assert!(
                told.to_string().starts_with(*expected),
                "{expected} in {words}"
            );
            assert!(words.contains(&told.to_string()), "{told} in {words}");
        }
    }
}

/// The message that a task ended with.
async fn panic_of<T>(task: JoinHandle<T>) -> String {
    let ended = timeout(PATIENCE, task).await.expect("it does not hang");
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

    let _told = Told::at_once();
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
    let expected = format!("deadlock: task {id} waits at tests/deadlock.rs:{second}:");
    assert!(message.starts_with(&expected), "{message}");
    let expected =
        format!(" for a lock that it already holds, taken at tests/deadlock.rs:{first}:");
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
    let _told = Told::by(Detection::new().patience(Duration::from_millis(20)));
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
    let _told = Told::by(Detection::new().patience(Duration::from_millis(20)));
    let thread = std::thread::spawn(|| {
        let lock = Lock::new(());
        let _guard = lock.blocking_lock();
        drop(lock.blocking_lock());
    });
    let panic = thread.join().expect_err("a deadlock");
    let message = panic.downcast_ref::<String>().expect("a message");
    assert!(message.starts_with("deadlock: thread "), "{message}");
    assert_eq!(
        message.matches("tests/deadlock.rs:").count(),
        2,
        "{message}"
    );
}

/// In some orders both tasks wait: then one gets an error, and the other continues. In the others, neither
/// waits forever this time.
#[test]
fn two_tasks_that_take_two_locks_in_opposite_orders_never_hang_and_are_told() {
    async fn take_both(first: Arc<Lock<()>>, second: Arc<Lock<()>>) {
        let _first = first.lock().await;
        pause().await;
        let _second = second.lock().await;
    }

    let told = Told::at_once();
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
                    message.matches("tests/deadlock.rs:").count(),
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
        !told.only_report().is_deadlock(),
        "the two have the same places"
    );
}

#[tokio::test]
async fn opposite_orders_are_told_when_they_are_seen_though_nothing_hangs() {
    let told = Told::at_once();
    let (a, b, c) = <(Arc<Lock<()>>, Arc<Lock<()>>, Lock<()>)>::default();
    let (first, second) = (a.clone(), b.clone());
    let forth = tokio::spawn(async move {
        let (a, _a) = (here(), first.lock().await);
        let (b, _b) = (here(), second.lock().await);
        (a, b)
    });
    let (a1, b1) = forth.await.expect("no panic");
    assert!(told.reports().is_empty(), "there is one order so far");
    let (b2, _b) = (here(), b.lock().await);
    let _c = c.lock().await;
    let (a2, guard) = (here(), a.lock().await);
    has_places(&told.only_report(), &[[&b2, &a2], [&a1, &b1]]);
    drop(guard);
    drop(a.lock().await);
    assert!(told.reports().is_empty(), "a report");
}

#[tokio::test]
async fn an_order_that_leads_back_by_other_locks_is_told_step_by_step() {
    let told = Told::at_once();
    let [a, b, c] = [(); 3].map(RLock::new);
    let mut places = Vec::new();
    for (first, second) in [(&a, &b), (&b, &c)] {
        let (held, _held) = (here(), first.lock().await);
        let (wanted, _wanted) = (here(), second.lock().await);
        places.push((held, wanted));
    }
    assert!(told.reports().is_empty());
    let (held, _held) = (here(), c.lock().await);
    let (wanted, _wanted) = (here(), a.lock().await);
    let [(a1, b1), (b2, c2)] = [&places[0], &places[1]];
    has_places(&told.only_report(), &[[&held, &wanted], [a1, b1], [b2, c2]]);
}

#[test]
fn any_number_of_tasks_that_wait_for_each_other_in_a_circle_are_told() {
    async fn take_both(first: Arc<RLock<()>>, second: Arc<RLock<()>>) {
        let _first = first.lock().await;
        pause().await;
        drop(second.lock().await);
    }

    let _told = Told::at_once();
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
fn tasks_that_take_locks_in_one_order_are_told_nothing_wherever_they_are_dropped() {
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

    let told = Told::at_once();
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
    assert!(told.reports().is_empty());
}

#[tokio::test]
async fn a_guard_that_went_to_another_task_is_no_reason_for_an_alarm() {
    let told = Told::at_once();
    let (a, b) = (Lock::new(()), Lock::new(()));
    drop((a.lock().await, b.lock().await));
    let (go_on, goes_on) = oneshot::channel::<()>();
    let guard = b.lock_owned().await;
    let holder = tokio::spawn(async move {
        goes_on.await.expect("the test says so");
        drop(guard);
    });
    let mut again = pin!(b.lock());
    assert!(again.as_mut().now_or_never().is_none(), "it waits");
    go_on.send(()).expect("it waits");
    let _b = again.await;
    holder.await.expect("no panic");
    assert!(told.reports().is_empty());
}

#[tokio::test]
async fn branches_of_a_task_that_wait_for_each_other_are_no_deadlock() {
    let told = Told::by(Detection::new().patience(PATIENCE));
    let lock = Lock::new(0);
    let (go_on, goes_on) = oneshot::channel::<()>();
    let holder = async {
        let mut guard = lock.lock().await;
        goes_on.await.expect("the other says so");
        *guard += 1;
    };
    let waiter = async {
        let mut guard = pin!(lock.lock());
        assert!(guard.as_mut().now_or_never().is_none(), "it waits");
        go_on.send(()).expect("it waits");
        *guard.await += 1;
    };
    tokio::join!(biased; holder, waiter);
    assert_eq!(*lock.lock().await, 2);
    assert!(told.reports().is_empty());
}

/// One branch after the other has it, for longer than the patience in all.
#[tokio::test]
async fn branches_that_run_the_same_code_never_panic() {
    let told = Told::at_once();
    let lock = Lock::new(0);
    let branches = (0..10).map(|_| async {
        let mut guard = lock.lock().await;
        pause().await;
        *guard += 1;
    });
    futures::future::join_all(branches).await;
    assert_eq!(*lock.lock().await, 10);
    let report = told.only_report();
    assert!(report.is_deadlock(), "it looks like one");
    assert!(
        report
            .to_string()
            .contains("unless another branch of the task holds it")
    );
}

#[tokio::test]
async fn what_may_not_panic_is_reported_once_and_waits_on() {
    let told = Told::by(Detection::new().patience(Duration::ZERO).panics(false));
    let lock = Lock::new(());
    let (first, guard) = (here(), lock.lock().await);
    let mut places = Vec::new();
    for _ in 0..2 {
        let (second, again) = (here(), lock.lock());
        let mut again = pin!(again);
        assert!(again.as_mut().now_or_never().is_none(), "it waits");
        assert!(again.as_mut().now_or_never().is_none(), "it waits on");
        places.push(second);
    }
    let report = told.only_report();
    assert!(report.is_deadlock());
    has_places(&report, &[[&first, &places[0]]]);
    drop(guard);
    assert!(lock.try_lock().is_ok());
}

#[tokio::test]
async fn when_it_is_off_nothing_is_told() {
    let told = Told::at_once();
    deadlock::disable();
    let (a, b) = (Lock::new(()), RLock::new(()));
    drop((a.lock().await, b.lock().await));
    let guards = (b.lock().await, a.lock().await);
    assert!(a.lock().now_or_never().is_none(), "it waits");
    assert!(told.reports().is_empty());
    drop(guards);
}

/// Many tasks that wait for one another in a row, which is long, but no circle.
#[tokio::test]
async fn a_long_row_of_waits_is_looked_through() {
    const TASKS: usize = 2000;
    static LOCKS: LazyLock<Vec<Lock<()>>> =
        LazyLock::new(|| (0..=TASKS).map(|_| Lock::new(())).collect());
    let told = Told::at_once();
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
    timeout(PATIENCE, first)
        .await
        .expect("no hang")
        .expect("no panic");
    for task in tasks {
        timeout(PATIENCE, task)
            .await
            .expect("no hang")
            .expect("no panic");
    }
    assert!(told.reports().is_empty());
}
