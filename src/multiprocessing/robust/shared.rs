//! The base of an object: a few words in memory, and a bell. Both travel to another process as descriptors.

use std::io;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::lock::RobustLock;
use crate::multiprocessing::waiting::bell::Bell;
use crate::sys::{self, AsFd as _, SharedMapping};
use crate::wire::descriptors::Descriptor;

/// Memory and bell of one object. They are freed with the last process that has them.
#[derive(Debug)]
pub(crate) struct SharedObject {
    memory: Arc<SharedMapping>,
    descriptor: Descriptor,
    bell: Bell,
}

impl SharedObject {
    /// Creates memory, all zeros, and allocates its first `used` bytes.
    ///
    /// # Errors
    /// No memory or no descriptor is left.
    pub(crate) fn new(len: usize, used: usize) -> io::Result<Self> {
        let (memory, fd) = SharedMapping::create(len)?;
        memory.secure(0, used)?;
        Ok(Self {
            memory: Arc::new(memory),
            descriptor: Descriptor::from(fd),
            bell: Bell::new()?,
        })
    }

    pub(crate) fn memory(&self) -> &SharedMapping {
        &self.memory
    }

    pub(crate) fn bell(&self) -> &Bell {
        &self.bell
    }

    /// The robust lock at the start of the memory.
    pub(crate) fn robust(&self) -> RobustLock {
        self.robust_at(0)
    }

    /// The robust lock at this offset.
    pub(crate) fn robust_at(&self, at: usize) -> RobustLock {
        RobustLock::new(self.memory.clone(), at, self.bell.clone())
    }

    /// Whether both are the same object. A process that receives an object twice has two handles to it.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.memory, &other.memory)
            || sys::is_same_file(self.descriptor.as_fd(), other.descriptor.as_fd())
    }

    /// The received object; `len` is the memory's length for this kind of object.
    pub(crate) fn receive<'de, D: Deserializer<'de>>(
        deserializer: D,
        len: usize,
    ) -> Result<Self, D::Error> {
        let (descriptor, bell) = <(Descriptor, Bell)>::deserialize(deserializer)?;
        let fd = sys::own_descriptor(&descriptor.as_fd());
        let memory = fd.and_then(|fd| SharedMapping::open(fd, len));
        Ok(Self {
            memory: Arc::new(memory.map_err(serde::de::Error::custom)?),
            descriptor,
            bell,
        })
    }
}

impl Serialize for SharedObject {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        (&self.descriptor, &self.bell).serialize(serializer)
    }
}
