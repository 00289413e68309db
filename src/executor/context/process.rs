//! What a process that this crate has started knows about itself: what its parent has said in its setup.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::wire::message::ChildIdentity;

/// The process that this was said to, and what was said. A fork has its parent's copy.
static SAID: Mutex<Option<(u32, Arc<ChildIdentity>)>> = Mutex::new(None);

/// In a new process, before any code of the user runs.
pub(crate) fn become_child(identity: ChildIdentity) {
    *lock() = Some((std::process::id(), Arc::new(identity)));
}

/// `None` in a process that this crate has not started: the program itself, or what the program or a task has forked.
#[cfg(feature = "multiprocessing")]
pub(crate) fn child() -> Option<Arc<ChildIdentity>> {
    let said = lock();
    let (pid, identity) = said.as_ref()?;
    (*pid == std::process::id()).then(|| identity.clone())
}

fn lock() -> MutexGuard<'static, Option<(u32, Arc<ChildIdentity>)>> {
    SAID.lock().unwrap_or_else(PoisonError::into_inner)
}
