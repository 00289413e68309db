//! A task is moved, aborted and woken, and its runtime ends, in every order and at any point of a poll. Only one runner
//! at a time polls it, it ends once, and no part of it remains in a runtime.

use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Weak};
use std::task::{Context, Poll, Waker};

use super::current::leave_runtime;
use super::movable::{MovableTask, Runner, TaskKeeper};
use super::primitives::{Handle, Mutex};
use super::schedule::{Body, block, explore, step, unblock};

/// What happens to the task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Move,
    Abort,
    Wake,
    /// Its first runtime ends.
    End,
}

use Step::{Abort, End, Move, Wake};

/// The behaviour of the first runtime.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum First {
    Runs,
    /// It cannot drive the task, which detects that at its first poll.
    Fails,
    /// It is blocked until the task is over.
    Blocked,
}

/// Whether a second runtime can be created.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Second {
    Runs,
    Refused,
}

/// The one event for which the task waits.
#[derive(Default)]
struct Event(Mutex<(bool, Option<Waker>)>);

impl Event {
    fn happen(&self) {
        let mut state = self.0.lock().unwrap();
        state.0 = true;
        let waker = state.1.take();
        drop(state);
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    fn poll(&self, cx: &mut Context<'_>) -> Poll<()> {
        let mut state = self.0.lock().unwrap();
        if state.0 {
            return Poll::Ready(());
        }
        state.1 = Some(cx.waker().clone());
        Poll::Pending
    }
}

/// The observations of a run. The task contains panics, so it only records errors.
#[derive(Default)]
struct Seen {
    is_in_use: AtomicBool,
    was_shared: AtomicBool,
    completions: AtomicU32,
    drops: AtomicU32,
}

/// The future of the task.
struct Waits {
    event: Arc<Event>,
    seen: Arc<Seen>,
    leaves: bool,
}

impl Waits {
    fn alone<T>(&self, action: impl FnOnce() -> T) -> T {
        let was_in_use = self.seen.is_in_use.swap(true, Ordering::Relaxed);
        self.seen.was_shared.fetch_or(was_in_use, Ordering::Relaxed);
        step();
        let outcome = action();
        self.seen.is_in_use.store(false, Ordering::Relaxed);
        outcome
    }
}

impl Future for Waits {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if std::mem::take(&mut self.leaves) {
            self.alone(leave_runtime);
            return Poll::Pending; // As a registration that fails: the next runner polls again.
        }
        let polled = self.alone(|| self.event.poll(cx));
        let completions = u32::from(polled.is_ready());
        self.seen
            .completions
            .fetch_add(completions, Ordering::Relaxed);
        polled
    }
}

impl Drop for Waits {
    fn drop(&mut self) {
        self.alone(|| {});
        self.seen.drops.fetch_add(1, Ordering::Relaxed);
    }
}

/// Decides where the task runs, as `Home` does.
struct Owner {
    state: Mutex<OwnerState>,
    second: Second,
    own: Handle,
}

struct OwnerState {
    runtime: Handle,
    has_moved: bool,
    task: Option<Arc<MovableTask>>,
    ends: u32,
}

impl Owner {
    fn spawn(self: &Arc<Self>, future: Waits) -> Weak<MovableTask> {
        let task = MovableTask::new(self.clone(), future);
        let spawned = Arc::downgrade(&task);
        let runner = task.new_runner();
        let mut state = self.state.lock().unwrap();
        state.task = Some(task);
        let runtime = state.runtime.clone();
        drop(state);
        runner.spawn(&runtime);
        spawned
    }

    fn move_away(&self) {
        let runner = self.moved();
        if let Some(runner) = runner {
            runner.spawn(&self.own);
        }
    }

    /// The new runner, unless the task has moved or ended.
    fn moved(&self) -> Option<Runner> {
        let mut state = self.state.lock().unwrap();
        if state.has_moved || self.second == Second::Refused {
            return None;
        }
        state.has_moved = true;
        state.task.as_ref().map(MovableTask::new_runner)
    }

    fn wait_for_end(&self) {
        while self.state.lock().unwrap().ends == 0 {
            block(self.key());
        }
    }

    fn key(&self) -> usize {
        std::ptr::from_ref(self).addr()
    }
}

impl TaskKeeper for Owner {
    fn task_ended(&self, _: &MovableTask) {
        let mut state = self.state.lock().unwrap();
        state.ends += 1;
        let task = state.task.take();
        drop(state);
        drop(task);
        unblock(self.key());
    }

    fn runtime_failed(&self, task: &MovableTask, runner: u64) -> bool {
        let state = self.state.lock().unwrap();
        if !task.is_run_by(runner) {
            return true;
        }
        let can_move = !state.has_moved && self.second == Second::Runs;
        drop(state);
        if can_move {
            self.move_away();
        }
        can_move
    }
}

/// Takes the steps of two threads in every order, beside the threads of both runtimes.
fn run(first: First, second: Second, ours: &'static [Step], theirs: &'static [Step]) {
    let orders = explore(2, || {
        let (event, seen) = (Arc::<Event>::default(), Arc::<Seen>::default());
        let runtime = Handle::new();
        let owner = Arc::new(Owner {
            state: Mutex::new(OwnerState {
                runtime: runtime.clone(),
                has_moved: false,
                task: None,
                ends: 0,
            }),
            second,
            own: Handle::new(),
        });
        let task = owner.spawn(Waits {
            event: event.clone(),
            seen: seen.clone(),
            leaves: first == First::Fails,
        });
        let take = {
            let (owner, runtime) = (owner.clone(), runtime.clone());
            move |step: Step| match step {
                Move => owner.move_away(),
                Abort => task.upgrade().into_iter().for_each(|task| task.abort()),
                Wake => event.happen(),
                End => runtime.end(),
            }
        };
        let also_take = take.clone();
        let (main, blocked) = (owner.clone(), runtime.clone());
        let mut threads: Vec<Body> = vec![
            Box::new(move || {
                ours.iter().copied().for_each(take);
                main.wait_for_end();
                // A runner that stays in a runtime prevents it from closing.
                [&blocked, &main.own].into_iter().for_each(Handle::close);
                if first == First::Blocked {
                    blocked.run();
                }
            }),
            Box::new(move || theirs.iter().copied().for_each(also_take)),
        ];
        let runs = (first != First::Blocked).then_some(runtime);
        for runtime in runs.into_iter().chain([owner.own.clone()]) {
            threads.push(Box::new(move || runtime.run()));
        }
        let check = move || {
            let story = (first, second, ours, theirs);
            let [completions, drops] =
                [&seen.completions, &seen.drops].map(|count| count.load(Ordering::Relaxed));
            assert!(!seen.was_shared.load(Ordering::Relaxed), "{story:?}");
            let ends = owner.state.lock().unwrap().ends;
            assert_eq!((drops, ends), (1, 1), "{story:?}");
            let takes = |step| ours.contains(&step) || theirs.contains(&step);
            match takes(Abort) || second == Second::Refused && takes(End) {
                true => assert!(completions <= 1, "{story:?}"),
                false => assert_eq!(completions, 1, "{story:?}"),
            }
        };
        (threads, check)
    });
    assert!(orders > 100, "{orders} orders");
}

#[test]
fn a_task_that_moves_in_any_order_of_steps_is_polled_to_its_end_once() {
    for first in [First::Runs, First::Fails] {
        for ours in [&[][..], &[Move], &[End], &[Move, End], &[End, Move]] {
            run(first, Second::Runs, ours, &[Wake]);
        }
    }
    for ours in [&[Move][..], &[Move, End]] {
        run(First::Blocked, Second::Runs, ours, &[Wake]);
    }
}

#[test]
fn a_task_that_is_aborted_in_any_order_of_steps_ends_once_and_leaves_nothing() {
    for ours in [&[][..], &[Move], &[End], &[Wake], &[Move, End], &[Abort]] {
        run(First::Runs, Second::Runs, ours, &[Abort]);
    }
    for ours in [&[Wake][..], &[End]] {
        run(First::Fails, Second::Runs, ours, &[Abort]);
    }
    for ours in [&[Move][..], &[Move, Wake]] {
        run(First::Blocked, Second::Runs, ours, &[Abort]);
    }
}

#[test]
fn a_task_for_which_no_other_runtime_can_be_made_ends_with_its_own() {
    for ours in [&[][..], &[Move], &[End]] {
        run(First::Runs, Second::Refused, ours, &[Wake]);
    }
    run(First::Runs, Second::Refused, &[End], &[Abort]);
}
