//! The running processes of this program. A process is listed from its start to its end, whether or not its handle
//! exists. Each use of the list removes the processes that have ended.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use crate::home::anywhere;
use crate::multiprocessing::waiting::driver::may_block;
use crate::multiprocessing::waiting::local::Local;
use crate::process::runner::{self, RunningProcess};
use crate::sys::{self, OwnedFd};

/// Each process has its own: a fork does not list the children of its parent.
static LIST: Local<Mutex<Vec<ActiveEntry>>> = Local::first(Mutex::new(Vec::new()));

struct ActiveEntry {
    child: ActiveChild,
    pidfd: Arc<OwnedFd>,
    /// Exists while this process must take the exit status.
    runner: Weak<RunningProcess>,
}

/// A running [`Process`](super::Process) of this program. Returned by [`active_children`], which has an example.
#[derive(Clone, Debug)]
pub struct ActiveChild {
    pid: u32,
    name: String,
    daemon: bool,
}

impl ActiveChild {
    /// The process id. The system may reuse it once the process has ended.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// The [name](super::Process::name) of the process.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether it ends with this process.
    pub fn is_daemon(&self) -> bool {
        self.daemon
    }
}

/// Lists the running processes that this process has started as a [`Process`](super::Process), in the order of
/// their start, with a handle or without. Processes that have ended are reaped.
///
/// ```
/// use concurrent_futures::multiprocessing::{Process, active_children};
/// # concurrent_futures::init_before_main!();
///
/// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let process = Process::builder().name("waits").daemon(true).spawn(std::thread::park, ()).await?;
/// assert_eq!(active_children()[0].name(), "waits");
/// process.kill();
/// let _ = process.join().await;
/// assert!(active_children().is_empty());
/// # Ok(()) }
/// ```
pub fn active_children() -> Vec<ActiveChild> {
    let list = running();
    list.iter().map(|entry| entry.child.clone()).collect()
}

/// Waits until every [`Process`](super::Process) of this program has ended, except for daemons. Python does
/// this at exit. Call it at the end of `main` if the program is to end after its processes.
///
/// ```
/// use concurrent_futures::multiprocessing::{Process, active_children, join_all};
/// # concurrent_futures::init_before_main!();
///
/// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// for n in 1..=3 {
///     Process::spawn(|n: u32| println!("Process # {n}"), n).await?; // The handle is dropped.
/// }
/// join_all().await;
/// assert!(active_children().is_empty());
/// # Ok(()) }
/// ```
///
/// # Cancel safety
/// Cancel safe.
pub async fn join_all() {
    while let Some(pidfd) = next() {
        anywhere(async move { runner::readable(&pidfd).await }).await;
    }
}

/// Like [`join_all`], for a thread that may block.
///
/// ```
/// # use concurrent_futures::multiprocessing::{Process, blocking_join_all};
/// # concurrent_futures::init_before_main!();
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// Process::blocking_spawn(|| println!("done"), ())?; // The handle is dropped.
/// blocking_join_all();
/// # Ok(()) }
/// ```
///
/// # Panics
/// On a thread that drives async code.
pub fn blocking_join_all() {
    may_block();
    while let Some(pidfd) = next() {
        sys::await_readable(&pidfd, None);
    }
}

/// Lists a process that has just started.
pub(super) fn add(runner: &Arc<RunningProcess>, name: &str, daemon: bool) {
    let child = ActiveChild {
        pid: runner.id(),
        name: name.to_owned(),
        daemon,
    };
    running().push(ActiveEntry {
        child,
        pidfd: runner.pidfd().clone(),
        runner: Arc::downgrade(runner),
    });
}

/// Removes a process that has ended.
pub(super) fn forget(runner: &RunningProcess) {
    lock().retain(|entry| !Arc::ptr_eq(&entry.pidfd, runner.pidfd()));
}

/// A process to wait for.
fn next() -> Option<Arc<OwnedFd>> {
    let list = running();
    let mut awaited = list.iter().filter(|entry| !entry.child.daemon);
    awaited.next().map(|entry| entry.pidfd.clone())
}

/// The list, without the processes that have ended. Takes their exit statuses: the owner of a handle may never
/// ask.
fn running() -> MutexGuard<'static, Vec<ActiveEntry>> {
    let mut list = lock();
    let ended = list.extract_if(.., |entry| sys::is_readable(&entry.pidfd));
    for runner in ended.filter_map(|entry| entry.runner.upgrade()) {
        runner.try_end();
    }
    list
}

fn lock() -> MutexGuard<'static, Vec<ActiveEntry>> {
    LIST.get().lock().unwrap_or_else(PoisonError::into_inner)
}
