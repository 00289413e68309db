//! A crowd: the tasks of one runtime that all check after each change. One of them leads: it listens to the bell,
//! watches processes for all, and wakes the others after each change. When it leaves, another one leads. So a crowd
//! uses one descriptor, and a ring that is meant for others wakes one task.

use std::sync::Arc;

use tokio::sync::{Mutex, Notify, OwnedMutexGuard};

use super::local::Local;
use super::runtimes::OfRuntimes;
use super::waiter::TaskWaiter;

/// The crowds that wait for changes of one object, one in each runtime. A clone refers to the same crowds. (Each thread
/// is a crowd of its own.)
#[derive(Clone, Debug, Default)]
pub(crate) struct Crowds(Arc<Local<OfRuntimes<Crowd<TaskWaiter>>>>);

impl Crowds {
    /// The crowd of this runtime.
    pub(crate) fn here(&self) -> Arc<Crowd<TaskWaiter>> {
        self.0.get().here()
    }
}

#[derive(Debug)]
pub(crate) struct Crowd<W> {
    leader: Arc<Mutex<Leader<W>>>,
    pub(crate) news: Notify,
}

/// What a leader passes on to the next one.
#[derive(Debug)]
pub(crate) struct Leader<W> {
    pub(crate) waiter: Option<W>,
    /// The last version for which the others were woken.
    pub(crate) spread: Option<u64>,
}

impl<W> Default for Crowd<W> {
    fn default() -> Self {
        let leader = Leader {
            waiter: None,
            spread: None,
        };
        Self {
            leader: Arc::new(Mutex::new(leader)),
            news: Notify::new(),
        }
    }
}

impl<W> Crowd<W> {
    /// Becomes the leader. `None` if another task leads.
    pub(crate) fn try_to_lead(self: &Arc<Self>) -> Option<Lead<W>> {
        let leader = self.leader.clone().try_lock_owned().ok()?;
        Some(Lead {
            crowd: self.clone(),
            leader: Some(leader),
        })
    }
}

/// The right to lead. Dropping it makes another one of the crowd the leader.
#[derive(Debug)]
pub(crate) struct Lead<W> {
    crowd: Arc<Crowd<W>>,
    /// `None` only during the drop.
    leader: Option<OwnedMutexGuard<Leader<W>>>,
}

impl<W> Lead<W> {
    pub(crate) fn leader(&mut self) -> &mut Leader<W> {
        self.leader.as_mut().expect("only the drop takes it")
    }
}

impl<W> Drop for Lead<W> {
    fn drop(&mut self) {
        self.leader = None;
        self.crowd.news.notify_one();
    }
}
