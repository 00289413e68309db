//! The base of an object: a few words in memory, and a bell. Both travel to another process as descriptors.

use std::io;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::lock::RobustLock;
use crate::multiprocessing::known::{Part, recognised};
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

    /// Returns what this process has made of the same object already, or else what `make` makes of this. `shared`
    /// returns the object in it.
    pub(crate) fn recognised<T: Send + Sync + 'static>(
        self,
        make: impl FnOnce(Self) -> T,
        shared: fn(&T) -> &Self,
    ) -> Arc<T> {
        let first = Part::file(&self.descriptor);
        recognised(make(self), first, |known| {
            Some(vec![shared(known).bell.part()?])
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

#[cfg(all(test, target_os = "linux", not(properties)))]
mod tests {
    use super::*;
    use crate::wire::{Chain, codec, descriptors};

    /// Sends the memory of one object and the bell of another. They arrive as an object of this process.
    fn received(memory: &SharedObject, bell: &SharedObject) -> Arc<SharedObject> {
        let (mut out, mut beside) = (Chain::new(), Vec::new());
        let parts = (memory.descriptor.clone(), bell.bell.clone());
        descriptors::gather(&mut beside, || codec::put(parts, &mut out)).expect("a message");
        let copy = |fd: &Descriptor| sys::own_descriptor(&fd.as_fd()).map(Descriptor::from);
        let copies: io::Result<Vec<_>> = beside.iter().map(copy).collect();
        let mut input = out.into_reader();
        let mut copies = copies.expect("descriptors");
        let object: Received =
            descriptors::supply(&mut copies, || codec::get(&mut input)).expect("an object");
        object.0.recognised(|shared| shared, |shared| shared)
    }

    #[derive(Debug)]
    struct Received(SharedObject);

    impl Serialize for Received {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            self.0.serialize(serializer)
        }
    }

    impl<'de> Deserialize<'de> for Received {
        fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            SharedObject::receive(deserializer, RobustLock::BYTES).map(Self)
        }
    }

    /// Otherwise its waiters here would listen to a bell that no other process rings.
    #[test]
    fn memory_that_arrives_with_a_foreign_bell_first_takes_nothing_from_the_real_object() {
        let [real, foreign] = [(); 2]
            .map(|()| SharedObject::new(RobustLock::BYTES, RobustLock::BYTES).expect("an object"));
        let forged = received(&real, &foreign);
        let true_one = received(&real, &real);
        assert!(!Arc::ptr_eq(&forged, &true_one));
        assert_eq!(true_one.bell.part(), real.bell.part());
        for _ in 0..3 {
            assert!(Arc::ptr_eq(&received(&real, &real), &true_one));
            assert!(Arc::ptr_eq(&received(&real, &foreign), &forged));
        }
        let other_memory = received(&foreign, &real);
        assert!(!Arc::ptr_eq(&other_memory, &true_one));
    }
}
