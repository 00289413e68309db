//! Waits for a descriptor or for another process. There are none, so no function waits.

use std::convert::Infallible;
use std::fmt;
use std::io::{self, PipeReader};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use super::handles::{AsFd, AsyncFd, BorrowedFd, OwnedFd, Socket};
use super::unsupported;

pub(crate) fn standard_numbers() -> Vec<OwnedFd> {
    Vec::new()
}

pub(crate) fn eventfd() -> io::Result<OwnedFd> {
    Err(unsupported())
}

pub(crate) fn bell() -> io::Result<OwnedFd> {
    Err(unsupported())
}

pub(crate) fn check_eventfd(_: impl AsFd) -> io::Result<()> {
    Err(unsupported())
}

pub(crate) fn check_pipe(_: impl AsFd) -> io::Result<()> {
    Err(unsupported())
}

pub(crate) fn lifeline() -> io::Result<(OwnedFd, OwnedFd)> {
    Err(unsupported())
}

pub(crate) fn await_input<'a>(_: impl AsFd, _: impl Iterator<Item = BorrowedFd<'a>>) -> Vec<bool> {
    Vec::new()
}

pub(crate) fn is_same_file(_: impl AsFd, _: impl AsFd) -> bool {
    false
}

pub(crate) fn eventfd_identity(_: impl AsFd) -> Option<u64> {
    None
}

pub(crate) fn ring(_: impl AsFd) {}

pub(crate) fn signal(_: impl AsFd) {}

pub(crate) fn silence(_: impl AsFd) {}

pub(crate) fn is_hung_up(_: impl AsFd) -> bool {
    false
}

pub(crate) fn is_readable(_: impl AsFd) -> bool {
    false
}

pub(crate) fn await_readable(_: impl AsFd, _: Option<Instant>) -> bool {
    false
}

/// An owner of a descriptor that stays the same.
pub(crate) trait StableFd: fmt::Debug + Send + Sync + 'static {}

impl StableFd for PipeReader {}
impl StableFd for OwnedFd {}
impl StableFd for Arc<OwnedFd> {}
impl StableFd for Socket {}
impl StableFd for Arc<Socket> {}

pub(crate) fn is_ready<T: StableFd>(_: &T, _: Direction) -> bool {
    false
}

pub(crate) fn register<T: StableFd>(fd: T, _: Direction) -> Result<AsyncFd<T>, (T, io::Error)> {
    Err((fd, unsupported()))
}

/// Nothing needs to be registered.
pub(crate) fn probe_events() {}

/// A descriptor that a runtime watches.
#[derive(Debug)]
pub(crate) struct Edges(Infallible);

impl Edges {
    pub(crate) fn of(_: OwnedFd) -> io::Result<Self> {
        Err(unsupported())
    }

    pub(crate) fn poll_next(&self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.0 {}
    }

    pub(crate) async fn check_at_each(&self, _: impl Fn() -> bool) -> io::Result<()> {
        match self.0 {}
    }
}

impl AsFd for Edges {}

/// Descriptors that a thread waits for.
#[derive(Debug)]
pub(crate) struct BlockingEdges(Infallible);

impl BlockingEdges {
    pub(crate) fn new() -> io::Result<Self> {
        Err(unsupported())
    }

    pub(crate) fn add(&self, _: impl AsFd, _: u64) -> io::Result<()> {
        match self.0 {}
    }

    pub(crate) fn next(&self, _: Option<Instant>) -> io::Result<u64> {
        match self.0 {}
    }
}

/// What to wait for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Direction {
    In,
    Out,
}

/// A descriptor that a runtime watches until it is ready.
#[derive(Debug)]
pub(crate) struct Readiness(Infallible);

impl Readiness {
    pub(crate) fn of(_: OwnedFd, _: Direction) -> io::Result<Self> {
        Err(unsupported())
    }

    pub(crate) async fn until<T>(&self, _: impl FnMut() -> Option<T>) -> io::Result<T> {
        match self.0 {}
    }
}

pub(crate) fn wait_ready(
    _: BorrowedFd<'_>,
    _: Direction,
    _: Option<BorrowedFd<'_>>,
    _: Option<Instant>,
) -> bool {
    false
}

pub(crate) fn wait_readable<'a>(_: impl Iterator<Item = BorrowedFd<'a>>) -> io::Result<Vec<bool>> {
    Err(unsupported())
}

pub(crate) fn parent() -> Option<OwnedFd> {
    None
}

pub(crate) fn watched<R>(_: &Socket, _: Option<&OwnedFd>, _: impl FnOnce() -> R) -> io::Result<R> {
    Err(unsupported())
}

pub(crate) fn end_with(_: OwnedFd) -> io::Result<()> {
    Err(unsupported())
}

pub(crate) fn wait_for_parents_end(
    _: &impl AsFd,
    _: Option<&OwnedFd>,
    _: &WakeFd,
    _: Duration,
    _: impl FnMut() -> bool,
) -> io::Result<()> {
    Err(unsupported())
}

/// Wakes a thread that waits for the parent's end.
#[derive(Debug)]
pub(crate) struct WakeFd(Infallible);

impl WakeFd {
    pub(crate) fn new() -> io::Result<Self> {
        Err(unsupported())
    }

    pub(crate) fn ring(&self) -> bool {
        match self.0 {}
    }
}

impl AsFd for WakeFd {}
