//! A descriptor that a tokio runtime watches, for any number of tasks. Does not read: a woken task tries to, and may
//! find that another one was faster.

use std::io;
use std::mem::ManuallyDrop;
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::call::Call as _;
use super::identity::ProcessIdentity;
use super::readiness::Direction;

/// A descriptor that a tokio runtime watches.
///
/// A forked process shares the runtime's epoll instance with its parent. If it removed a descriptor there, the parent's
/// tasks would never wake. So it only closes its copy of the descriptor.
#[derive(Debug)]
pub(crate) struct Readiness {
    fd: ManuallyDrop<AsyncFd<OwnedFd>>,
    interest: Interest,
    /// The process whose runtime watches it.
    watcher: ProcessIdentity,
}

impl Readiness {
    /// Creates a descriptor that the current runtime watches from now on.
    ///
    /// # Panics
    /// Outside of a tokio runtime, or in one without an I/O driver.
    pub(crate) fn of(fd: OwnedFd, way: Direction) -> io::Result<Self> {
        let interest = match way {
            Direction::In => Interest::READABLE,
            Direction::Out => Interest::WRITABLE,
        };
        // SAFETY: an `OwnedFd` is open as long as it lives, and nothing can replace this one: the field is private, and
        // no code in this file changes it.
        let watched = unsafe { AsyncFd::register_with_interest(fd, interest) };
        let fd = watched.map_err(|error| error.into_parts().1);
        let fd = fd.of_call("epoll_ctl")?;
        Ok(Self {
            fd: ManuallyDrop::new(fd),
            interest,
            watcher: ProcessIdentity::own(),
        })
    }

    /// Whether a runtime of this process watches it.
    fn is_ours(&self) -> bool {
        self.watcher == ProcessIdentity::own()
    }

    /// Calls `check` whenever the descriptor is ready, until it returns a value. Fails if the runtime has ended.
    ///
    /// # Cancel safety
    /// Cancel safe: a value of `check` is returned at once.
    pub(crate) async fn until<T>(&self, mut check: impl FnMut() -> Option<T>) -> io::Result<T> {
        loop {
            let mut ready = self.fd.ready(self.interest).await?;
            if let Some(found) = check() {
                return Ok(found);
            }
            ready.clear_ready();
        }
    }
}

impl Drop for Readiness {
    fn drop(&mut self) {
        let fd = self.fd.get_ref().as_raw_fd();
        if self.is_ours() {
            // SAFETY: the field is not used any more.
            unsafe { ManuallyDrop::drop(&mut self.fd) }
        } else {
            // SAFETY: the descriptor is open, and its owner, which is never dropped in this process, is not used any
            // more.
            drop(unsafe { OwnedFd::from_raw_fd(fd) });
        }
    }
}

#[cfg(all(test, not(properties)))]
mod tests {
    use super::*;
    use crate::sys::{packet_pair, send_packet};

    #[tokio::test]
    async fn every_task_that_waits_is_woken_and_looks() {
        let (to, from) = packet_pair().expect("sockets");
        let ready = std::sync::Arc::new(Readiness::of(from, Direction::In).expect("it is watched"));
        let tasks = [(); 3].map(|()| {
            let ready = ready.clone();
            tokio::spawn(async move { ready.until(|| Some(())).await })
        });
        tokio::task::yield_now().await;
        assert!(send_packet(&to, 1, &[]).expect("it is open"));
        for task in tasks {
            task.await.expect("it ends").expect("the runtime lives");
        }
    }
}
