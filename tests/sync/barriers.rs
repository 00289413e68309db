//! Barriers and bounded semaphores.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use concurrent_futures::sync::{Barrier, BoundedSemaphore};

use crate::explore::{Ending, Fate, Scene, explore, pause};
use crate::none_waits_and_none_panicked;

fn number_of(ending: &Ending, names: &[&str], fate: &Fate) -> usize {
    names
        .iter()
        .filter(|name| ending.fate(name) == fate)
        .count()
}

/// All of the waiting parties pass together or none does, and each round has one leader.
#[test]
fn a_dropped_wait_takes_its_arrival_back() {
    const NAMES: [&str; 4] = ["a", "b", "c", "d"];
    let runs = explore(|| {
        let barrier = Arc::new(Barrier::new(2));
        let leaders = Arc::new(AtomicUsize::new(0));
        let wait = || {
            let (barrier, leaders) = (barrier.clone(), leaders.clone());
            async move {
                let passed = barrier.wait().await.expect("it is whole");
                leaders.fetch_add(usize::from(passed.is_leader()), Ordering::SeqCst);
            }
        };
        let scene = Scene::new().actor("a", wait()).actor("b", wait());
        let scene = scene.mortal("c", wait()).mortal("d", wait());
        scene.check(move |ending| {
            assert!(ending.panics().is_empty());
            let waiting = number_of(ending, &NAMES, &Fate::Waits);
            assert_eq!(barrier.waiting(), waiting);
            assert!(waiting <= 1, "two would pass");
            let done = number_of(ending, &NAMES, &Fate::Done);
            let leaders = leaders.load(Ordering::SeqCst);
            // A party that has passed may be dropped before it receives the result.
            assert!(leaders <= done && done <= 2 * leaders);
        })
    });
    assert!(runs > 100, "{runs}");
}

#[test]
fn an_aborted_barrier_is_broken_for_all_until_it_is_reset() {
    const NAMES: [&str; 3] = ["a", "b", "c"];
    let runs = explore(|| {
        let barrier = Arc::new(Barrier::new(2));
        let wait = || {
            let barrier = barrier.clone();
            async move { barrier.wait().await.map_or((), |_| ()) }
        };
        let abort = {
            let barrier = barrier.clone();
            async move { barrier.abort() }
        };
        let scene = Scene::new().actor("a", wait()).actor("b", wait());
        let scene = scene.mortal("c", wait()).actor("aborts", abort);
        scene.check(move |ending| {
            none_waits_and_none_panicked(ending);
            assert!(number_of(ending, &NAMES, &Fate::Done) >= 2);
            assert!(barrier.is_broken());
            assert_eq!(barrier.waiting(), 0);
            assert!(
                barrier
                    .blocking_wait_timeout(Duration::ZERO)
                    .expect("at once")
                    .is_err()
            );
            barrier.reset();
            assert!(
                barrier.blocking_wait_timeout(Duration::ZERO).is_none(),
                "it waits again"
            );
        })
    });
    assert!(runs > 100, "{runs}");
}

/// Three parties arrive in any order around the reset: two that arrive on the same side of it pass.
#[test]
fn a_reset_breaks_the_round_of_those_who_wait_and_no_other() {
    const NAMES: [&str; 3] = ["a", "b", "c"];
    let runs = explore(|| {
        let barrier = Arc::new(Barrier::new(2));
        let broken = Arc::new(AtomicUsize::new(0));
        let wait = || {
            let (barrier, broken) = (barrier.clone(), broken.clone());
            async move {
                let waited = barrier.wait().await;
                broken.fetch_add(usize::from(waited.is_err()), Ordering::SeqCst);
            }
        };
        let reset = {
            let barrier = barrier.clone();
            async move { barrier.reset() }
        };
        let scene = Scene::new().actor("a", wait()).actor("b", wait());
        let scene = scene.actor("c", wait()).actor("resets", reset);
        scene.check(move |ending| {
            assert!(!barrier.is_broken());
            let steps = ending.story.iter();
            let before = steps.take_while(|step| !step.contains("resets"));
            let arrived: Vec<&str> = NAMES
                .into_iter()
                .filter(|name| {
                    let first = format!(" {name}:");
                    before.clone().any(|step| step.contains(&first))
                })
                .collect();
            assert_eq!(broken.load(Ordering::SeqCst), arrived.len() % 2);
            let waiting = number_of(ending, &NAMES, &Fate::Waits);
            assert_eq!(waiting, (NAMES.len() - arrived.len()) % 2);
        })
    });
    assert!(runs > 20, "{runs}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn all_pass_a_barrier_again_and_again_and_one_leads_each_time() {
    const PARTIES: usize = 50;
    const ROUNDS: usize = 40;
    let barrier = Arc::new(Barrier::new(PARTIES));
    let arrived = Arc::new(AtomicUsize::new(0));
    let tasks = (0..PARTIES).map(|_| {
        let (barrier, arrived) = (barrier.clone(), arrived.clone());
        tokio::spawn(async move {
            let mut led = 0;
            for round in 1..=ROUNDS {
                arrived.fetch_add(1, Ordering::SeqCst);
                led += usize::from(barrier.wait().await.expect("it is whole").is_leader());
                assert!(
                    arrived.load(Ordering::SeqCst) >= round * PARTIES,
                    "it waits for all"
                );
            }
            led
        })
    });
    let led = futures::future::try_join_all(tasks)
        .await
        .expect("no panic");
    assert_eq!(led.iter().sum::<usize>(), ROUNDS);
}

#[test]
#[should_panic(expected = "the number of parties of a barrier is 0")]
fn a_barrier_without_parties_is_refused() {
    drop(Barrier::new(0));
}

#[test]
fn a_bounded_semaphore_never_has_more_permits_than_at_first() {
    let runs = explore(|| {
        let semaphore = BoundedSemaphore::new(2);
        let take = |number| {
            let semaphore = semaphore.clone();
            async move {
                let permits = semaphore.acquire_many(number).await;
                pause().await;
                drop(permits);
            }
        };
        let forget = {
            let semaphore = semaphore.clone();
            async move {
                semaphore.acquire().await.forget();
                assert!(semaphore.add_permits(2).is_err());
                pause().await;
                semaphore.add_permits(1).expect("one was forgotten");
                assert!(semaphore.add_permits(1).is_err());
            }
        };
        let scene = Scene::new().mortal("a", take(2)).mortal("b", take(1));
        let scene = scene.actor("c", take(2)).actor("forgets", forget);
        scene.check(move |ending| {
            none_waits_and_none_panicked(ending);
            assert_eq!(semaphore.available_permits(), 2);
        })
    });
    assert!(runs > 100, "{runs}");
}

#[test]
#[should_panic(expected = "3 permits were requested from a semaphore that has at most 2")]
fn more_permits_than_there_are_are_refused() {
    drop(BoundedSemaphore::new(2).acquire_many(3));
}
