//! Where jobs come in. As long as all seats work, whoever submits leaves a job here and touches nothing
//! that a seat touches: a seat takes all that is here at once, when the backlog is empty.
//!
//! A job counts as submitted from when it is here, so a seat looks here too when something here may be
//! more urgent than what is first in the backlog.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::backlog::{Backlog, Pending, Popped, USUAL};

#[derive(Debug)]
pub(super) struct Door<T> {
    inner: Apart<Mutex<Inner<T>>>,
    /// Whether there are jobs, and whether one is of more than the usual priority. Changed under the
    /// lock, and seldom.
    has_jobs: AtomicBool,
    is_urgent: AtomicBool,
}

/// On cache lines of its own: one side writes here all the time, while the other reads what is beside.
#[derive(Debug)]
#[repr(align(128))]
struct Apart<T>(T);

#[derive(Debug)]
struct Inner<T> {
    jobs: Backlog<T>,
    calls: bool,
    closed: bool,
}

/// What is to be done about a job that was left.
pub(super) enum Knock {
    /// A seat is to be called for it.
    Call,
    /// Seats that look for something to do are to look here.
    Tell,
    Nothing,
}

impl<T: Pending> Door<T> {
    /// Open. Who leaves something is to call a seat.
    pub(super) fn new() -> Self {
        let inner = Inner {
            jobs: Backlog::default(),
            calls: true,
            closed: false,
        };
        Self {
            inner: Apart(Mutex::new(inner)),
            has_jobs: AtomicBool::new(false),
            is_urgent: AtomicBool::new(false),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner<T>> {
        self.inner.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells those who do not take the lock.
    fn update(&self, inner: &Inner<T>) {
        let first = inner.jobs.first_priority();
        self.has_jobs.store(first.is_some(), Ordering::Relaxed);
        let is_urgent = first.is_some_and(|first| first > USUAL);
        self.is_urgent.store(is_urgent, Ordering::Relaxed);
    }

    /// Leaves a job. It comes back if the door is closed.
    pub(super) fn leave(&self, job: T) -> Result<Knock, T> {
        let mut inner = self.lock();
        if inner.closed {
            return Err(job);
        }
        let was_empty = inner.jobs.is_empty();
        let changes = was_empty || job.ticket().priority() > USUAL;
        inner.jobs.push(job);
        if changes {
            self.update(&inner);
        }
        Ok(match was_empty {
            _ if inner.calls => Knock::Call,
            true => Knock::Tell,
            false => Knock::Nothing,
        })
    }

    /// What is to run next, be it in `backlog` or here.
    pub(super) fn pop(&self, backlog: &mut Backlog<T>) -> Option<Popped<T>> {
        let first = backlog.first_priority();
        let may_be_first = match first {
            None => self.has_jobs(),
            Some(first) => first < USUAL || self.is_urgent.load(Ordering::Relaxed),
        };
        if may_be_first {
            let mut inner = self.lock();
            let other = inner.jobs.first_priority();
            if first.is_none() {
                std::mem::swap(&mut inner.jobs, backlog);
                self.update(&inner);
            } else if other > first {
                let popped = inner.jobs.pop();
                self.update(&inner);
                return popped;
            }
        }
        backlog.pop()
    }

    /// Whether there is a job. What was left by somebody who then took a lock that this thread took later
    /// is seen.
    pub(super) fn has_jobs(&self) -> bool {
        self.has_jobs.load(Ordering::Relaxed)
    }

    /// How many items wait here.
    pub(super) fn items(&self) -> usize {
        self.lock().jobs.items()
    }

    /// From now on whoever leaves a job is to call a seat, or need not. True if one is to be called for
    /// what was left before.
    pub(super) fn set_calls(&self, calls: bool) -> bool {
        let mut inner = self.lock();
        inner.calls = calls;
        calls && !inner.jobs.is_empty()
    }

    /// Nothing is taken any more.
    pub(super) fn close(&self) {
        self.lock().closed = true;
    }

    /// Does something with all that is here.
    pub(super) fn with<R>(&self, work: impl FnOnce(&mut Backlog<T>) -> R) -> R {
        let mut inner = self.lock();
        let outcome = work(&mut inner.jobs);
        self.update(&inner);
        outcome
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::TaskOptions;
    use crate::executor::promise::Ticket;

    struct Job(Ticket);

    impl Pending for Job {
        fn ticket(&self) -> &Ticket {
            &self.0
        }

        fn first_item(&self) -> u32 {
            0
        }

        fn items(&self) -> u32 {
            1
        }
    }

    fn job(priority: i32) -> Job {
        let options = TaskOptions::new().priority(priority);
        Job(Ticket::new("test", Some(options.into())))
    }

    /// The priorities of what is popped.
    fn pop_all(door: &Door<Job>, backlog: &mut Backlog<Job>) -> Vec<i32> {
        let popped = std::iter::from_fn(|| door.pop(backlog));
        let priorities = popped.map(|popped| popped.entry.ticket().priority());
        priorities.collect()
    }

    #[test]
    fn what_is_most_urgent_is_taken_first_wherever_it_is() {
        let door = Door::new();
        let mut backlog = Backlog::default();
        for priority in [0, -1, 3, 0] {
            assert!(door.leave(job(priority)).is_ok());
        }
        assert_eq!(door.pop(&mut backlog).map(|first| first.items), Some(1)); // The 3.
        assert!(!door.has_jobs(), "all was taken along");
        for priority in [0, 5, -2] {
            assert!(door.leave(job(priority)).is_ok());
        }
        assert_eq!(pop_all(&door, &mut backlog), [5, 0, 0, 0, -1, -2]);
        assert!(!door.has_jobs() && backlog.is_empty());
    }

    #[test]
    fn what_is_left_while_nobody_can_be_called_is_not_forgotten() {
        let door = Door::new();
        assert!(matches!(door.leave(job(0)), Ok(Knock::Call)));
        assert!(!door.set_calls(false));
        assert!(matches!(door.leave(job(0)), Ok(Knock::Nothing)));
        assert_eq!(pop_all(&door, &mut Backlog::default()).len(), 2);
        assert!(matches!(door.leave(job(0)), Ok(Knock::Tell)), "some look");
        assert!(door.set_calls(true), "one has to be called");
        door.close();
        assert!(door.leave(job(0)).is_err());
        assert_eq!(door.items(), 1, "what was taken is still to be run");
    }
}
