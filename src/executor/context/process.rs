//! What a process that this crate has started knows about itself. Its parent sends that in its setup.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::wire::message::ChildIdentity;

/// The identity from the setup, with the id of the process that received it. A fork inherits it, but has another id.
static RECEIVED: Mutex<Option<(u32, Arc<ChildIdentity>)>> = Mutex::new(None);

/// In a new process, before any code of the user runs.
pub(crate) fn become_child(identity: ChildIdentity) {
    *lock() = Some((std::process::id(), Arc::new(identity)));
}

/// `None` in a process that this crate has not started: the program itself, or what the program or a task has forked.
#[cfg(feature = "multiprocessing")]
pub(crate) fn child() -> Option<Arc<ChildIdentity>> {
    let received = lock();
    let (pid, identity) = received.as_ref()?;
    (*pid == std::process::id()).then(|| identity.clone())
}

fn lock() -> MutexGuard<'static, Option<(u32, Arc<ChildIdentity>)>> {
    RECEIVED.lock().unwrap_or_else(PoisonError::into_inner)
}
