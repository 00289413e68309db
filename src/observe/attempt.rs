//! Which attempt of a task this thread submits. `retry` sets it, and each new task takes it.

use std::cell::Cell;

thread_local! {
    /// The number of the attempt that this thread submits, if it is one of `retry`.
    static ATTEMPT: Cell<Option<u32>> = const { Cell::new(None) };
}

/// Submits a task as an attempt of `retry`: its context and its span have the number.
pub(crate) fn as_attempt<T>(attempt: u32, submit: impl FnOnce() -> T) -> T {
    /// Restores the value also after a panic of the user's code.
    struct Restore(Option<u32>);

    impl Drop for Restore {
        fn drop(&mut self) {
            ATTEMPT.set(self.0);
        }
    }

    let _restore = Restore(ATTEMPT.replace(Some(attempt)));
    submit()
}

/// The attempt that this thread submits. `None` outside `retry`.
#[inline]
pub(crate) fn attempt() -> Option<u32> {
    ATTEMPT.get()
}
