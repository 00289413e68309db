//! Locks whose every use is a step of the schedule, and a runtime with one thread.

use std::collections::VecDeque;
use std::ops::{Deref, DerefMut};
use std::pin::Pin;
use std::sync::atomic::{self, Ordering};
use std::sync::{Arc, LockResult, PoisonError, TryLockError, TryLockResult};
use std::task::{Context, Wake, Waker};

use super::schedule::{block, step, unblock};

pub(crate) struct AtomicU64(atomic::AtomicU64);

impl AtomicU64 {
    pub(crate) fn new(value: u64) -> Self {
        Self(atomic::AtomicU64::new(value))
    }

    pub(crate) fn load(&self, order: Ordering) -> u64 {
        step();
        self.0.load(order)
    }

    /// Not a step, because it is stored under a lock.
    pub(crate) fn store(&self, value: u64, order: Ordering) {
        self.0.store(value, order);
    }
}

#[derive(Default)]
pub(crate) struct Mutex<T>(std::sync::Mutex<T>);

pub(crate) struct MutexGuard<'a, T> {
    /// `None` only during the drop.
    guard: Option<std::sync::MutexGuard<'a, T>>,
    mutex: &'a Mutex<T>,
}

impl<T> Mutex<T> {
    pub(crate) fn new(value: T) -> Self {
        Self(std::sync::Mutex::new(value))
    }

    pub(crate) fn lock(&self) -> LockResult<MutexGuard<'_, T>> {
        step();
        loop {
            match self.0.try_lock() {
                Ok(guard) => return Ok(self.guard(guard)),
                Err(TryLockError::WouldBlock) => block(self.key()),
                Err(TryLockError::Poisoned(guard)) => {
                    return Err(PoisonError::new(self.guard(guard.into_inner())));
                }
            }
        }
    }

    pub(crate) fn try_lock(&self) -> TryLockResult<MutexGuard<'_, T>> {
        step();
        match self.0.try_lock() {
            Ok(guard) => Ok(self.guard(guard)),
            Err(_) => Err(TryLockError::WouldBlock),
        }
    }

    fn guard<'a>(&'a self, guard: std::sync::MutexGuard<'a, T>) -> MutexGuard<'a, T> {
        MutexGuard {
            guard: Some(guard),
            mutex: self,
        }
    }

    fn key(&self) -> usize {
        std::ptr::from_ref(self).addr()
    }
}

impl<T> Deref for MutexGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        self.guard.as_ref().expect("it is not dropped")
    }
}

impl<T> DerefMut for MutexGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        self.guard.as_mut().expect("it is not dropped")
    }
}

impl<T> Drop for MutexGuard<'_, T> {
    fn drop(&mut self) {
        self.guard = None;
        unblock(self.mutex.key());
    }
}

type Spawned = Pin<Box<dyn Future<Output = ()> + Send>>;

/// A runtime. One thread calls `run`.
#[derive(Clone)]
pub(crate) struct Handle(Arc<std::sync::Mutex<RuntimeState>>);

#[derive(Default)]
struct RuntimeState {
    /// `None` while a task is polled, and after its end.
    tasks: Vec<Option<Spawned>>,
    aborted: Vec<bool>,
    woken: VecDeque<usize>,
    alive: usize,
    phase: RuntimePhase,
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum RuntimePhase {
    #[default]
    Runs,
    /// Ends once its tasks have ended.
    Closes,
    /// Drops its tasks.
    Ends,
}

/// A task of a runtime.
#[derive(Clone)]
pub(crate) struct JoinHandle(Handle, usize);

pub(crate) struct AbortHandle(JoinHandle);

impl Handle {
    pub(crate) fn new() -> Self {
        Self(Arc::default())
    }

    pub(crate) fn spawn(&self, future: impl Future<Output = ()> + Send + 'static) -> JoinHandle {
        let mut state = self.lock();
        let task = JoinHandle(self.clone(), state.tasks.len());
        if state.phase == RuntimePhase::Ends {
            drop(state);
            drop(future);
            return task;
        }
        state.tasks.push(Some(Box::pin(future)));
        state.aborted.push(false);
        state.alive += 1;
        drop(state);
        self.schedule(task.1);
        task
    }

    /// Runs tasks until the runtime closes or ends.
    pub(crate) fn run(&self) {
        while let Some((mut task, number, is_aborted)) = self.next() {
            let waker = Waker::from(Arc::new(JoinHandle(self.clone(), number)));
            let mut cx = Context::from_waker(&waker);
            if is_aborted || task.as_mut().poll(&mut cx).is_ready() {
                drop(task);
                self.lock().alive -= 1;
            } else {
                self.lock().tasks[number] = Some(task);
            }
        }
    }

    /// The next woken task, and whether it is aborted. `None` at the end of the runtime.
    fn next(&self) -> Option<(Spawned, usize, bool)> {
        loop {
            let mut state = self.lock();
            match state.phase {
                RuntimePhase::Ends => {
                    let tasks = std::mem::take(&mut state.tasks);
                    drop(state);
                    drop(tasks);
                    return None;
                }
                RuntimePhase::Closes if state.alive == 0 => return None,
                _ => {}
            }
            if let Some(number) = state.woken.pop_front() {
                // A task that has ended may be woken, too.
                if let Some(task) = state.tasks[number].take() {
                    return Some((task, number, state.aborted[number]));
                }
                continue;
            }
            drop(state);
            block(self.key());
        }
    }

    /// Ends the runtime as soon as all its tasks have ended.
    pub(crate) fn close(&self) {
        self.enter(RuntimePhase::Closes);
    }

    /// Ends the runtime after the current poll.
    pub(crate) fn end(&self) {
        self.enter(RuntimePhase::Ends);
    }

    fn enter(&self, phase: RuntimePhase) {
        let mut state = self.lock();
        if state.phase != RuntimePhase::Ends {
            state.phase = phase;
        }
        drop(state);
        unblock(self.key());
    }

    fn schedule(&self, number: usize) {
        let mut state = self.lock();
        if state.phase != RuntimePhase::Ends && !state.woken.contains(&number) {
            state.woken.push_back(number);
        }
        drop(state);
        unblock(self.key());
    }

    /// No step is taken under this lock, so no thread ever waits for it.
    fn lock(&self) -> std::sync::MutexGuard<'_, RuntimeState> {
        self.0.lock().expect("no panic under the lock")
    }

    fn key(&self) -> usize {
        Arc::as_ptr(&self.0).addr()
    }
}

impl JoinHandle {
    pub(crate) fn abort_handle(&self) -> AbortHandle {
        AbortHandle(self.clone())
    }
}

impl AbortHandle {
    pub(crate) fn abort(&self) {
        let JoinHandle(runtime, number) = &self.0;
        if let Some(aborted) = runtime.lock().aborted.get_mut(*number) {
            *aborted = true;
        }
        runtime.schedule(*number);
    }
}

impl Wake for JoinHandle {
    fn wake(self: Arc<Self>) {
        self.0.schedule(self.1);
    }
}
