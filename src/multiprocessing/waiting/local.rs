//! A value of one process. A process that is forked by other means than this crate has the memory of its parent, but
//! not the threads that use it: a lock in it may stay held forever. So the fork gets a new value.

use std::sync::OnceLock;

use crate::sys;

/// One value for each process that has this in its memory.
#[derive(Debug)]
pub(crate) struct Local<T> {
    generation: u32,
    value: T,
    /// The value of a fork.
    of_fork: OnceLock<Box<Self>>,
}

impl<T: Default> Local<T> {
    /// With the value of a process that is not a fork.
    pub(crate) const fn first(value: T) -> Self {
        Self {
            generation: 0,
            value,
            of_fork: OnceLock::new(),
        }
    }

    /// The value of this process.
    pub(crate) fn get(&self) -> &T {
        if self.generation == sys::generation() {
            return &self.value;
        }
        self.of_fork.get_or_init(Box::default).get()
    }
}

impl<T: Default> Default for Local<T> {
    fn default() -> Self {
        let generation = sys::generation();
        Self {
            generation,
            ..Self::first(T::default())
        }
    }
}
