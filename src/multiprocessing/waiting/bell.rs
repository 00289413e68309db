//! A bell that every process hears. One ring wakes every listener of that moment, and no process can take it
//! away: it is an eventfd that is never read, and each listener waits for its edges.

use std::io;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::multiprocessing::known::Part;
use crate::sys::{self, AsFd as _, BlockingEdges, Edges};
use crate::wire::descriptors::Descriptor;

/// Wakes tasks and threads of all processes that have it. A clone is the same bell.
#[derive(Clone, Debug)]
pub(crate) struct Bell(Descriptor);

impl Bell {
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self(sys::bell()?.into()))
    }

    /// One system call.
    pub(crate) fn ring(&self) {
        sys::ring(self.0.as_fd());
    }

    /// The bell as a part of an object.
    pub(crate) fn part(&self) -> Option<Part> {
        Part::eventfd(self.0.as_fd())
    }

    /// Listens in a task. (Tokio registers a descriptor only once, so it is cloned.)
    ///
    /// # Panics
    /// Outside of a tokio runtime, or in one without an I/O driver.
    pub(crate) fn listener(&self) -> io::Result<Edges> {
        Edges::of(sys::own_descriptor(&self.0.as_fd())?)
    }

    /// Listens in a thread, for edges of this kind.
    pub(crate) fn edges(&self, kind: u64) -> io::Result<BlockingEdges> {
        let edges = BlockingEdges::new()?;
        edges.add(self.0.as_fd(), kind)?;
        Ok(edges)
    }
}

/// Listeners also identify processes. So a bell is valid only within one pid and time namespace, and carries
/// where it comes from.
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
                "the shared object comes from a process in another pid or time namespace, where the end \
                 of its holder cannot be detected; share objects within one namespace only",
            ));
        }
        sys::check_eventfd(&descriptor).map_err(serde::de::Error::custom)?;
        Ok(Self(descriptor))
    }
}
