//! Atomic numbers in shared memory, used where they lie.

use std::sync::atomic::{
    AtomicI8, AtomicI16, AtomicI32, AtomicI64, AtomicIsize, AtomicU8, AtomicU16, AtomicU32,
    AtomicU64, AtomicUsize,
};

use super::memory::SharedMapping;

/// A number that is only used by atomic instructions.
///
/// # Safety
/// Any bytes are a value of the type. It can be changed by a shared reference, and by no other means than atomic
/// instructions of its size.
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
    /// The number at `offset` bytes. All that use the memory use it with this size.
    pub(crate) fn cell<A: AtomicCell>(&self, offset: usize) -> &A {
        let place = self.place::<A>(offset, 1);
        // SAFETY: in bounds and aligned, see `place`, and mapped as long as `self` lives. Any bytes are a value. Others
        // change it by atomic instructions only, which a shared reference allows.
        unsafe { &*place }
    }

    /// The word at `offset` bytes.
    pub(crate) fn word(&self, offset: usize) -> &AtomicU64 {
        self.cell(offset)
    }

    /// The half word at `offset` bytes, which threads of both processes can wait at.
    pub(crate) fn gate(&self, offset: usize) -> &AtomicU32 {
        self.cell(offset)
    }
}
