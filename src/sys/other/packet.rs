//! Messages that travel whole over a socket, with descriptors beside them. There are none.

use std::io;

use super::handles::{AsFd, BorrowedFd, OwnedFd};
use super::unsupported;

pub(crate) fn packet_pair() -> io::Result<(OwnedFd, OwnedFd)> {
    Err(unsupported())
}

pub(crate) fn roomy_packet_pair() -> io::Result<(OwnedFd, OwnedFd)> {
    Err(unsupported())
}

pub(crate) fn stream_pair() -> io::Result<(OwnedFd, OwnedFd)> {
    Err(unsupported())
}

pub(crate) fn send_packet(_: impl AsFd, _: u64, _: &[BorrowedFd<'_>]) -> io::Result<bool> {
    Err(unsupported())
}

pub(crate) fn next_packet(_: impl AsFd) -> io::Result<Option<u64>> {
    Err(unsupported())
}

pub(crate) fn descriptors_of_next_packet(_: impl AsFd) -> io::Result<Vec<OwnedFd>> {
    Err(unsupported())
}

pub(crate) fn drop_packet(_: impl AsFd) {}

pub(crate) fn socket_identity(_: impl AsFd) -> Option<u64> {
    None
}
