//! What a process knows about itself and its parent.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use crate::executor::context::process::child;
use crate::home::{anywhere, sleep};
use crate::multiprocessing::waiting::driver::{end_of, may_block};
use crate::process::runner::readable;
use crate::sys::{self, OwnedFd, ProcessIdentity};
use crate::wire::message::ChildIdentity;

/// The interval of retries while this process has no descriptor left to watch its parent with.
const RETRY_PAUSE: Duration = Duration::from_millis(10);

/// Returns this process: the program itself, a [`Process`](super::Process), or a worker of a pool.
///
/// ```
/// use concurrent_futures::multiprocessing::{Process, current_process};
/// # concurrent_futures::init_before_main!();
///
/// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let process = Process::builder()
///     .name("thumbnails")
///     .spawn(|| current_process().name().to_owned(), ())
///     .await?;
/// assert_eq!(process.join().await?, "thumbnails");
/// assert_eq!(current_process().name(), "main");
/// # Ok(()) }
/// ```
pub fn current_process() -> CurrentProcess {
    CurrentProcess { child: child() }
}

/// Returns the process that started this one as a [`Process`](super::Process) or as a worker of a pool. `None` in the
/// program itself.
///
/// ```
/// use concurrent_futures::multiprocessing::{Process, parent_process};
/// # concurrent_futures::init_before_main!();
///
/// fn parent() -> Option<u32> {
///     parent_process().map(|parent| parent.pid())
/// }
///
/// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let process = Process::spawn(parent, ()).await?;
/// assert_eq!(process.join().await?, Some(std::process::id()));
/// assert!(parent_process().is_none());
/// # Ok(()) }
/// ```
pub fn parent_process() -> Option<ParentProcess> {
    current_process().parent()
}

/// This process. Returned by [`current_process`], which has an example.
///
/// A process that the program or a task forks by other means than this crate counts as a program of its own.
#[derive(Clone, Debug)]
pub struct CurrentProcess {
    child: Option<Arc<ChildIdentity>>,
}

impl CurrentProcess {
    /// The [name](super::Process::name) of a [`Process`](super::Process). A worker has the name of its pool, or
    /// `worker`, and its number, as in `worker-3`. A [preload](super::ProcessBuilder::preload) runs in the
    /// `fork-server`. The program itself is called `main`.
    pub fn name(&self) -> &str {
        self.child.as_ref().map_or("main", |child| &child.name)
    }

    /// The process id.
    pub fn pid(&self) -> u32 {
        std::process::id()
    }

    /// Whether it ends with its parent, as a [daemon](super::ProcessBuilder::daemon) and a worker do.
    ///
    /// ```
    /// # use concurrent_futures::multiprocessing::{Process, current_process};
    /// # concurrent_futures::init_before_main!();
    /// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let builder = Process::builder().daemon(true);
    /// let process = builder.spawn(|| current_process().is_daemon(), ()).await?;
    /// assert!(process.join().await?);
    /// # Ok(()) }
    /// ```
    pub fn is_daemon(&self) -> bool {
        self.child.as_ref().is_some_and(|child| child.is_daemon)
    }

    /// The process that started it. `None` in the program itself.
    pub fn parent(&self) -> Option<ParentProcess> {
        let identity = ProcessIdentity::from_word(self.child.as_ref()?.parent)?;
        Some(ParentProcess { identity })
    }
}

/// The process that started this one. Returned by [`parent_process`], which has an example.
///
/// With [`StartMethod::ForkServer`](crate::StartMethod::ForkServer) it is the program, not the fork server.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct ParentProcess {
    identity: ProcessIdentity,
}

impl ParentProcess {
    /// The process id. The system may reuse it once the process has ended.
    pub fn pid(&self) -> u32 {
        self.identity.pid()
    }

    /// Whether the process is alive. If the system does not report that, for example in a sandbox, it counts as alive.
    ///
    /// ```
    /// # use concurrent_futures::multiprocessing::{Process, parent_process};
    /// # concurrent_futures::init_before_main!();
    /// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let process = Process::spawn(|| parent_process().is_some_and(|parent| parent.is_alive()), ()).await?;
    /// assert!(process.join().await?);
    /// # Ok(()) }
    /// ```
    pub fn is_alive(&self) -> bool {
        !self.identity.has_ended()
    }

    /// Waits until the process has ended. So a process that is no daemon can clean up after the end of its parent.
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub async fn join(&self) {
        let identity = self.identity;
        anywhere(async move {
            loop {
                match identity.watch() {
                    Ok(None) => return,
                    Ok(Some(pidfd)) => readable(&pidfd).await,
                    Err(_) => sleep(RETRY_PAUSE).await,
                }
            }
        })
        .await;
    }

    /// Like [`join`](Self::join), for a thread that may block.
    ///
    /// ```no_run
    /// use concurrent_futures::multiprocessing::parent_process;
    ///
    /// fn serve() {
    ///     let parent = parent_process().expect("it runs as a `Process`");
    ///     std::thread::spawn(move || {
    ///         parent.blocking_join();
    ///         // Save everything, then ...
    ///         std::process::exit(0);
    ///     });
    ///     // Work.
    /// }
    /// ```
    ///
    /// # Panics
    /// On a thread that drives async code.
    pub fn blocking_join(&self) {
        self.blocking_join_within(None);
    }

    /// Like [`blocking_join`](Self::blocking_join), but returns false if the process has not ended within `limit`.
    ///
    /// # Panics
    /// On a thread that drives async code.
    pub fn blocking_join_timeout(&self, limit: Duration) -> bool {
        self.blocking_join_within(Some(limit))
    }

    fn blocking_join_within(&self, limit: Option<Duration>) -> bool {
        may_block();
        let end = end_of(limit);
        loop {
            let watched: io::Result<Option<OwnedFd>> = self.identity.watch();
            match watched {
                Ok(None) => return true,
                Ok(Some(pidfd)) => return sys::await_readable(&pidfd, end),
                Err(_) if end.is_some_and(|end| std::time::Instant::now() >= end) => return false,
                Err(_) => std::thread::sleep(RETRY_PAUSE),
            }
        }
    }
}

impl fmt::Debug for ParentProcess {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ParentProcess")
            .field("pid", &self.pid())
            .field("alive", &self.is_alive())
            .finish()
    }
}
