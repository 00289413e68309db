//! Tests only: one [robust lock](super::lock), as two processes see it.

#[cfg(all(test, not(properties)))]
pub(super) mod tests {
    use std::process::{Child, Command, Stdio};
    use std::sync::Arc;
    use std::sync::atomic::AtomicU64;

    use super::super::lock::RobustLock;
    use crate::multiprocessing::waiting::bell::Bell;
    use crate::sys::SharedMapping;

    /// The same lock, as two processes see it.
    pub(crate) fn two() -> (RobustLock, RobustLock) {
        let bell = Bell::new().expect("a bell");
        let (one, fd) = SharedMapping::create(4096).expect("memory");
        let other = SharedMapping::open(fd, 4096).expect("the same memory");
        let lock = |memory| RobustLock::new(Arc::new(memory), 64, bell.clone());
        (lock(one), lock(other))
    }

    pub(crate) fn data(lock: &RobustLock) -> &AtomicU64 {
        lock.memory.word(0)
    }

    pub(crate) fn process() -> Child {
        let mut process = Command::new("cat");
        process.stdin(Stdio::piped()).spawn().expect("a process")
    }
}
