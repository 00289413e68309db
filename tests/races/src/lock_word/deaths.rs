//! Processes take a lock in turn, and some are killed. Each waiter gets the lock, and is its only holder.

use std::sync::atomic as standard;

use loom::cell::UnsafeCell;
use loom::sync::Arc;
use loom::thread;

use super::atomic::{AtomicU64, explore};
use super::mark::Mark;
use super::system::{System, die, until_it_dies};
use super::word::Word;

/// Where a process is killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Killed {
    Never,
    /// It has taken the lock.
    Holding,
    /// It has released the lock, and not rung yet.
    BeforeItRings,
    /// It has rung, and not cleared the mark yet.
    AfterItRang,
    /// It has set the mark to wait.
    Waiting,
}

use Killed::{AfterItRang, BeforeItRings, Holding, Never, Waiting};

struct Lock {
    holder: AtomicU64,
    waiting: AtomicU64,
    /// Loom checks that no thread accesses it while another may do so.
    guarded: UnsafeCell<()>,
    /// How many processes have held the lock.
    had: standard::AtomicUsize,
    system: System,
}

impl Lock {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            holder: AtomicU64::new(0),
            waiting: AtomicU64::new(0),
            guarded: UnsafeCell::new(()),
            had: standard::AtomicUsize::new(0),
            system: System::new(),
        })
    }

    fn word(&self) -> Word<'_> {
        Word {
            holder: &self.holder,
            waiting: Mark(&self.waiting),
        }
    }

    /// Waits for the lock, unless it is killed during the wait. Returns whether it was killed.
    fn lock(&self, own: u64, killed: Killed) -> bool {
        !self.system.lock(self.word(), own, || killed == Waiting)
    }

    /// Runs the process with the number `own`.
    fn run(&self, own: u64, killed: Killed) {
        self.run_until_killed(own, killed);
        if killed != Never {
            self.system.end(own); // Otherwise it continues, and has woken the waiters.
        }
    }

    fn run_until_killed(&self, own: u64, killed: Killed) {
        if self.lock(own, killed) {
            return;
        }
        self.guarded.with_mut(|_| ());
        self.had.fetch_add(1, standard::Ordering::Relaxed);
        match killed {
            Never | Waiting => self.word().give_back(own, || self.system.ring()),
            Holding => {}
            BeforeItRings => until_it_dies(|| self.word().give_back(own, die)),
            AfterItRang => until_it_dies(|| {
                self.word().give_back(own, || {
                    self.system.ring();
                    die();
                });
            }),
        }
    }
}

/// Runs the processes in every order, with at most `preemptions` switches between processes that could have
/// continued.
fn in_every_order(preemptions: usize, processes: &'static [Killed]) {
    explore(preemptions, move || run(processes));
}

fn run(processes: &'static [Killed]) {
    let lock = Lock::new();
    let others = processes.iter().enumerate().skip(1);
    let others = others.map(|(number, killed)| {
        let lock = lock.clone();
        thread::spawn(move || lock.run(number as u64 + 1, *killed))
    });
    let others: Vec<_> = others.collect();
    lock.run(1, processes[0]);
    for process in others {
        process.join().unwrap();
    }
    // Each process that was not killed while it waited has held the lock. They end, or loom finds them
    // waiting forever.
    let alive = processes.iter().filter(|killed| **killed != Waiting);
    assert!(lock.had.load(standard::Ordering::Relaxed) >= alive.count());
}

#[test]
fn one_process_at_a_time_has_the_lock_and_each_gets_it() {
    in_every_order(4, &[Never, Never]);
    in_every_order(2, &[Never, Never, Never]);
}

#[test]
fn a_killed_holder_lets_the_others_in() {
    in_every_order(4, &[Never, Holding]);
    in_every_order(2, &[Never, Never, Holding]);
    in_every_order(2, &[Never, Holding, Holding]);
}

#[test]
fn a_kill_before_the_wake_up_leaves_no_waiter() {
    in_every_order(4, &[Never, BeforeItRings]);
    in_every_order(2, &[Never, Never, BeforeItRings]);
    in_every_order(2, &[Never, BeforeItRings, BeforeItRings]);
    in_every_order(2, &[Never, Holding, BeforeItRings]);
}

#[test]
fn a_kill_after_the_wake_up_leaves_no_waiter() {
    in_every_order(4, &[Never, AfterItRang]);
    in_every_order(2, &[Never, Never, AfterItRang]);
    in_every_order(2, &[Never, BeforeItRings, AfterItRang]);
}

#[test]
fn one_that_is_killed_while_it_waits_takes_nothing_along() {
    in_every_order(4, &[Never, Waiting]);
    in_every_order(2, &[Never, Never, Waiting]);
    in_every_order(2, &[Never, BeforeItRings, Waiting]);
}
