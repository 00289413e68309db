//! A bell that every process hears. One ring wakes everybody who listens at that moment, and nobody
//! can take it from another: it is an eventfd that nobody reads, and each listens for its edges.

use std::io;
use std::os::fd::AsFd as _;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::sys::{self, BlockingEdges, Edges};
use crate::wire::descriptors::Descriptor;

/// Wakes tasks and threads of all processes that have it. A copy is the same bell.
#[derive(Clone, Debug)]
pub(super) struct Bell(Descriptor);

impl Bell {
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self(sys::eventfd()?.into()))
    }

    /// One system call.
    pub(super) fn ring(&self) {
        sys::signal(self.0.as_fd());
    }

    /// What a task listens with. (Tokio takes one descriptor once.)
    ///
    /// # Panics
    /// Outside of a tokio runtime, or in one without an I/O driver.
    pub(super) fn listener(&self) -> io::Result<Edges> {
        Edges::of(self.0.as_fd().try_clone_to_owned()?)
    }

    /// What a thread listens with, for edges of this kind.
    pub(super) fn edges(&self, kind: u64) -> io::Result<BlockingEdges> {
        let edges = BlockingEdges::new()?;
        edges.add(self.0.as_fd(), kind)?;
        Ok(edges)
    }
}

/// Who listens to one bell also tells processes by their identities. So it goes only where these mean the
/// same, and says from where it comes.
impl Serialize for Bell {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        (&self.0, sys::home()).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Bell {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let (descriptor, home) = <(Descriptor, u64)>::deserialize(deserializer)?;
        if home != sys::home() {
            return Err(serde::de::Error::custom(
                "the object comes from a process in another namespace of process ids or of clocks, where \
                 nobody here could tell whether a process that uses it has ended",
            ));
        }
        Ok(Self(descriptor))
    }
}
