//! Sockets with a path. There are none.

use std::convert::Infallible;
use std::io;
use std::path::Path;

use super::handles::{AsFd, OwnedFd};
use super::unsupported;

/// The path of a socket.
#[derive(Debug)]
pub(crate) struct BoundPath(Infallible);

impl BoundPath {
    pub(crate) fn remove(&self) {
        match self.0 {}
    }
}

pub(crate) fn local_socket() -> io::Result<OwnedFd> {
    Err(unsupported())
}

pub(crate) fn listen_at(_: &Path) -> io::Result<(OwnedFd, BoundPath)> {
    Err(unsupported())
}

pub(crate) fn accept_local(_: impl AsFd) -> io::Result<Option<OwnedFd>> {
    Err(unsupported())
}

pub(crate) fn connect_local(_: impl AsFd, _: &Path) -> io::Result<bool> {
    Err(unsupported())
}

pub(crate) fn is_own_user(_: impl AsFd) -> io::Result<bool> {
    Err(unsupported())
}

pub(crate) fn fill_random(_: &mut [u8]) -> io::Result<()> {
    Err(unsupported())
}

pub(crate) fn ready_set() -> io::Result<OwnedFd> {
    Err(unsupported())
}

pub(crate) fn add_to_set(_: impl AsFd, _: impl AsFd) -> io::Result<()> {
    Err(unsupported())
}

pub(crate) fn remove_from_set(_: impl AsFd, _: impl AsFd) {}
