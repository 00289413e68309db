//! The tasks that this worker has, from their delivery to their end. Used when another worker asks about a claim of
//! this one, and when a client cancels.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_nats::Subject;

use crate::cluster::task_message::ReplyTo;
use crate::executor::relay::Relayed;

#[derive(Debug, Default)]
pub(super) struct TaskTable(Mutex<HashMap<ReplyTo, Arc<HeldTask>>>);

/// A task that this worker has.
#[derive(Debug)]
pub(super) struct HeldTask {
    pub(super) reply: ReplyTo,
    state: Mutex<HeldState>,
}

#[derive(Debug)]
struct HeldState {
    /// The subject for the answer to the latest delivery.
    answer_to: Subject,
    stage: Stage,
}

/// How far a task is.
#[derive(Debug)]
enum Stage {
    /// The local executor does not have it.
    Before,
    /// The local executor has it.
    Running(Relayed),
    /// It is to end: it will not start, or it was cancelled in the local executor.
    Ended(HeldEnd),
}

/// Why a task is ended early.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum HeldEnd {
    /// Its client has cancelled it.
    Cancelled,
    /// The worker is ending.
    Abandoned,
}

impl TaskTable {
    /// Adds a task that was delivered. `None` if the table has it: then the server has delivered it again, and the
    /// known task will answer the latest delivery.
    pub(super) fn add(&self, reply: &ReplyTo, answer_to: Subject) -> Option<Arc<HeldTask>> {
        let mut tasks = lock(&self.0);
        if let Some(held) = tasks.get(reply) {
            lock(&held.state).answer_to = answer_to;
            return None;
        }
        let held = Arc::new(HeldTask {
            reply: reply.clone(),
            state: Mutex::new(HeldState {
                answer_to,
                stage: Stage::Before,
            }),
        });
        tasks.insert(reply.clone(), held.clone());
        Some(held)
    }

    /// Removes a task. A later delivery of the same task stays.
    pub(super) fn remove(&self, held: &HeldTask) {
        let mut tasks = lock(&self.0);
        if let Some(known) = tasks.get(&held.reply)
            && std::ptr::eq(&raw const **known, held)
        {
            tasks.remove(&held.reply);
        }
    }

    pub(super) fn get(&self, reply: &ReplyTo) -> Option<Arc<HeldTask>> {
        lock(&self.0).get(reply).cloned()
    }

    pub(super) fn all(&self) -> Vec<Arc<HeldTask>> {
        lock(&self.0).values().cloned().collect()
    }
}

impl HeldTask {
    /// The subject for the answer to the latest delivery. It changes with each delivery.
    pub(super) fn answer_to(&self) -> Subject {
        lock(&self.state).answer_to.clone()
    }

    /// Whether the local executor has it.
    pub(super) fn is_running(&self) -> bool {
        matches!(lock(&self.state).stage, Stage::Running(_))
    }

    /// Why it is to end, if it is to end.
    pub(super) fn end(&self) -> Option<HeldEnd> {
        match lock(&self.state).stage {
            Stage::Ended(end) => Some(end),
            _ => None,
        }
    }

    /// The local executor has it now. If it is to end, it is cancelled there.
    pub(super) fn start(&self, relayed: Relayed) {
        let mut state = lock(&self.state);
        match state.stage {
            Stage::Ended(_) => {
                drop(state);
                relayed.cancel();
            }
            _ => state.stage = Stage::Running(relayed),
        }
    }

    /// The local executor has answered it.
    pub(super) fn stop(&self) {
        let mut state = lock(&self.state);
        if matches!(state.stage, Stage::Running(_)) {
            state.stage = Stage::Before;
        }
    }

    /// Ends it at any stage. The first reason counts.
    pub(super) fn end_as(&self, end: HeldEnd) {
        let mut state = lock(&self.state);
        if matches!(state.stage, Stage::Ended(_)) {
            return;
        }
        let before = std::mem::replace(&mut state.stage, Stage::Ended(end));
        drop(state); // The local executor may call `stop` within the cancel.
        if let Stage::Running(relayed) = before {
            relayed.cancel();
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
