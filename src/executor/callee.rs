//! The function that a job calls. A process pool finds it by its distance from a fixed function, an executor on other
//! machines by its type.

use std::any::{TypeId, type_name};

use super::data::{Arguments, Data};
use super::served::ServeItems;
use super::task::Task;
use crate::function::{EntryPoint, FunctionOffset, entry_point};

/// A function and the types of its arguments, as a job knows them.
#[derive(Clone, Copy, Debug)]
#[allow(dead_code, reason = "an executor on other machines reads all fields")]
pub(crate) struct Callee {
    /// The type of the function. Each function has its own.
    pub(crate) function: TypeId,
    /// The path of the function. It may differ between builds, and two closures may share it.
    pub(crate) path: &'static str,
    /// Serves encoded items with the function.
    pub(crate) entry: EntryPoint,
}

impl Callee {
    pub(crate) fn of<F, A, M>(function: &F) -> Self
    where
        F: Task<A, M> + Copy + Send + Sync + 'static,
        F::Output: Data,
        A: Arguments<M>,
    {
        Self {
            function: TypeId::of::<F>(),
            path: type_name::<F>(),
            entry: entry_point::<F, ServeItems<A, M>>(function),
        }
    }

    /// Where a worker process finds the function. `None` if it lies in a shared library: [`NOT_IN_EXECUTABLE`].
    pub(crate) fn offset(&self) -> Option<FunctionOffset> {
        FunctionOffset::of(self.entry)
    }
}

pub(crate) const NOT_IN_EXECUTABLE: &str = "cannot be sent: its function lies in a shared library, where a worker \
    cannot find it; move the function into the executable";
