//! Waits for a state that every waiter can see by itself, such as an event that stays set. So no task must listen for
//! others, and a task that is not polled holds up no other. The tasks of one runtime share one registration, and so one
//! descriptor.

use std::io;
use std::sync::OnceLock;

use super::local::Local;
use super::pause::pause;
use super::runtimes::OfRuntimes;
use crate::sys::{self, BorrowedFd, Edges};

/// The tasks of this process that wait for one state.
#[derive(Debug, Default)]
pub(crate) struct Level(Local<OfRuntimes<Registration>>);

/// The registration that the tasks of one runtime share. It is closed when the last of them leaves.
#[derive(Debug, Default)]
struct Registration(OnceLock<Edges>);

impl Registration {
    /// # Panics
    /// Outside of a tokio runtime, or in one without an I/O driver.
    fn edges(&self, fd: BorrowedFd<'_>) -> io::Result<&Edges> {
        if let Some(edges) = self.0.get() {
            return Ok(edges);
        }
        let edges = Edges::of(sys::own_descriptor(&fd)?)?;
        Ok(self.0.get_or_init(|| edges)) // Another thread may have registered first.
    }
}

impl Level {
    /// Waits until `is_over` returns true. Its result changes only when `fd` becomes readable.
    ///
    /// # Panics
    /// If it has to wait outside of a tokio runtime, or in one without an I/O driver.
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub(crate) async fn wait(&self, fd: BorrowedFd<'_>, is_over: impl Fn() -> bool) {
        while !is_over() {
            if self.listen(fd, &is_over).await.is_err() {
                pause().await; // There is no descriptor for this, or the runtime has ended.
            }
        }
    }

    async fn listen(&self, fd: BorrowedFd<'_>, is_over: impl Fn() -> bool) -> io::Result<()> {
        let here = self.0.get().here();
        here.edges(fd)?.check_at_each(is_over).await
    }
}
