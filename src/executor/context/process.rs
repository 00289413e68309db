//! What a process that this crate started knows about itself. Its parent sends this in the setup.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::wire::message::ChildIdentity;

/// The identity from the setup, with the id of the process that received it. A fork inherits the value, but has another
/// process id.
static RECEIVED: Mutex<Option<(u32, Arc<ChildIdentity>)>> = Mutex::new(None);

/// Stores the identity. Called in a new process before any user code runs.
pub(crate) fn become_child(identity: ChildIdentity) {
    *lock() = Some((std::process::id(), Arc::new(identity)));
}

/// The identity of this process. `None` if this crate has not started it: it is the program itself, or a fork made by
/// the program or by a task.
#[cfg(feature = "multiprocessing")]
pub(crate) fn child() -> Option<Arc<ChildIdentity>> {
    let received = lock();
    let (pid, identity) = received.as_ref()?;
    (*pid == std::process::id()).then(|| identity.clone())
}

fn lock() -> MutexGuard<'static, Option<(u32, Arc<ChildIdentity>)>> {
    RECEIVED.lock().unwrap_or_else(PoisonError::into_inner)
}
