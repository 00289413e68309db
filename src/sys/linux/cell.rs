//! Atomic numbers in shared memory, used in place.

use std::sync::atomic::{
    AtomicI8, AtomicI16, AtomicI32, AtomicI64, AtomicIsize, AtomicU8, AtomicU16, AtomicU32,
    AtomicU64, AtomicUsize,
};

use super::memory::SharedMapping;

/// A number that is used only by atomic instructions.
///
/// # Safety
/// Any bytes are a valid value of the type. A shared reference can change it, and only by atomic instructions of its
/// size.
pub(crate) unsafe trait AtomicCell {}

macro_rules! cells {
    ($($cell:ty),*) => {$(
        // SAFETY: the standard library documents the type to have the bytes of its number, and any bytes are a number.
        unsafe impl AtomicCell for $cell {}
    )*};
}

cells!(
    AtomicI8,
    AtomicI16,
    AtomicI32,
    AtomicI64,
    AtomicIsize,
    AtomicU8,
    AtomicU16,
    AtomicU32,
    AtomicU64,
    AtomicUsize
);

impl SharedMapping {
    /// The number at `offset` bytes. All users of the memory use it with this size.
    pub(crate) fn cell<A: AtomicCell>(&self, offset: usize) -> &A {
        let place = self.place::<A>(offset, 1);
        // SAFETY: in bounds and aligned, see `place`, and mapped as long as `self` lives. Any bytes are a value. Others
        // change it only by atomic instructions, which a shared reference allows.
        unsafe { &*place }
    }

    /// The word at `offset` bytes.
    pub(crate) fn word(&self, offset: usize) -> &AtomicU64 {
        self.cell(offset)
    }

    /// The half word at `offset` bytes, at which threads of both processes can wait.
    pub(crate) fn gate(&self, offset: usize) -> &AtomicU32 {
        self.cell(offset)
    }
}
