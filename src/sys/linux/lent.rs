//! Values that lie in shared memory, used where they lie.

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
    /// What keeps all others away.
    _guard: G,
    values: PhantomData<&'a mut [T]>,
}

impl SharedMapping {
    /// Gives `len` values at `offset`. (Whatever bytes are there are values.)
    ///
    /// # Safety
    /// Until it is dropped, `guard` keeps all others from these bytes, in this process and in every other. That makes
    /// it sound to have a plain reference to them.
    pub(crate) unsafe fn lend<T: Pod, G>(
        &self,
        offset: usize,
        len: usize,
        guard: G,
    ) -> Lent<'_, T, G> {
        self.place::<T>(offset, len); // It panics if they do not lie there.
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
        // SAFETY: `self.len` values are mapped there, aligned, as long as the memory lives, which is
        // borrowed. All bytes are values of the type. Nothing writes them while the guard exists, and
        // no reference from `deref_mut` lives as long as this one.
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
