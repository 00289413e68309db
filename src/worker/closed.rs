//! The end of a worker whose descriptors a task has closed.

use std::io;

use crate::sys;

/// Returns the outcome of an operation on a descriptor of this worker. If the descriptor was closed, ends this process
/// instead: without descriptors the worker cannot serve, and it must not close any of them a second time.
///
/// The parent then finds the outcomes of finished items in the shared page.
pub(super) fn unless_closed<T>(outcome: io::Result<T>) -> io::Result<T> {
    match outcome {
        Err(error) if sys::is_closed(&error) => exit_without_descriptors(),
        outcome => outcome,
    }
}

#[cold]
fn exit_without_descriptors() -> ! {
    eprintln!(
        "concurrent-futures: a worker process exits, because a task, an initializer or a preload has closed \
         descriptors of its worker; let it close only those that it has opened"
    );
    sys::exit_forked(1)
}
