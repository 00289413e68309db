//! As `src/home/current.rs`, for the threads of a schedule.

use std::cell::RefCell;
use std::sync::atomic::{AtomicU64, Ordering};

use super::schedule::current_thread;

/// More than any schedule has.
const THREADS: usize = 8;

thread_local! {
    /// For each thread the runner that it polls, and whether something in the poll failed.
    static POLLS: RefCell<[(u64, bool); THREADS]> = const { RefCell::new([(0, false); THREADS]) };
}

pub(super) fn next_number() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

pub(super) fn leave_runtime() {
    POLLS.with_borrow_mut(|polls| polls[current_thread()].1 = true);
}

pub(super) fn poll_as<T>(runner: u64, poll: impl FnOnce() -> T) -> (T, bool) {
    let replace =
        |with| POLLS.with_borrow_mut(|polls| std::mem::replace(&mut polls[current_thread()], with));
    let outer = replace((runner, false));
    let polled = poll();
    let (_, failed) = replace(outer);
    (polled, failed)
}
