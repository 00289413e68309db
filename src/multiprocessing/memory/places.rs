//! The memory of a [`Value`](super::Value): its lock and two places. One place has the value. A change is written to
//! the other place, which one store then makes the current one. So a killed process leaves either the old value or the
//! new one.

use std::io;
use std::marker::PhantomData;
use std::sync::atomic::Ordering;

use bytemuck::Pod;
use serde::Deserializer;

use super::locked::Locked;
use crate::multiprocessing::robust::lock::RobustGuard;
use crate::sys::SharedMapping;

/// A value in one of two places. A clone is the same memory.
pub(super) struct ValuePlaces<T> {
    pub(super) locked: Locked,
    values: PhantomData<T>,
}

/// Where the number of the current place is, and where the two places start.
const CHOICE: usize = Locked::DATA;
const PLACES: usize = CHOICE + 8;

/// The distance between the two places, in bytes.
fn stride<T>() -> usize {
    size_of::<T>().next_multiple_of(8)
}

/// The memory needed, in bytes.
fn memory_for<T>() -> Option<usize> {
    stride::<T>().checked_mul(2)?.checked_add(PLACES)
}

impl<T> Clone for ValuePlaces<T> {
    fn clone(&self) -> Self {
        Self::of(self.locked.clone())
    }
}

impl<T> ValuePlaces<T> {
    fn of(locked: Locked) -> Self {
        Self {
            locked,
            values: PhantomData,
        }
    }
}

impl<T: Pod> ValuePlaces<T> {
    pub(super) fn create(value: &T) -> io::Result<Self> {
        let fill = |memory: &SharedMapping| memory.store(PLACES, bytemuck::bytes_of(value));
        Locked::create(memory_for::<T>(), fill).map(Self::of)
    }

    /// The places of a received value, if it has the size of this type.
    pub(super) fn receive<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let fits = |size| memory_for::<T>().filter(|_| size == size_of::<T>());
        let (locked, _) = Locked::receive(deserializer, fits)?;
        Ok(Self::of(locked))
    }

    /// The place of the current value.
    fn place(&self) -> usize {
        (self.locked.memory().word(CHOICE).load(Ordering::Acquire) & 1) as usize
    }

    pub(super) fn read(&self, _held: &RobustGuard<'_>) -> T {
        let mut value = T::zeroed();
        let bytes = bytemuck::bytes_of_mut(&mut value);
        let offset = PLACES + self.place() * stride::<T>();
        self.locked.memory().load(offset, bytes);
        value
    }

    /// A process that is killed in here has written only to the unused place, or has completed the change. A fork of
    /// the holder writes nothing.
    pub(super) fn commit(&self, held: &RobustGuard<'_>, value: &T) {
        if !held.is_own() {
            return;
        }
        let other = 1 - self.place();
        let bytes = bytemuck::bytes_of(value);
        let memory = self.locked.memory();
        memory.store(PLACES + other * stride::<T>(), bytes);
        memory.word(CHOICE).store(other as u64, Ordering::Release);
    }
}
