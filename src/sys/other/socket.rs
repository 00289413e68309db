//! Bytes over a socket, with descriptors beside them, or over a pipe. There are none.

use std::io::{self, PipeReader};

use bytes::BytesMut;

use super::handles::{AsFd, BorrowedFd, OwnedFd};
use super::unsupported;

/// The most descriptors that travel together.
pub(crate) const MOST_FDS: usize = 253;

pub(crate) fn socket_pair() -> io::Result<(OwnedFd, OwnedFd)> {
    Err(unsupported())
}

pub(crate) fn pipe() -> io::Result<(PipeReader, OwnedFd)> {
    Err(unsupported())
}

pub(crate) fn never_wait(_: &PipeReader) -> io::Result<()> {
    Err(unsupported())
}

/// Whether an error of a socket says that its other end was closed.
pub(crate) fn is_hangup(error: &io::Error) -> bool {
    [io::ErrorKind::BrokenPipe, io::ErrorKind::ConnectionReset].contains(&error.kind())
}

pub(crate) fn read_onto(_: BorrowedFd<'_>, _: &mut BytesMut) -> io::Result<usize> {
    Err(unsupported())
}

pub(crate) fn read_more(_: BorrowedFd<'_>, _: &mut Vec<u8>, _: usize) -> io::Result<usize> {
    Err(unsupported())
}

pub(crate) fn receive_more(_: BorrowedFd<'_>, _: &mut Vec<u8>, _: usize) -> io::Result<usize> {
    Err(unsupported())
}

pub(crate) fn check_packets(_: impl AsFd) -> io::Result<()> {
    Err(unsupported())
}

pub(crate) fn check_stream(_: impl AsFd) -> io::Result<()> {
    Err(unsupported())
}

pub(crate) fn end_sending(_: BorrowedFd<'_>) {}

pub(crate) fn bytes_waiting(_: BorrowedFd<'_>) -> usize {
    0
}

pub(crate) fn send_with_fds(
    _: BorrowedFd<'_>,
    _: &[io::IoSlice<'_>],
    _: &[BorrowedFd<'_>],
) -> io::Result<usize> {
    Err(unsupported())
}

pub(crate) fn send_patiently(
    _: BorrowedFd<'_>,
    _: &[io::IoSlice<'_>],
    _: &[BorrowedFd<'_>],
) -> io::Result<usize> {
    Err(unsupported())
}

pub(crate) fn receive(_: BorrowedFd<'_>, _: &mut [u8]) -> io::Result<usize> {
    Err(unsupported())
}

pub(crate) fn receive_with_fd(
    _: BorrowedFd<'_>,
    _: &mut [u8],
) -> io::Result<(usize, Option<OwnedFd>)> {
    Err(unsupported())
}

/// What was received.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Received {
    pub(crate) len: usize,
    pub(crate) is_short: bool,
}

pub(crate) fn receive_with_fds(
    _: BorrowedFd<'_>,
    _: &mut [u8],
    _: &mut impl Extend<OwnedFd>,
) -> io::Result<Received> {
    Err(unsupported())
}

pub(crate) fn receive_patiently(
    _: BorrowedFd<'_>,
    _: &mut [u8],
    _: &mut impl Extend<OwnedFd>,
) -> io::Result<Received> {
    Err(unsupported())
}
