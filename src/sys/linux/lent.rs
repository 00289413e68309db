//! Values in shared memory, used in place.

use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};

use bytemuck::Pod;

use super::memory::SharedMapping;

/// A part of shared memory as values, for as long as this lives.
#[derive(Debug)]
pub(crate) struct Lent<'a, T, G> {
    memory: &'a SharedMapping,
    offset: usize,
    len: usize,
    /// Prevents all other accesses.
    _guard: G,
    values: PhantomData<&'a mut [T]>,
}

impl SharedMapping {
    /// Lends `len` values at `offset`. (Any bytes are valid values.)
    ///
    /// # Safety
    /// Until it is dropped, `guard` prevents all other accesses to these bytes, in this process and in every other.
    /// That makes a plain reference to them sound.
    pub(crate) unsafe fn lend<T: Pod, G>(
        &self,
        offset: usize,
        len: usize,
        guard: G,
    ) -> Lent<'_, T, G> {
        self.place::<T>(offset, len); // Panics if they are out of bounds.
        Lent {
            memory: self,
            offset,
            len,
            _guard: guard,
            values: PhantomData,
        }
    }
}

impl<T: Pod, G> Deref for Lent<'_, T, G> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        let place = self.memory.place::<T>(self.offset, self.len);
        // SAFETY: `self.len` values are mapped there and aligned, as long as the memory lives, which is borrowed. All
        // bytes are values of the type. Nothing writes them while the guard exists, and no reference from `deref_mut`
        // lives as long as this one.
        unsafe { std::slice::from_raw_parts(place, self.len) }
    }
}

impl<T: Pod, G> DerefMut for Lent<'_, T, G> {
    fn deref_mut(&mut self) -> &mut [T] {
        let place = self.memory.place::<T>(self.offset, self.len);
        // SAFETY: as in `deref`; and while this reference lives, `self` gives no other.
        unsafe { std::slice::from_raw_parts_mut(place, self.len) }
    }
}
