//! Waiting until a socket can be read, or written to, in tasks of any runtime and in threads.

use std::mem;
use std::os::fd::AsFd as _;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Instant;

use tokio::runtime::{self, Handle};

use crate::multiprocessing::waiter::{BLIND, pause};
use crate::sys::{self, Direction, Readiness};
use crate::wire::descriptors::Descriptor;

/// A descriptor that is waited for, in one way. No runtime watches it before a task of its has to wait.
#[derive(Debug)]
pub(super) struct SocketWatch {
    fd: Descriptor,
    way: Direction,
    /// Whether the runtime goes on watching when nobody waits. It is woken then, too.
    is_kept: bool,
    registered: Mutex<Option<Registered>>,
}

/// By which runtime it is watched, in which process.
#[derive(Debug)]
struct Registered {
    runtime: runtime::Id,
    generation: u32,
    watched: Weak<Readiness>,
    kept: Option<Arc<Readiness>>,
}

impl SocketWatch {
    pub(super) fn new(fd: Descriptor, way: Direction, is_kept: bool) -> Self {
        Self {
            fd,
            way,
            is_kept,
            registered: Mutex::new(None),
        }
    }

    /// Looks whenever it is ready, until `look` gives something.
    ///
    /// # Panics
    /// Outside of a tokio runtime, or in one without an I/O driver.
    ///
    /// # Cancel safety
    /// Cancel safe: what `look` has given is returned at once.
    pub(super) async fn until<T>(&self, mut look: impl FnMut() -> Option<T>) -> T {
        loop {
            if let Some(watched) = self.watched() {
                match watched.until(&mut look).await {
                    Ok(found) => return found,
                    Err(_) => self.forget(), // The runtime is about to end.
                }
            }
            // There is no descriptor left to watch with.
            pause().await;
            if let Some(found) = look() {
                return found;
            }
        }
    }

    /// As [`until`](Self::until), in a thread, and gives up at `end`. Also looks when `other` can be read.
    pub(super) fn blocking_until<T>(
        &self,
        end: Option<Instant>,
        other: Other<'_>,
        mut look: impl FnMut() -> Option<T>,
    ) -> Option<T> {
        loop {
            let (other, end_of_wait) = match other {
                Other::None => (None, end),
                Other::Too(other) => (Some(other.as_fd()), end),
                Other::Blind => (None, Some(earlier(end, Instant::now() + BLIND))),
            };
            let is_ready = sys::wait_ready(self.fd.as_fd(), self.way, other, end_of_wait);
            let found = look();
            if found.is_some() || !is_ready && end.is_some_and(|end| Instant::now() >= end) {
                return found;
            }
        }
    }

    /// It, as this runtime watches it. Nothing if the system has no descriptor for that.
    fn watched(&self) -> Option<Arc<Readiness>> {
        let (runtime, generation) = (Handle::current().id(), sys::generation());
        let mut registered = self
            .registered
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let here = registered
            .as_ref()
            .filter(|here| (here.runtime, here.generation) == (runtime, generation));
        if let Some(watched) = here.and_then(|here| here.watched.upgrade()) {
            return Some(watched);
        }
        // Tokio takes one descriptor once.
        let copy = self.fd.as_fd().try_clone_to_owned().ok()?;
        let watched = Arc::new(Readiness::of(copy, self.way).ok()?);
        *registered = Some(Registered {
            runtime,
            generation,
            watched: Arc::downgrade(&watched),
            kept: self.is_kept.then(|| watched.clone()),
        });
        Some(watched)
    }

    fn forget(&self) {
        let mut registered = self
            .registered
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        *registered = None;
    }
}

impl Drop for Registered {
    fn drop(&mut self) {
        if self.generation != sys::generation() {
            // A fork shares the list of what is watched with the process it was forked from, and would
            // strike this off there.
            mem::forget(self.kept.take());
        }
    }
}

/// What a thread that waits is woken by besides.
#[derive(Clone, Copy, Debug)]
pub(super) enum Other<'a> {
    None,
    Too(&'a Descriptor),
    /// There is something, which cannot be waited for: it looks again and again.
    Blind,
}

fn earlier(end: Option<Instant>, other: Instant) -> Instant {
    end.map_or(other, |end| end.min(other))
}
