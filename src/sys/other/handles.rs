//! Descriptors and the types that read and write by them. None can be opened on this platform.

use std::convert::Infallible;
use std::ffi::OsString;
use std::fs::File;
use std::io::{self, PipeReader, PipeWriter, Read, Write};
use std::marker::PhantomData;
use std::process::Stdio;
use std::sync::Arc;
use std::task::{Context, Poll};

use super::unsupported;

/// The number of a descriptor.
pub(crate) type RawFd = i32;

/// An open descriptor. There is none.
#[derive(Debug)]
pub(crate) struct OwnedFd(Infallible);

/// No descriptor can be closed.
pub(crate) fn is_closed(_: &io::Error) -> bool {
    false
}

pub(crate) fn closed() -> io::Error {
    unsupported()
}

pub(crate) fn out_of_reach(fd: OwnedFd) -> OwnedFd {
    fd
}

/// Replaces a borrowed descriptor. It has no methods.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BorrowedFd<'a>(PhantomData<&'a ()>);

impl BorrowedFd<'_> {
    pub(crate) fn try_clone_to_owned(&self) -> io::Result<OwnedFd> {
        Err(unsupported())
    }
}

/// A type that has a descriptor on Linux.
pub(crate) trait AsFd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        BorrowedFd(PhantomData)
    }
}

/// A type that has a descriptor with a number on Linux.
pub(crate) trait AsRawFd {
    fn as_raw_fd(&self) -> RawFd {
        -1
    }
}

impl AsFd for OwnedFd {}
impl AsFd for BorrowedFd<'_> {}
impl AsFd for Socket {}
impl<T> AsFd for AsyncFd<T> {}
impl AsFd for PipeReader {}
impl AsFd for PipeWriter {}
impl AsFd for io::Stdin {}
impl AsFd for io::Stdout {}
impl AsFd for io::Stderr {}
impl<T: AsFd + ?Sized> AsFd for &T {}
impl<T: AsFd + ?Sized> AsFd for Arc<T> {}

impl AsRawFd for OwnedFd {}
impl AsRawFd for BorrowedFd<'_> {}
impl AsRawFd for PipeReader {}
impl AsRawFd for PipeWriter {}

impl From<OwnedFd> for PipeWriter {
    fn from(fd: OwnedFd) -> Self {
        match fd.0 {}
    }
}

#[cfg(unix)]
impl From<OwnedFd> for std::os::fd::OwnedFd {
    fn from(fd: OwnedFd) -> Self {
        match fd.0 {}
    }
}

impl From<OwnedFd> for File {
    fn from(fd: OwnedFd) -> Self {
        match fd.0 {}
    }
}

impl From<OwnedFd> for Stdio {
    fn from(fd: OwnedFd) -> Self {
        match fd.0 {}
    }
}

/// One of two connected sockets.
#[derive(Debug)]
pub(crate) struct Socket(Infallible);

impl Socket {
    pub(crate) fn set_nonblocking(&self, _: bool) -> io::Result<()> {
        match self.0 {}
    }
}

impl From<OwnedFd> for Socket {
    fn from(fd: OwnedFd) -> Self {
        match fd.0 {}
    }
}

impl From<Socket> for OwnedFd {
    fn from(socket: Socket) -> Self {
        match socket.0 {}
    }
}

impl Read for &Socket {
    fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
        match self.0 {}
    }
}

impl Write for &Socket {
    fn write(&mut self, _: &[u8]) -> io::Result<usize> {
        match self.0 {}
    }

    fn flush(&mut self) -> io::Result<()> {
        match self.0 {}
    }
}

/// A descriptor that a runtime watches.
#[derive(Debug)]
pub(crate) struct AsyncFd<T>(Infallible, PhantomData<T>);

impl<T> AsyncFd<T> {
    pub(crate) fn get_ref(&self) -> &T {
        match self.0 {}
    }

    pub(crate) fn into_inner(self) -> T {
        match self.0 {}
    }

    pub(crate) fn poll_read_ready(&self, _: &mut Context<'_>) -> Poll<io::Result<Ready>> {
        match self.0 {}
    }

    pub(crate) fn poll_write_ready(&self, _: &mut Context<'_>) -> Poll<io::Result<Ready>> {
        match self.0 {}
    }
}

/// The event that a descriptor is ready.
#[derive(Debug)]
pub(crate) struct Ready(Infallible);

impl Ready {
    pub(crate) fn clear_ready(&mut self) {
        match self.0 {}
    }
}

pub(crate) fn pipe_from_child() -> io::Result<(PipeReader, OwnedFd)> {
    Err(unsupported())
}

pub(crate) fn pipe_to_child() -> io::Result<(OwnedFd, PipeWriter)> {
    Err(unsupported())
}

pub(crate) fn no_thread(error: io::Error) -> io::Error {
    error
}

pub(crate) fn too_many_descriptors() -> io::Error {
    unsupported()
}

/// Only a worker reads these bytes, and there is none.
pub(crate) fn os_string(bytes: Vec<u8>) -> OsString {
    String::from_utf8_lossy(&bytes).into_owned().into()
}
