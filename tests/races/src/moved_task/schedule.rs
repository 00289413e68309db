//! Runs threads one at a time, and repeats this for every order of their steps, with at most a few preemptions. Loom
//! tries too few orders for a lock with `try_lock`: it does not treat the release of a lock as a step.
//!
//! A thread is a coroutine, so a switch is a jump.

#![expect(
    deprecated,
    reason = "to yield in the other way, each function under test would need an argument"
)]

use std::cell::RefCell;

use generator::{Generator, Gn};

/// The words of a thread's stack.
const STACK: usize = 0x2000;

/// The function of a thread.
pub(super) type Body = Box<dyn FnOnce() + Send>;

type Coroutine = Generator<'static, (), ()>;

/// A run, as its threads see it.
struct Running {
    current: usize,
    threads: Vec<ThreadState>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ThreadState {
    Ready,
    /// Waits until another thread unblocks this key.
    Blocked(usize),
    Over,
}

/// The choices of one run, and of the next.
struct Choices {
    /// For each point with several alternatives, their number and the one that is taken.
    taken: Vec<(usize, usize)>,
    made: usize,
}

thread_local! {
    static RUNNING: RefCell<Option<Running>> = const { RefCell::new(None) };
}

/// Runs the threads that `scene` creates, in every order. `scene` also creates a check for the end of each run. Returns
/// the number of orders.
pub(super) fn explore<C: FnOnce()>(
    preemptions: usize,
    scene: impl Fn() -> (Vec<Body>, C),
) -> usize {
    let mut choices = Choices {
        taken: Vec::new(),
        made: 0,
    };
    let mut threads = Vec::new();
    for runs in 1.. {
        let (bodies, check) = scene();
        threads = run(threads, bodies, &mut choices, preemptions);
        check();
        if !choices.next_run() {
            return runs;
        }
    }
    unreachable!("there are finitely many orders")
}

/// One run. Returns the threads, whose stacks serve the next run again.
fn run(
    mut threads: Vec<Coroutine>,
    bodies: Vec<Body>,
    choices: &mut Choices,
    mut preemptions: usize,
) -> Vec<Coroutine> {
    for (number, body) in bodies.into_iter().enumerate() {
        match threads.get_mut(number) {
            Some(thread) => thread.init_code(body),
            None => threads.push(Gn::new_opt(STACK, body)),
        }
    }
    RUNNING.set(Some(Running {
        current: usize::MAX,
        threads: vec![ThreadState::Ready; threads.len()],
    }));
    let mut last = None;
    loop {
        let states = with_running(|running| running.threads.clone()).expect("a run");
        let is_ready = |number: &usize| states[*number] == ThreadState::Ready;
        let continues = last.filter(is_ready);
        let others = (0..states.len()).filter(|number| Some(*number) != continues);
        let mut ways: Vec<_> = continues
            .into_iter()
            .chain(others.filter(is_ready))
            .collect();
        if continues.is_some() && preemptions == 0 {
            ways.truncate(1);
        }
        if ways.is_empty() {
            if states.iter().any(|state| *state != ThreadState::Over) {
                std::mem::forget(threads); // Their destructors also wait.
                panic!("all threads wait: {states:?}");
            }
            RUNNING.set(None);
            return threads;
        }
        let next = ways[choices.choose(ways.len())];
        preemptions -= usize::from(continues.is_some_and(|thread| thread != next));
        with_running(|running| running.current = next);
        threads[next].resume();
        if threads[next].is_done() {
            enter(ThreadState::Over);
        }
        last = Some(next);
    }
}

impl Choices {
    fn choose(&mut self, ways: usize) -> usize {
        if ways == 1 {
            return 0;
        }
        if self.made == self.taken.len() {
            self.taken.push((ways, 0));
        }
        let (known, choice) = self.taken[self.made];
        assert_eq!(known, ways, "a scene must do the same each time");
        self.made += 1;
        choice
    }

    fn next_run(&mut self) -> bool {
        self.made = 0;
        while let Some((ways, choice)) = self.taken.pop() {
            if choice + 1 < ways {
                self.taken.push((ways, choice + 1));
                return true;
            }
        }
        false
    }
}

/// `None` outside a run: a scene and its check have no other threads.
fn with_running<T>(action: impl FnOnce(&mut Running) -> T) -> Option<T> {
    RUNNING.with_borrow_mut(|running| running.as_mut().map(action))
}

fn enter(state: ThreadState) {
    with_running(|running| running.threads[running.current] = state);
}

/// The number of the current thread.
pub(super) fn current_thread() -> usize {
    with_running(|running| running.current).unwrap_or_default()
}

/// A point at which another thread may continue.
pub(super) fn step() {
    if with_running(|_| ()).is_some() {
        generator::yield_with(());
    }
}

/// Waits until another thread unblocks this key.
pub(super) fn block(key: usize) {
    enter(ThreadState::Blocked(key));
    step();
}

/// Lets the threads continue that wait for this key.
pub(super) fn unblock(key: usize) {
    with_running(|running| {
        for thread in &mut running.threads {
            if *thread == ThreadState::Blocked(key) {
                *thread = ThreadState::Ready;
            }
        }
    });
}
