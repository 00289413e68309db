//! Waits until a socket is readable or writable, in tasks of any runtime and in threads.

use std::mem;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Instant;

use tokio::runtime::{self, Handle};

use crate::multiprocessing::waiting::pause::{BLIND, pause};
use crate::sys::{self, AsFd as _, Direction, Readiness};
use crate::wire::descriptors::Descriptor;

/// A descriptor to wait for, in one direction. It is registered with a runtime only once a task there has to
/// wait.
#[derive(Debug)]
pub(super) struct SocketWatch {
    fd: Descriptor,
    way: Direction,
    /// Whether it stays registered when no task waits. Then the runtime is woken in vain.
    is_kept: bool,
    registered: Mutex<Option<Registered>>,
}

/// The runtime and the process in which it is registered.
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

    /// Calls `look` whenever the descriptor is ready, until it returns a value.
    ///
    /// # Panics
    /// Outside of a tokio runtime, or in one without an I/O driver.
    ///
    /// # Cancel safety
    /// Cancel safe: a value that `look` returns is returned at once.
    pub(super) async fn until<T>(&self, mut look: impl FnMut() -> Option<T>) -> T {
        loop {
            if let Some(watched) = self.watched() {
                match watched.until(&mut look).await {
                    Ok(found) => return found,
                    Err(_) => self.forget(), // The runtime is about to end.
                }
            }
            // No descriptor is left for the registration.
            pause().await;
            if let Some(found) = look() {
                return found;
            }
        }
    }

    /// Like [`until`](Self::until), in a thread, and gives up at `end`. Also looks when `other` is readable.
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

    /// The registration in this runtime. `None` if no descriptor is left for it.
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
        // Tokio registers a descriptor only once, so it is cloned.
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
            // A fork shares the epoll instance with its parent, and would remove the registration there.
            mem::forget(self.kept.take());
        }
    }
}

/// Another reason for a waiting thread to look.
#[derive(Clone, Copy, Debug)]
pub(super) enum Other<'a> {
    None,
    Too(&'a Descriptor),
    /// It exists and cannot be waited for: look at intervals.
    Blind,
}

fn earlier(end: Option<Instant>, other: Instant) -> Instant {
    end.map_or(other, |end| end.min(other))
}
