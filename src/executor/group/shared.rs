//! What the tasks of a group share. The end of a task is handled on the thread that finds its outcome, and not when the
//! group is polled: so an error cancels the other tasks at once.

use std::collections::HashMap;
use std::future::poll_fn;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use tokio::sync::Notify;

use crate::executor::error::TaskError;
use crate::executor::handle::AbortHandle;
use crate::home::Home;

/// What the callbacks of the tasks use, on any thread that finds an outcome.
pub(super) struct GroupShared {
    state: Mutex<GroupState>,
    /// Notified when a task gets its outcome.
    settled: Notify,
}

struct GroupState {
    /// The tasks without an outcome, by their numbers.
    in_flight: HashMap<u64, AbortHandle>,
    /// The homes of the tasks' executors, each once.
    homes: Vec<Weak<Home>>,
    cancel_on_error: bool,
    /// The first error. Once the group is cancelled, no later one counts.
    first_error: Option<TaskError>,
    is_cancelled: bool,
}

impl Default for GroupShared {
    fn default() -> Self {
        let state = GroupState {
            in_flight: HashMap::new(),
            homes: Vec::new(),
            cancel_on_error: true,
            first_error: None,
            is_cancelled: false,
        };
        Self {
            state: Mutex::new(state),
            settled: Notify::new(),
        }
    }
}

impl GroupShared {
    pub(super) fn cancel_on_error(&self, cancel: bool) {
        self.lock().cancel_on_error = cancel;
    }

    /// Adds a task. Returns whether the group is cancelled: then the caller aborts the task.
    pub(super) fn enter(&self, task: AbortHandle) -> bool {
        let mut state = self.lock();
        if let Some(home) = task.home() {
            state.note_home(home);
        }
        state.in_flight.insert(task.id(), task);
        state.is_cancelled
    }

    #[cfg(feature = "process")]
    pub(super) fn is_cancelled(&self) -> bool {
        self.lock().is_cancelled
    }

    pub(super) fn first_error(&self) -> Option<TaskError> {
        self.lock().first_error.clone()
    }

    pub(super) fn in_flight(&self) -> usize {
        self.lock().in_flight.len()
    }

    /// Waits until fewer than `limit` tasks are without an outcome.
    pub(super) async fn fewer_than(&self, limit: usize) {
        loop {
            let homes: Vec<_> = match self.lock() {
                state if state.in_flight.len() < limit => return,
                state => state.homes.iter().filter_map(Weak::upgrade).collect(),
            };
            let mut settled = pin!(self.settled.notified());
            poll_fn(|cx| {
                // Once for each poll: a different runtime may poll it now.
                homes.iter().for_each(|home| home.note_caller());
                settled.as_mut().poll(cx)
            })
            .await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, GroupState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Removes a task that has its outcome.
    pub(super) fn settle(&self, id: u64, error: Option<&TaskError>) {
        let mut state = self.lock();
        state.in_flight.remove(&id);
        let mut rest = Vec::new();
        if let Some(error) = error
            && !state.is_cancelled
        {
            state.first_error.get_or_insert_with(|| error.clone());
            if state.cancel_on_error {
                rest = state.cancel();
            }
        }
        drop(state);
        rest.iter().for_each(AbortHandle::abort); // Each settles in turn.
        self.settled.notify_one();
    }

    pub(super) fn abort_all(&self) {
        let rest = self.lock().cancel();
        rest.iter().for_each(AbortHandle::abort);
    }
}

impl GroupState {
    fn note_home(&mut self, home: &Arc<Home>) {
        let is_known = |known: &Weak<Home>| known.as_ptr() == Arc::as_ptr(home);
        if !self.homes.iter().any(is_known) {
            self.homes.retain(|known| known.strong_count() > 0);
            self.homes.push(Arc::downgrade(home));
        }
    }

    /// Marks the group as cancelled. Returns the tasks to abort.
    fn cancel(&mut self) -> Vec<AbortHandle> {
        self.is_cancelled = true;
        self.in_flight.values().cloned().collect()
    }
}
