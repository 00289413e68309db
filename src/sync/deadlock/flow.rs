//! Whether a task that waits for a lock keeps another lock meanwhile. It does not if one branch of the task waits and
//! another branch holds the lock.
//!
//! The branches of one task (`join!`, `select!`) have the same task id. But the future that each branch awaits has
//! memory of its own while it lives. A flow of control reuses its memory: its next future is where the one before was.
//! So if the future that waits for a lock overlaps the place of the future that took another one, both belong to one
//! flow. If not, it is unknown whether they do, and nothing is reported.

use std::mem::size_of_val;
use std::ptr;

use crate::sync::block::{Blocking, blocking};
use crate::sync::owner::LockOwner;

/// The flow of control that takes a lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Flow {
    /// A thread outside of tasks, by a method that blocks.
    Thread,
    /// A future at these addresses.
    Future {
        start: usize,
        end: usize,
    },
    Unknown,
}

impl Flow {
    /// The flow of `owner`, the caller, which polls a future with these two parts.
    pub(super) fn of<A, B>(owner: Option<LockOwner>, one: &A, other: &B) -> Self {
        match (owner, blocking()) {
            (None, _) => Self::Unknown,
            (Some(_), Blocking::No) => {
                let [one, other] = [extent(one), extent(other)];
                let (start, end) = (one.0.min(other.0), one.1.max(other.1));
                Self::Future { start, end }
            }
            (Some(LockOwner::Thread(_)), _) => Self::Thread,
            // A thread inside `block_in_place`, of any branch of the task.
            (Some(LockOwner::Task(_)), _) => Self::Unknown,
        }
    }

    /// Whether this flow certainly comes after `hold`, a flow of the same owner: it took its lock before and keeps it.
    pub(super) fn follows(self, hold: Self) -> bool {
        match (hold, self) {
            (Self::Unknown, _) | (_, Self::Unknown) => false,
            // A thread that blocks runs no future meanwhile, except for those that it waits for.
            (Self::Thread, _) | (_, Self::Thread) => true,
            (
                Self::Future { start, end },
                Self::Future {
                    start: own,
                    end: own_end,
                },
            ) => own < end && start < own_end,
        }
    }
}

/// The addresses from the first byte up to, and without, the byte after the last.
fn extent<T>(part: &T) -> (usize, usize) {
    let start = ptr::from_ref(part).addr();
    (start, start + size_of_val(part))
}

#[cfg(all(test, not(properties)))]
mod tests {
    use super::*;

    #[test]
    fn a_future_follows_where_it_overlaps_and_a_thread_follows_itself() {
        let future = |start, end| Flow::Future { start, end };
        assert!(future(12, 30).follows(future(10, 20)) && future(2, 11).follows(future(10, 20)));
        assert!(!future(20, 30).follows(future(10, 20)) && !future(1, 10).follows(future(10, 20)));
        assert!(Flow::Thread.follows(Flow::Thread) && future(1, 2).follows(Flow::Thread));
        assert!(!Flow::Unknown.follows(Flow::Thread) && !Flow::Thread.follows(Flow::Unknown));
    }
}
