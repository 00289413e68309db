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

impl<T> Local<T> {
    /// Created with the value of a process that is not a fork.
    pub(crate) const fn first(value: T) -> Self {
        Self {
            generation: 0,
            value,
            of_fork: OnceLock::new(),
        }
    }

    /// Created with the value of this process.
    pub(crate) fn new(value: T) -> Self {
        Self {
            generation: sys::generation(),
            ..Self::first(value)
        }
    }

    /// The value of this process. A fork creates its own.
    #[inline]
    pub(crate) fn get_or(&self, make: impl Fn() -> T) -> &T {
        let generation = sys::generation();
        if self.generation == generation {
            return &self.value;
        }
        self.of_fork(generation, make)
    }

    #[cold]
    fn of_fork(&self, generation: u32, make: impl Fn() -> T) -> &T {
        let mut here = self;
        while here.generation != generation {
            let new = || Box::new(Self::new(make()));
            here = here.of_fork.get_or_init(new);
        }
        &here.value
    }
}

impl<T: Default> Local<T> {
    /// The value of this process.
    pub(crate) fn get(&self) -> &T {
        self.get_or(T::default)
    }
}

impl<T: Default> Default for Local<T> {
    fn default() -> Self {
        Self::new(T::default())
    }
}
