//! Memory that processes share, and files in memory. There is none.

use std::convert::Infallible;
use std::io;
use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};
use std::sync::atomic::{
    AtomicI8, AtomicI16, AtomicI32, AtomicI64, AtomicIsize, AtomicU8, AtomicU16, AtomicU32,
    AtomicU64, AtomicUsize,
};

use bytemuck::Pod;

use super::handles::{AsFd, BorrowedFd, OwnedFd};
use super::unsupported;

/// Memory that processes share.
#[derive(Debug)]
pub(crate) struct SharedMapping(Infallible);

impl SharedMapping {
    pub(crate) fn create(_: usize) -> io::Result<(Self, OwnedFd)> {
        Err(unsupported())
    }

    pub(crate) fn private(_: usize) -> io::Result<Self> {
        Err(unsupported())
    }

    pub(crate) fn create_reserved(_: usize) -> io::Result<(Self, OwnedFd)> {
        Err(unsupported())
    }

    pub(crate) fn open(_: impl AsFd, _: usize) -> io::Result<Self> {
        Err(unsupported())
    }

    pub(crate) fn open_reserved(_: impl AsFd, _: usize) -> io::Result<Self> {
        Err(unsupported())
    }

    pub(crate) fn window(_: impl AsFd, _: u64, _: usize) -> io::Result<Self> {
        Err(unsupported())
    }

    pub(crate) fn cell<A: AtomicCell>(&self, _: usize) -> &A {
        match self.0 {}
    }

    pub(crate) fn words(&self, _: usize, _: usize) -> &[AtomicU64] {
        match self.0 {}
    }

    pub(crate) fn word(&self, _: usize) -> &AtomicU64 {
        match self.0 {}
    }

    pub(crate) fn gate(&self, _: usize) -> &AtomicU32 {
        match self.0 {}
    }

    pub(crate) fn load(&self, _: usize, _: &mut [u8]) {
        match self.0 {}
    }

    pub(crate) fn store(&self, _: usize, _: &[u8]) {
        match self.0 {}
    }

    pub(crate) fn write(&self, _: usize, _: &[u8]) {
        match self.0 {}
    }

    pub(crate) fn write_to(&self, _: BorrowedFd<'_>, _: usize, _: usize) -> io::Result<usize> {
        match self.0 {}
    }

    pub(crate) fn read(&self, _: usize, _: usize) -> Vec<u8> {
        match self.0 {}
    }

    pub(crate) fn read_onto(&self, _: usize, _: usize, _: &mut Vec<u8>) {
        match self.0 {}
    }

    pub(crate) fn secure(&self, _: usize, _: usize) -> io::Result<()> {
        match self.0 {}
    }

    pub(crate) fn release(&self, _: usize, _: usize) {
        match self.0 {}
    }

    #[expect(unsafe_code, reason = "on Linux the caller must keep a promise")]
    pub(crate) unsafe fn lend<T: Pod, G>(&self, _: usize, _: usize, _: G) -> Lent<'_, T, G> {
        match self.0 {}
    }
}

/// A number that is only used by atomic instructions.
pub(crate) trait AtomicCell {}

impl AtomicCell for AtomicI8 {}
impl AtomicCell for AtomicI16 {}
impl AtomicCell for AtomicI32 {}
impl AtomicCell for AtomicI64 {}
impl AtomicCell for AtomicIsize {}
impl AtomicCell for AtomicU8 {}
impl AtomicCell for AtomicU16 {}
impl AtomicCell for AtomicU32 {}
impl AtomicCell for AtomicU64 {}
impl AtomicCell for AtomicUsize {}

/// A part of shared memory as values.
#[derive(Debug)]
pub(crate) struct Lent<'a, T, G>(Infallible, PhantomData<(&'a mut [T], G)>);

impl<T: Pod, G> Deref for Lent<'_, T, G> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        match self.0 {}
    }
}

impl<T: Pod, G> DerefMut for Lent<'_, T, G> {
    fn deref_mut(&mut self) -> &mut [T] {
        match self.0 {}
    }
}

/// The name of shared memory.
#[derive(Debug)]
pub(crate) struct SegmentName(Infallible);

impl SegmentName {
    pub(crate) fn new(_: &str) -> io::Result<Self> {
        Err(unsupported())
    }

    pub(crate) fn create(&self, _: u64) -> io::Result<OwnedFd> {
        match self.0 {}
    }

    pub(crate) fn open(&self) -> io::Result<(OwnedFd, u64)> {
        match self.0 {}
    }
}

pub(crate) fn growing_file() -> io::Result<OwnedFd> {
    Err(unsupported())
}

pub(crate) fn sealable_file() -> io::Result<OwnedFd> {
    Err(unsupported())
}

pub(crate) fn seal(_: impl AsFd) -> io::Result<()> {
    Err(unsupported())
}

pub(crate) fn longest_file() -> u64 {
    u64::MAX
}

pub(crate) fn lengthen(_: impl AsFd, _: u64) -> io::Result<()> {
    Err(unsupported())
}

pub(crate) fn give_back(_: impl AsFd, _: u64, _: u64) {}

pub(crate) fn file_of<'a>(_: usize, _: impl Iterator<Item = &'a [u8]>) -> io::Result<OwnedFd> {
    Err(unsupported())
}

pub(crate) fn sealed_file(_: &[u8]) -> io::Result<OwnedFd> {
    Err(unsupported())
}

pub(crate) fn check_sealed(_: impl AsFd) -> io::Result<()> {
    Err(unsupported())
}

pub(crate) fn read_file(_: impl AsFd, _: usize, _: &mut Vec<u8>) -> io::Result<()> {
    Err(unsupported())
}

pub(crate) fn write_at(_: impl AsFd, _: &[io::IoSlice<'_>], _: u64) -> io::Result<usize> {
    Err(unsupported())
}

pub(crate) fn write_all_at(_: impl AsFd, _: &[u8], _: u64) -> io::Result<()> {
    Err(unsupported())
}

pub(crate) fn check_length(_: u64) -> io::Result<()> {
    Err(unsupported())
}

pub(crate) fn read_at(_: impl AsFd, _: &mut [u8], _: u64) -> io::Result<()> {
    Err(unsupported())
}

/// A file that two processes could share.
pub(crate) type FileIdentity = u64;

pub(crate) fn file_identity(_: impl AsFd) -> io::Result<FileIdentity> {
    Err(unsupported())
}

pub(crate) fn file_len(_: impl AsFd) -> io::Result<u64> {
    Err(unsupported())
}

pub(crate) fn check_reserved(_: impl AsFd, _: u64) -> io::Result<()> {
    Err(unsupported())
}

pub(crate) fn file_memory(_: impl AsFd) -> io::Result<u64> {
    Err(unsupported())
}

/// Makes a buffer large enough for `len` bytes in all. Fails if there is no memory for it.
pub(crate) fn enlarge(buffer: &mut Vec<u8>, len: usize) -> io::Result<()> {
    Ok(buffer.try_reserve_exact(len.saturating_sub(buffer.len()))?)
}

/// There is no memory that processes share, so no thread waits at it.
pub(crate) fn wait_at(_: &AtomicU32, _: u32) {
    std::thread::yield_now();
}

pub(crate) fn open_gate(_: &AtomicU32) {}
