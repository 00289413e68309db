//! A function with its name, and the parts that are needed to call it for another program.

use std::any::TypeId;
use std::fmt;
use std::sync::Arc;

use bytes::Bytes;

use crate::executor::Executor;
use crate::executor::callee::Callee;
use crate::executor::collector::Done;
use crate::executor::data::{Arguments, Data};
use crate::executor::error::TaskError;
use crate::executor::relay::{ItemBytes, Relay, Relayed, RelayedCall, relay_of};
use crate::executor::room::Room;
use crate::executor::shape::Shape;
use crate::executor::task::Task;

/// The most bytes of a name.
pub(crate) const MOST_NAME: usize = 200;

/// A function with its name.
#[derive(Clone)]
pub(crate) struct FunctionEntry {
    name: Arc<str>,
    callee: Callee,
    shape: Shape,
    relay: Arc<dyn Relay>,
}

impl FunctionEntry {
    pub(super) fn new<F, A, M>(name: Arc<str>, function: F) -> Self
    where
        F: Task<A, M> + Copy + Send + Sync + 'static,
        F::Output: Data,
        A: Arguments<M>,
        M: 'static,
    {
        Self {
            name,
            callee: Callee::of::<F, A, M>(&function),
            shape: Shape::of::<A, M, F::Output>(),
            relay: relay_of(function),
        }
    }

    pub(crate) fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// The type of the function.
    pub(crate) fn function(&self) -> TypeId {
        self.callee.function
    }

    /// The path of the function in this build.
    pub(crate) fn path(&self) -> &'static str {
        self.callee.path
    }

    pub(crate) fn shape(&self) -> &Shape {
        &self.shape
    }

    /// Runs a call of another program, as [`Relay::start`] does.
    pub(crate) fn relay(
        &self,
        call: RelayedCall,
        room: Result<Room, TaskError>,
        executor: &dyn Executor,
        done: Done,
    ) -> Relayed {
        self.relay.start(call, room, executor, done)
    }

    /// Finds the items in the payload of a call, as [`Relay::cut`] does.
    pub(crate) fn cut(&self, payload: &Bytes, items: u32) -> Result<Vec<ItemBytes>, String> {
        self.relay.cut(payload, items)
    }

    /// What is wrong with the name or the function, if anything.
    pub(super) fn mistake(&self) -> Option<String> {
        let name = &self.name;
        let path = self.path();
        if path.ends_with("{{closure}}") {
            return Some(format!(
                "`{name}` is a closure, which no other program can name; write a function"
            ));
        }
        if name.is_empty() {
            return Some(format!(
                "the name of the function `{path}` is empty; give it one"
            ));
        }
        if name.len() > MOST_NAME {
            return Some(format!(
                "the name of the function `{path}` has {} bytes, and {MOST_NAME} are allowed; give it a shorter one \
                 with `Functions::add`",
                name.len()
            ));
        }
        let is_bad = |char: char| char.is_whitespace() || char.is_control();
        name.contains(is_bad).then(|| {
            format!(
                "the name {name:?} of the function `{path}` has white space or control characters; leave them out"
            )
        })
    }
}

impl fmt::Debug for FunctionEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FunctionEntry")
            .field("name", &self.name)
            .field("shape", &self.shape)
            .finish_non_exhaustive()
    }
}
