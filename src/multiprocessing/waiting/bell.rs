//! A bell that every process hears. One ring wakes all current listeners, and no process can consume it: it is an
//! eventfd that is never read, and each listener waits for its edges.

use std::io;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::multiprocessing::known::Part;
use crate::sys::{self, AsFd as _, BlockingEdges, Edges};
use crate::wire::descriptors::Descriptor;

/// Wakes tasks and threads of all processes that have it. A clone is the same bell.
#[derive(Clone, Debug)]
pub(crate) struct Bell {
    eventfd: Descriptor,
    /// A socket whose hang-up wakes the listeners of this bell, too.
    end: Option<Descriptor>,
}

impl Bell {
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self::of(sys::bell()?.into()))
    }

    fn of(eventfd: Descriptor) -> Self {
        let end = None;
        Self { eventfd, end }
    }

    /// The same bell. Its listeners also wake when `end` becomes readable or its other side is closed.
    pub(crate) fn with_end(&self, end: Descriptor) -> Self {
        Self {
            eventfd: self.eventfd.clone(),
            end: Some(end),
        }
    }

    /// Rings, by one system call.
    pub(crate) fn ring(&self) {
        sys::ring(self.eventfd.as_fd());
    }

    /// The bell as a part of an object.
    pub(crate) fn part(&self) -> Option<Part> {
        Part::eventfd(self.eventfd.as_fd())
    }

    /// Listens in a task. (Tokio registers a descriptor only once, so it is cloned.)
    ///
    /// # Panics
    /// Outside of a tokio runtime, or in one without an I/O driver.
    pub(crate) fn listener(&self) -> io::Result<Edges> {
        Edges::of(sys::own_descriptor(&self.eventfd.as_fd())?)
    }

    /// Listens to the end in a task, if the bell has one.
    ///
    /// # Panics
    /// Like [`listener`](Self::listener).
    pub(crate) fn end_listener(&self) -> io::Result<Option<Edges>> {
        let end = self.end.as_ref();
        let end = end.map(|end| Edges::of(sys::own_descriptor(&end.as_fd())?));
        end.transpose()
    }

    /// Listens on a thread: for rings as edges of the first kind, and for the end as edges of the second.
    pub(crate) fn edges(&self, ring: u64, end: u64) -> io::Result<BlockingEdges> {
        let edges = BlockingEdges::new()?;
        edges.add(self.eventfd.as_fd(), ring)?;
        if let Some(socket) = &self.end {
            edges.add(socket.as_fd(), end)?;
        }
        Ok(edges)
    }
}

/// Listeners also identify processes. So a bell is valid only within one pid and time namespace, and its encoding
/// contains the namespaces.
impl Serialize for Bell {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        (&self.eventfd, sys::home()).serialize(serializer)
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
        Ok(Self::of(descriptor))
    }
}
