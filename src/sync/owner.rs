//! The owner of a lock: a tokio task with everything that it awaits, or a thread outside of tasks.

use std::fmt;
use std::thread::{self, ThreadId};

use tokio::runtime::Handle;
use tokio::task;

use super::block::{Blocking, blocking};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum LockOwner {
    /// A tokio task. Tokio never uses an id twice.
    Task(task::Id),
    Thread(ThreadId),
}

impl LockOwner {
    /// The calling task, or the thread if there is none.
    pub(super) fn current() -> Self {
        task::try_id().map_or_else(|| Self::Thread(thread::current().id()), Self::Task)
    }

    /// Whether this is the calling task or thread.
    pub(super) fn is_current(self) -> bool {
        match (self, task::try_id()) {
            (Self::Task(own), Some(task)) => own == task,
            (Self::Thread(own), None) => own == thread::current().id(),
            _ => false,
        }
    }

    /// Like `current`, but `None` on a thread where an executor other than tokio's may poll: several of its
    /// tasks can share the thread and look like one owner.
    pub(super) fn known() -> Option<Self> {
        let owner = Self::current();
        let is_sure = match owner {
            Self::Task(_) => true,
            Self::Thread(_) => blocking() != Blocking::No || Handle::try_current().is_ok(),
        };
        is_sure.then_some(owner)
    }
}

impl fmt::Display for LockOwner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Task(id) => write!(f, "task {id}"),
            Self::Thread(id) => {
                // Formatted as `ThreadId(1)`: there is no other stable way to read its number.
                let id = format!("{id:?}");
                let number: String = id.chars().filter(char::is_ascii_digit).collect();
                write!(f, "thread {number}")
            }
        }
    }
}

#[cfg(all(test, not(properties)))]
mod tests {
    use super::*;
    use crate::sync::block::block_on;

    #[tokio::test]
    async fn a_task_is_an_owner_and_so_is_a_thread_outside_of_tasks() {
        let test = LockOwner::current();
        assert!(
            matches!(test, LockOwner::Thread(_)),
            "the test is blocked on, not spawned"
        );
        assert_eq!(LockOwner::known(), Some(test));
        assert!(test.is_current());
        let task = tokio::spawn(async { (task::id(), LockOwner::current()) });
        let (id, owner) = task.await.expect("no panic");
        assert!(!owner.is_current());
        assert_eq!(owner, LockOwner::Task(id));
        assert_eq!(owner.to_string(), format!("task {id}"));
    }

    #[test]
    fn no_owner_is_known_where_others_may_have_tasks_unless_the_thread_is_blocked() {
        assert_eq!(LockOwner::known(), None);
        let owner = block_on(async { LockOwner::known() });
        assert_eq!(owner, Some(LockOwner::current()));
        let words = LockOwner::current().to_string();
        let number = words.strip_prefix("thread ").expect("this is a thread");
        number.parse::<u64>().expect("threads have numbers");
    }
}
