//! A socket that tasks of any runtime and threads wait for.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Instant;

use tokio::runtime::{self, Handle};

use crate::multiprocessing::waiting::local::Local;
use crate::multiprocessing::waiting::pause::pause;
use crate::sys::{self, AsFd as _, BorrowedFd, Direction, Readiness};
use crate::wire::descriptors::Descriptor;

/// A descriptor to wait for, in one direction. It is registered with a runtime only once a task in it must wait.
#[derive(Debug)]
pub(in crate::multiprocessing) struct SocketWatch {
    fd: Descriptor,
    way: Direction,
    lasts: Lasts,
    /// A fork shares the epoll instance of its parent, so it registers nothing there.
    registered: Local<Mutex<Option<Registered>>>,
}

/// How long a runtime watches a descriptor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::multiprocessing) enum Lasts {
    /// Also while no task waits. The runtime may then wake needlessly.
    Always,
    /// While a task waits. The next wait registers the descriptor again, by four system calls.
    WhileWaiting,
}

/// The runtime in which it is registered.
#[derive(Debug)]
struct Registered {
    runtime: runtime::Id,
    readiness: Held,
}

#[derive(Debug)]
enum Held {
    Here(Arc<Readiness>),
    ByWaiters(Weak<Readiness>),
}

impl Held {
    fn get(&self) -> Option<Arc<Readiness>> {
        match self {
            Self::Here(readiness) => Some(readiness.clone()),
            Self::ByWaiters(readiness) => readiness.upgrade(),
        }
    }
}

impl SocketWatch {
    pub(in crate::multiprocessing) fn new(fd: Descriptor, way: Direction, lasts: Lasts) -> Self {
        Self {
            fd,
            way,
            lasts,
            registered: Local::default(),
        }
    }

    /// Calls `check` whenever the descriptor is ready, until it returns a value.
    ///
    /// # Panics
    /// Outside of a tokio runtime, or in one without an I/O driver.
    ///
    /// # Cancel safety
    /// Cancel safe: a value that `check` returns is returned at once.
    pub(super) async fn until<T>(&self, mut check: impl FnMut() -> Option<T>) -> T {
        loop {
            if let Some(watched) = self.watched() {
                match watched.until(&mut check).await {
                    Ok(found) => return found,
                    Err(_) => self.forget(), // The runtime is about to end.
                }
            }
            // This process may open no more descriptors for the registration.
            pause().await;
            if let Some(found) = check() {
                return found;
            }
        }
    }

    /// Blocks this thread until the descriptor is ready, `other` is readable, or `end`.
    pub(super) fn sleep(&self, other: Option<BorrowedFd<'_>>, end: Option<Instant>) {
        sys::wait_ready(self.fd.as_fd(), self.way, other, end);
    }

    /// The registration with this runtime. `None` if there is no descriptor for it.
    fn watched(&self) -> Option<Arc<Readiness>> {
        let runtime = Handle::current().id();
        let mut registered = self.registered();
        let here = registered.as_ref().filter(|here| here.runtime == runtime);
        if let Some(watched) = here.and_then(|here| here.readiness.get()) {
            return Some(watched);
        }
        // Tokio registers a descriptor only once, so it is cloned.
        let copy = self.fd.as_fd().try_clone_to_owned().ok()?;
        let watched = Arc::new(Readiness::of(copy, self.way).ok()?);
        let readiness = match self.lasts {
            Lasts::Always => Held::Here(watched.clone()),
            Lasts::WhileWaiting => Held::ByWaiters(Arc::downgrade(&watched)),
        };
        *registered = Some(Registered { runtime, readiness });
        Some(watched)
    }

    fn registered(&self) -> MutexGuard<'_, Option<Registered>> {
        let registered = self.registered.get();
        registered.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn forget(&self) {
        *self.registered() = None;
    }
}
