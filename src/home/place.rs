//! [`Home`]: which runtime an executor's background tasks run on. It starts without one, belongs to the first
//! runtime that uses the executor, and moves at most once, to the crate's own runtime.

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};

use tokio::runtime::{Handle, Id};

use super::movable::{MovableTask, Runner, TaskKeeper};
use super::own::OwnRuntime;
use super::probe;

/// The runtime of an executor's background tasks.
pub(crate) struct Home {
    me: Weak<Home>,
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

/// Ends a task early. Dropping it does nothing.
pub(crate) struct TaskAbort(Weak<MovableTask>);

impl Home {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new_cyclic(|me| Self {
            me: me.clone(),
            first: OnceLock::new(),
            has_moved: AtomicBool::new(false),
            state: Mutex::default(),
        })
    }

    /// Takes note of the runtime that calls this. Every use of the executor goes through here: whoever waits for
    /// a task must not depend on a runtime that it does not run.
    pub(crate) fn note_caller(&self) {
        if self.has_moved.load(Ordering::Relaxed) {
            return;
        }
        let caller = Handle::try_current();
        let is_first = |handle: &Handle| self.first.get() == Some(&handle.id());
        if !caller.as_ref().is_ok_and(is_first) {
            self.note_another(caller.ok());
        }
    }

    /// As `note_caller`, for a caller that is not known to be the first.
    #[cold]
    fn note_another(&self, caller: Option<Handle>) {
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
            _ => self.move_away(state),
        }
    }

    /// Spawns a task. It runs until it is done or aborted, whatever runtimes end.
    pub(crate) fn spawn(&self, future: impl Future<Output = ()> + Send + 'static) -> TaskAbort {
        self.note_caller();
        let keeper = self.me.upgrade().expect("the caller holds the home");
        let task = MovableTask::new(keeper, future);
        let abort = TaskAbort(Arc::downgrade(&task));
        let mut state = self.lock();
        let runner = task.new_runner();
        state.tasks.insert(task.number(), task);
        let runtime = state.runtime.clone();
        drop(state);
        self.start(&runtime, runner);
        abort
    }

    /// Starts a runner. Not under the lock: a runtime that has ended drops the runner at once.
    fn start(&self, runtime: &HomeRuntime, runner: Runner) {
        match runtime {
            HomeRuntime::Unknown => {} // The caller was noted, so the crate's own runtime cannot be made.
            HomeRuntime::First(handle) => drop(handle.spawn(runner)),
            HomeRuntime::Own(own) => {
                if let Ok(handle) = own.running() {
                    handle.spawn(runner);
                }
            }
        }
    }

    /// Moves all tasks to the crate's own runtime. If the system has no thread or descriptor for that, they stay.
    fn move_away(&self, mut state: MutexGuard<'_, HomeState>) {
        let own = match OwnRuntime::shared() {
            Ok(own) if own.running().is_ok() => own,
            _ => return,
        };
        state.runtime = HomeRuntime::Own(own);
        self.has_moved.store(true, Ordering::Relaxed);
        let runtime = state.runtime.clone();
        let runners: Vec<_> = state.tasks.values().map(MovableTask::new_runner).collect();
        drop(state);
        for runner in runners {
            self.start(&runtime, runner);
        }
    }

    fn lock(&self) -> MutexGuard<'_, HomeState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl TaskKeeper for Home {
    fn task_ended(&self, task: &MovableTask) {
        let ended = self.lock().tasks.remove(&task.number());
        drop(ended); // Not under the lock.
    }

    fn runtime_failed(&self, task: &MovableTask) {
        let state = self.lock();
        match state.runtime {
            // Its thread has ended, which happens only as the program does.
            HomeRuntime::Own(_) => {
                drop(state);
                task.abort();
            }
            _ => self.move_away(state),
        }
    }
}

impl TaskAbort {
    pub(crate) fn abort(&self) {
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

impl fmt::Debug for TaskAbort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TaskAbort")
    }
}
