//! [`Home`]: which runtime an executor's background tasks run on. It starts without one, belongs to the first
//! runtime that uses the executor, and moves at most once, to the crate's own runtime.

use std::cell::Cell;
use std::collections::HashMap;
use std::fmt;
use std::future::poll_fn;
use std::io;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};

use tokio::runtime::{Handle, Id};
use tokio::task;

use super::current::next_number;
use super::movable::{MovableTask, Runner, TaskKeeper};
#[cfg(feature = "process")]
use super::own;
use super::own::OwnRuntime;
use super::probe;
use crate::sys;

/// The runtime of an executor's background tasks.
pub(crate) struct Home {
    me: Weak<Home>,
    number: u64,
    /// The generation of the process that created it: a fork of that process has none of its runtimes.
    generation: u32,
    /// Returns the crate's own runtime to move to.
    own: fn() -> io::Result<Arc<OwnRuntime>>,
    /// The runtime for the executor's blocking work, kept from the first use on.
    #[cfg(feature = "process")]
    blocking: OnceLock<Option<Arc<OwnRuntime>>>,
    /// The first runtime that used the executor, if it could drive tasks.
    first: OnceLock<Id>,
    /// Whether it moved to the crate's own runtime. Only a hint; `state` decides.
    has_moved: AtomicBool,
    state: Mutex<HomeState>,
}

#[derive(Default)]
struct HomeState {
    runtime: HomeRuntime,
    tasks: HashMap<u64, Arc<MovableTask>>,
}

#[derive(Clone, Default)]
enum HomeRuntime {
    /// No runtime has used the executor yet.
    #[default]
    Unknown,
    /// One runtime has used it.
    First(Handle),
    /// Several have, or code outside of one.
    Own(Arc<OwnRuntime>),
}

thread_local! {
    /// The task of the first runtime that last used an executor on this thread, and the number of that home. A task
    /// stays in its runtime, so the home need not check it again. Checking the runtime through tokio costs more.
    static KNOWN: Cell<(Option<task::Id>, u64)> = const { Cell::new((None, 0)) };
}

/// Dropping it ends its task.
pub(crate) struct TaskGuard(Weak<MovableTask>);

impl Home {
    pub(crate) fn new() -> Arc<Self> {
        Self::with_own(OwnRuntime::shared)
    }

    /// A home whose tasks call user code. If they move, they share a thread with no other home.
    #[cfg(feature = "process")]
    pub(crate) fn apart() -> Arc<Self> {
        Self::with_own(OwnRuntime::separate)
    }

    fn with_own(own: fn() -> io::Result<Arc<OwnRuntime>>) -> Arc<Self> {
        Arc::new_cyclic(|me| Self {
            me: me.clone(),
            number: next_number(),
            generation: sys::generation(),
            own,
            #[cfg(feature = "process")]
            blocking: OnceLock::new(),
            first: OnceLock::new(),
            has_moved: AtomicBool::new(false),
            state: Mutex::default(),
        })
    }

    /// Whether this process is a fork of the process that created it.
    pub(crate) fn is_inherited(&self) -> bool {
        self.generation != sys::generation()
    }

    /// Records the runtime of the caller. Every use of the executor calls this: a caller must not depend on a runtime
    /// that may be blocked, idle or ended.
    pub(crate) fn note_caller(&self) {
        if self.has_moved.load(Ordering::Relaxed) {
            return;
        }
        let task = (task::try_id(), self.number);
        if task.0.is_some() && KNOWN.get() == task {
            return;
        }
        let caller = Handle::try_current();
        let is_first = |handle: &Handle| self.first.get() == Some(&handle.id());
        if caller.as_ref().is_ok_and(is_first) {
            KNOWN.set(task);
        } else {
            self.note_another(caller.ok());
        }
    }

    /// The slow path of `note_caller`.
    #[cold]
    fn note_another(&self, caller: Option<Handle>) {
        if self.is_inherited() {
            return; // In a fork, the executor refuses all tasks.
        }
        // The probe may block for some microseconds, so it comes before the lock.
        let usable = caller.filter(probe::can_drive);
        let mut state = self.lock();
        match (&state.runtime, usable) {
            (HomeRuntime::Own(_), _) => {}
            (HomeRuntime::Unknown, Some(runtime)) => {
                let _ = self.first.set(runtime.id());
                state.runtime = HomeRuntime::First(runtime);
            }
            (HomeRuntime::First(first), Some(runtime)) if first.id() == runtime.id() => {}
            _ => {
                self.move_away(state);
            }
        }
    }

    /// Awaits `future` for a caller that may poll it in several runtimes in turn.
    pub(crate) async fn awaited<F: Future>(&self, future: F) -> F::Output {
        let mut future = pin!(future);
        poll_fn(|cx| {
            self.note_caller();
            future.as_mut().poll(cx)
        })
        .await
    }

    /// As [`own::detach`]. While this exists, idle threads stay for a moment.
    #[cfg(feature = "process")]
    pub(crate) fn detach(&self, work: impl FnOnce() + Send + 'static) {
        self.blocking.get_or_init(|| OwnRuntime::shared().ok());
        own::detach(work);
    }

    /// Spawns a task. It runs to its end, even if its runtime ends.
    #[cfg(any(feature = "process", test))]
    pub(crate) fn spawn(&self, future: impl Future<Output = ()> + Send + 'static) {
        self.spawn_task(future);
    }

    /// As `spawn`. The task also ends when the guard is dropped.
    pub(crate) fn spawn_guarded(
        &self,
        future: impl Future<Output = ()> + Send + 'static,
    ) -> TaskGuard {
        TaskGuard(self.spawn_task(future))
    }

    fn spawn_task(&self, future: impl Future<Output = ()> + Send + 'static) -> Weak<MovableTask> {
        self.note_caller();
        let keeper = self.me.upgrade().expect("the caller holds the home");
        let task = MovableTask::new(keeper, future);
        let spawned = Arc::downgrade(&task);
        if self.is_inherited() {
            return spawned;
        }
        let mut state = self.lock();
        let runner = task.new_runner();
        state.tasks.insert(task.number(), task);
        let runtime = state.runtime.clone();
        drop(state);
        start(&runtime, runner);
        spawned
    }

    /// Moves all tasks to the crate's own runtime. Returns false if the system refuses a thread or a descriptor for
    /// that: the tasks then stay.
    fn move_away(&self, mut state: MutexGuard<'_, HomeState>) -> bool {
        let own = match (self.own)() {
            Ok(own) if state.tasks.is_empty() || own.running().is_ok() => own,
            _ => return false,
        };
        state.runtime = HomeRuntime::Own(own);
        self.has_moved.store(true, Ordering::Relaxed);
        let runtime = state.runtime.clone();
        let runners: Vec<_> = state.tasks.values().map(MovableTask::new_runner).collect();
        drop(state);
        for runner in runners {
            start(&runtime, runner);
        }
        true
    }

    fn lock(&self) -> MutexGuard<'_, HomeState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Starts a runner. Called without the lock: a runtime that has ended drops the runner at once.
fn start(runtime: &HomeRuntime, runner: Runner) {
    let handle = match runtime {
        HomeRuntime::Unknown => None, // The crate's own runtime could not be created.
        HomeRuntime::First(handle) => Some(handle),
        HomeRuntime::Own(own) => own.running().ok(),
    };
    // If the runner is dropped here, its task ends.
    if let Some(handle) = handle {
        runner.spawn(handle);
    }
}

impl TaskKeeper for Home {
    fn task_ended(&self, task: &MovableTask) {
        let ended = self.lock().tasks.remove(&task.number());
        drop(ended); // Dropped without the lock.
    }

    fn runtime_failed(&self, task: &MovableTask, runner: u64) -> bool {
        let state = self.lock();
        match state.runtime {
            // Another thread moved all tasks before this one took the lock.
            _ if !task.is_run_by(runner) => true,
            // There is no runtime to move to after the crate's own.
            HomeRuntime::Own(_) => false,
            _ => self.move_away(state),
        }
    }
}

impl Drop for TaskGuard {
    fn drop(&mut self) {
        if let Some(task) = self.0.upgrade() {
            task.abort();
        }
    }
}

impl fmt::Debug for Home {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let has_moved = self.has_moved.load(Ordering::Relaxed);
        f.debug_struct("Home")
            .field("has_moved", &has_moved)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for TaskGuard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TaskGuard")
    }
}

#[cfg(all(test, not(properties)))]
mod tests {
    use std::future::poll_fn;
    use std::sync::mpsc;
    use std::task::Poll;
    use std::thread;
    use std::time::Duration;

    use tokio::runtime::{Builder, Runtime};

    use super::*;

    const LIMIT: Duration = Duration::from_secs(60);

    fn runtime() -> Runtime {
        let mut builder = Builder::new_current_thread();
        builder.enable_all().build().expect("a runtime")
    }

    /// The name of the thread that polls the task.
    fn poller() -> String {
        thread::current().name().unwrap_or("?").to_owned()
    }

    #[test]
    fn a_task_moves_although_its_runtime_is_never_polled_again() {
        let (home, first) = (Home::new(), runtime());
        let (go, gone) = (Arc::new(tokio::sync::Notify::new()), mpsc::channel());
        let waits = go.clone();
        let _first = first.enter();
        home.spawn(async move {
            waits.notified().await;
            gone.0.send(poller()).expect("the test waits");
        });
        first.block_on(tokio::task::yield_now()); // The task waits now.
        home.note_another(None);
        go.notify_one();
        assert_eq!(gone.1.recv_timeout(LIMIT).as_deref(), Ok("cf-driver"));
    }

    #[test]
    fn a_task_that_moves_inside_a_poll_goes_on_after_it() {
        let home = Home::new();
        let (inside, is_inside) = mpsc::channel();
        let (leave, leaves) = mpsc::channel::<()>();
        let (seen, sees) = mpsc::channel();
        let theirs = home.clone();
        let old = thread::Builder::new()
            .name("old".to_owned())
            .spawn(move || {
                runtime().block_on(async {
                    let mut polls = 0;
                    theirs.spawn(poll_fn(move |_| {
                        polls += 1;
                        seen.send((polls, poller())).expect("the test waits");
                        if polls == 1 {
                            inside.send(()).expect("the test waits");
                            leaves.recv().expect("the test ends the poll");
                            return Poll::Pending; // Only its new runner polls it again.
                        }
                        Poll::Ready(())
                    }));
                    tokio::task::yield_now().await;
                });
            });
        is_inside.recv_timeout(LIMIT).expect("the task is polled");
        home.note_another(None);
        leave.send(()).expect("it waits");
        assert_eq!(sees.recv_timeout(LIMIT), Ok((1, "old".to_owned())));
        assert_eq!(sees.recv_timeout(LIMIT), Ok((2, "cf-driver".to_owned())));
        old.expect("a thread").join().expect("no panic");
        assert!(
            sees.recv().is_err(),
            "the future is dropped when it is done"
        );
    }

    #[test]
    fn a_task_that_is_aborted_inside_its_poll_is_dropped_after_it() {
        let home = Home::new();
        let (dropped, drops) = mpsc::channel::<()>();
        let guard = Arc::new(Mutex::new(None::<TaskGuard>));
        let theirs = guard.clone();
        let task = async move {
            let _dropped = dropped;
            let guard = loop {
                let guard = theirs.lock().expect("no panic").take();
                match guard {
                    Some(guard) => break guard,
                    None => tokio::task::yield_now().await,
                }
            };
            drop(guard);
            std::future::pending::<()>().await;
        };
        runtime().block_on(async {
            *guard.lock().expect("no panic") = Some(home.spawn_guarded(task));
            while drops.try_recv() != Err(mpsc::TryRecvError::Disconnected) {
                tokio::task::yield_now().await;
            }
        });
        assert!(home.lock().tasks.is_empty());
    }

    #[test]
    fn a_task_that_no_runtime_ever_polled_moves_too() {
        let (home, first) = (Home::new(), runtime());
        let (done, is_done) = mpsc::channel();
        {
            let _first = first.enter();
            home.spawn(async move { done.send(poller()).expect("the test waits") });
        }
        drop(first);
        assert_eq!(is_done.recv_timeout(LIMIT).as_deref(), Ok("cf-driver"));
        home.spawn(async {}); // Later tasks run there too.
    }

    #[test]
    fn the_thread_of_the_crate_ends_with_the_last_home_that_needs_it() {
        let home = Home::new();
        let (done, is_done) = mpsc::channel();
        home.spawn(async move {
            let handle = Handle::current();
            // Dropped when the runtime ends.
            handle.spawn(async move {
                let _done = done;
                std::future::pending::<()>().await;
            });
        });
        drop(home);
        let ended = is_done.recv_timeout(LIMIT);
        assert_eq!(ended, Err::<(), _>(mpsc::RecvTimeoutError::Disconnected));
    }

    /// Nothing would wake the tokio task of an aborted task.
    #[test]
    fn aborted_tasks_and_tasks_that_moved_leave_nothing_in_their_runtime() {
        let first = runtime();
        first.block_on(async {
            let alive = || Handle::current().metrics().num_alive_tasks();
            let home = Home::new();
            let aborted = home.spawn_guarded(std::future::pending());
            let moved = home.spawn_guarded(std::future::pending());
            tokio::task::yield_now().await;
            assert_eq!(alive(), 2);
            drop(aborted);
            home.note_another(None);
            while alive() > 0 {
                tokio::task::yield_now().await;
            }
            drop(moved); // Lets the runtime that it moved to end.
        });
    }

    #[test]
    fn a_panic_ends_its_task_alone() {
        let home = Home::new();
        let (done, is_done) = mpsc::channel();
        home.spawn(async { panic!("out of cheese") });
        home.spawn(async move { done.send(()).expect("the test waits") });
        assert_eq!(is_done.recv_timeout(LIMIT), Ok(()));
    }
}
