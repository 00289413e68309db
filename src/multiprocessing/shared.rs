//! What an object is made of: a few words in memory, and a bell. Sent to another process, both are
//! descriptors.

use std::io;
use std::os::fd::AsFd as _;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::bell::Bell;
use super::robust::RobustLock;
use crate::sys::SharedMapping;
use crate::wire::descriptors::Descriptor;

/// Memory and bell of one object. They go when the last process that has them goes.
#[derive(Debug)]
pub(super) struct SharedObject {
    memory: Arc<SharedMapping>,
    descriptor: Descriptor,
    bell: Bell,
}

impl SharedObject {
    /// New memory, all zeros, of which the first `used` bytes are there for sure.
    ///
    /// # Errors
    /// There is no memory or no descriptor left.
    pub(super) fn new(len: usize, used: usize) -> io::Result<Self> {
        let (memory, fd) = SharedMapping::create(len)?;
        secure(&memory, 0, used)?;
        Ok(Self {
            memory: Arc::new(memory),
            descriptor: Descriptor::from(fd),
            bell: Bell::new()?,
        })
    }

    pub(super) fn memory(&self) -> &SharedMapping {
        &self.memory
    }

    pub(super) fn bell(&self) -> &Bell {
        &self.bell
    }

    /// The robust lock at the beginning of the memory.
    pub(super) fn robust(&self) -> RobustLock {
        RobustLock::new(self.memory.clone(), 0, self.bell.clone())
    }

    /// What a process has received. An object of this kind has so much memory.
    pub(super) fn receive<'de, D: Deserializer<'de>>(
        deserializer: D,
        len: usize,
    ) -> Result<Self, D::Error> {
        let (descriptor, bell) = <(Descriptor, Bell)>::deserialize(deserializer)?;
        let fd = descriptor.as_fd().try_clone_to_owned();
        let memory = fd.and_then(|fd| SharedMapping::open(fd, len));
        Ok(Self {
            memory: Arc::new(memory.map_err(serde::de::Error::custom)?),
            descriptor,
            bell,
        })
    }
}

/// Gets the memory behind so many bytes, so that writing to them cannot fail later.
pub(super) fn secure(memory: &SharedMapping, offset: usize, len: usize) -> io::Result<()> {
    match memory.secure(offset, len) {
        // The system is too old to be asked, and has always given so few pages.
        Err(error) if error.kind() == io::ErrorKind::InvalidInput => Ok(()),
        outcome => outcome,
    }
}

impl Serialize for SharedObject {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        (&self.descriptor, &self.bell).serialize(serializer)
    }
}
