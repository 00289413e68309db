//! The crate's own runtime. It exists while an executor that moved to it exists, or while its blocking threads have
//! work. The program's executors share it, except for those whose tasks call user code: a call that blocks must delay
//! no other executor. Its thread starts with the first task.

use std::cell::Cell;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use tokio::runtime::{Builder, Handle, Runtime};
use tokio::sync::Notify;

use super::handover::{Handover, start_thread};
use crate::panic;
use crate::sys;

/// How long an idle blocking thread stays.
const LINGER: Duration = Duration::from_secs(1);
/// The most blocking threads. The executors limit their number themselves.
const MOST_BLOCKING: usize = 1 << 20;

/// The crate's own runtime. Dropping the last reference ends it.
#[derive(Debug)]
pub(super) struct OwnRuntime {
    handle: Handle,
    /// `Some` until the thread starts, which takes it.
    idle: Mutex<Option<Runtime>>,
    ended: Arc<Notify>,
}

/// The shared runtime, and the process generation that created it: a fork of the process has none of its threads.
static SHARED: Mutex<(u32, Weak<OwnRuntime>)> = Mutex::new((0, Weak::new()));

thread_local! {
    /// Whether this thread runs the tasks of executors that moved.
    static IS_DRIVER: Cell<bool> = const { Cell::new(false) };
}

impl OwnRuntime {
    /// The existing shared runtime, or a new one.
    pub(super) fn shared() -> io::Result<Arc<Self>> {
        let mut shared = lock(&SHARED);
        let generation = sys::generation();
        if let (own, Some(existing)) = (shared.0, shared.1.upgrade()) {
            if own == generation {
                return Ok(existing);
            }
            std::mem::forget(existing); // Its threads are in the parent process, so it cannot be ended here.
        }
        let own = Self::separate()?;
        *shared = (generation, Arc::downgrade(&own));
        Ok(own)
    }

    /// A runtime that no other executor shares.
    pub(super) fn separate() -> io::Result<Arc<Self>> {
        let mut builder = Builder::new_current_thread();
        builder
            .enable_all()
            .thread_keep_alive(LINGER)
            .max_blocking_threads(MOST_BLOCKING)
            .thread_name("cf-blocking");
        let runtime = build_runtime(&mut builder)?;
        Ok(Arc::new(Self {
            handle: runtime.handle().clone(),
            idle: Mutex::new(Some(runtime)),
            ended: Arc::new(Notify::new()),
        }))
    }

    /// The handle to spawn tasks. Starts the thread that runs them.
    pub(super) fn running(&self) -> io::Result<&Handle> {
        let mut idle = lock(&self.idle);
        if let Some(runtime) = idle.take() {
            let ended = self.ended.clone();
            let started = start_thread("cf-driver", runtime, move |runtime| {
                IS_DRIVER.set(true);
                runtime.block_on(ended.notified());
                runtime.shutdown_background();
            });
            if let Err((runtime, error)) = started {
                *idle = runtime;
                return Err(error);
            }
        }
        Ok(&self.handle)
    }
}

/// Builds a runtime. If a crate of the program uses tokio's signals and there is no descriptor left for them, tokio
/// panics.
pub(crate) fn build_runtime(builder: &mut Builder) -> io::Result<Runtime> {
    #[cfg(feature = "process")]
    let _standard_numbers = sys::standard_numbers();
    panic::quietly(|| builder.build()).unwrap_or_else(|_| {
        Err(io::Error::other(
            "tokio cannot make a pair of sockets; close files, or raise the limit of open files with `ulimit -n`",
        ))
    })
}

impl Drop for OwnRuntime {
    fn drop(&mut self) {
        self.ended.notify_one();
        if let Some(runtime) = lock(&self.idle).take() {
            runtime.shutdown_background();
        }
    }
}

/// Runs `work` on a blocking thread of the crate's own, since all those of the caller's runtime may be busy. If the
/// system refuses a thread, `work` runs on the caller's thread.
pub(super) fn detach(work: impl FnOnce() + Send + 'static) {
    let own = OwnRuntime::shared().ok();
    // Blocking work needs no thread that runs tasks.
    let handle = own.as_ref().map(|own| own.handle.clone());
    // The runtime lives until the work is done.
    let ours = Handover::new((work, own));
    let theirs = ours.clone();
    let started = handle.is_some_and(|handle| {
        let run = move || run_taken(&theirs);
        // Tokio panics if it has no thread and the system refuses one.
        panic::quietly(|| drop(handle.spawn_blocking(run))).is_ok()
    });
    if !started {
        run_taken(&ours);
    }
}

/// Runs a callback of the user on this thread. On the thread that drives the program's executors, which a callback must
/// not block, it passes the callback to a blocking thread instead.
pub(crate) fn call_back(callback: impl FnOnce() + Send + 'static) {
    let callback = move || panic::contain_panic(callback);
    match IS_DRIVER.get() {
        true => detach(callback),
        false => callback(),
    }
}

/// As `detach`, and returns the value of `work`.
#[cfg(feature = "process")]
pub(crate) async fn unblock<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    let (give, take) = tokio::sync::oneshot::channel();
    detach(move || {
        let _ = give.send(work()); // The caller may have been dropped.
    });
    take.await
        .expect("blocking work of the crate does not panic")
}

fn run_taken<F: FnOnce(), R>(work: &Handover<(F, R)>) {
    if let Some((work, _runtime)) = work.take() {
        work();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
