//! Wakes the running async task when the parent no longer wants its result. A function that computes must check this by
//! itself; a future that waits must be woken. A thread waits in the page for the parent, from the first async task on.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;

use crate::sys;
use crate::wire::page::Page;

#[derive(Default)]
pub(super) struct StopListener {
    state: Mutex<ListenerState>,
}

#[derive(Default)]
struct ListenerState {
    /// The waker of the running task, if it is async.
    waker: Option<Waker>,
    thread: ListenerThread,
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum ListenerThread {
    #[default]
    NotNeeded,
    Runs,
    /// The system refused a thread. An async task is then not woken, but killed at the end of its grace period.
    Refused,
}

impl StopListener {
    /// Sets the waker. The caller checks its claim after this, because the parent may have changed it before.
    pub(super) fn set(self: &Arc<Self>, page: &Arc<Page>, waker: Option<Waker>) {
        let mut state = self.lock();
        let starts = waker.is_some() && state.thread == ListenerThread::NotNeeded;
        let _before = std::mem::replace(&mut state.waker, waker);
        if starts {
            state.thread = self.start(page.clone());
        }
    }

    /// How many threads this has started.
    pub(super) fn threads(&self) -> usize {
        usize::from(self.lock().thread == ListenerThread::Runs)
    }

    fn start(self: &Arc<Self>, page: Arc<Page>) -> ListenerThread {
        let me = self.clone();
        let started = std::thread::Builder::new()
            .name("cf-stop".into())
            .stack_size(64 * 1024)
            .spawn(move || me.listen(&page));
        match started {
            Ok(_) => {
                sys::note_silent_thread();
                ListenerThread::Runs
            }
            Err(_) => ListenerThread::Refused,
        }
    }

    fn listen(&self, page: &Page) -> ! {
        loop {
            // A stop before this call finds no listener, so the task checks once more after it.
            page.expect_stop();
            let waker = self.lock().waker.clone();
            if let Some(waker) = waker {
                waker.wake();
            }
            page.await_stop();
        }
    }

    fn lock(&self) -> MutexGuard<'_, ListenerState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
