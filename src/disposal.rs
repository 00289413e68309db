//! Drops values of the user on separate threads. A destructor may block or panic; there it delays no outcome, no other
//! value and no thread of a runtime.
//!
//! A thread starts with the first value and ends soon after the last. A value that waits behind a
//! destructor that blocks gets a thread of its own.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use tokio::runtime::Handle;

use crate::panic::contain_panic;

/// How long a thread waits for the next value.
const LINGER: Duration = Duration::from_millis(100);

/// The most threads. More than one is needed only while destructors block.
const MOST_THREADS: usize = 64;

/// The most values that wait. The caller drops any further value itself, so that a program that submits to a full queue
/// in a loop does not allocate faster than it frees.
const MOST_WAITING: usize = 1024;

/// Drops `value` on another thread, within the caller's runtime if there is one.
pub(crate) fn dispose<T: Send + 'static>(value: T) {
    if std::mem::needs_drop::<T>() {
        dispose_by(move || drop(value));
    }
}

/// Calls `drop_values`, which only drops values, on another thread.
pub(crate) fn dispose_by(drop_values: impl FnOnce() + Send + 'static) {
    let runtime = Handle::try_current().ok();
    let task = move || {
        // Some destructors spawn a task that cleans up.
        let _within = runtime.as_ref().map(Handle::enter);
        contain_panic(drop_values);
    };
    DISPOSAL.put(Box::new(task));
}

static DISPOSAL: Disposal = Disposal {
    state: Mutex::new(DisposalState {
        waiting: VecDeque::new(),
        idle: 0,
        threads: 0,
        starting: false,
    }),
    called: Condvar::new(),
};

struct Disposal {
    state: Mutex<DisposalState>,
    /// Notified when a value arrives and a thread idles.
    called: Condvar,
}

type Destructor = Box<dyn FnOnce() + Send>;

struct DisposalState {
    waiting: VecDeque<Destructor>,
    idle: usize,
    threads: usize,
    /// A thread was started and has not yet taken a value.
    starting: bool,
}

impl Disposal {
    fn lock(&self) -> MutexGuard<'_, DisposalState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn put(&'static self, value: Destructor) {
        let mut state = self.lock();
        if state.waiting.len() >= MOST_WAITING {
            drop(state);
            return value();
        }
        state.waiting.push_back(value);
        let left = self.call(&mut state);
        drop(state);
        left.into_iter().for_each(|value| value());
    }

    /// Calls a thread for the values that wait. If no thread can be started and none is left, it returns
    /// the values, for the caller to drop.
    fn call(&'static self, state: &mut DisposalState) -> VecDeque<Destructor> {
        if state.idle > 0 {
            self.called.notify_one();
        } else if !state.starting && state.threads < MOST_THREADS {
            let thread = thread::Builder::new().name("cf-disposal".to_owned());
            match thread.spawn(|| self.serve()) {
                Ok(_) => {
                    state.threads += 1;
                    state.starting = true;
                }
                Err(_) if state.threads == 0 => return std::mem::take(&mut state.waiting),
                Err(_) => {}
            }
        }
        VecDeque::new()
    }

    fn serve(&'static self) {
        let mut state = self.lock();
        state.starting = false;
        loop {
            if let Some(value) = state.waiting.pop_front() {
                if !state.waiting.is_empty() {
                    // This destructor may block, and the next value must not wait for it. The call returns no values:
                    // this thread is left to take them.
                    self.call(&mut state);
                }
                drop(state);
                value();
                state = self.lock();
                continue;
            }
            state.idle += 1;
            let idle = |state: &mut DisposalState| state.waiting.is_empty();
            let waited = self.called.wait_timeout_while(state, LINGER, idle);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
            state.idle -= 1;
            if state.waiting.is_empty() {
                state.threads -= 1;
                return;
            }
        }
    }
}

#[cfg(all(test, not(properties)))]
mod tests {
    use std::sync::mpsc::{self, Receiver, Sender};

    use super::*;

    const LIMIT: Duration = Duration::from_secs(60);

    struct Reports(&'static str, Sender<&'static str>);

    impl Drop for Reports {
        fn drop(&mut self) {
            let _ = self.1.send(self.0);
        }
    }

    /// Reports that its destructor runs, and blocks there until the test lets it end.
    struct Blocks(Sender<&'static str>, Receiver<()>);

    impl Drop for Blocks {
        fn drop(&mut self) {
            let _ = self.0.send("blocks");
            let _ = self.1.recv();
        }
    }

    #[test]
    fn values_behind_destructors_that_block_or_panic_are_dropped() {
        let (dropped, drops) = mpsc::channel();
        let mut blocked = Vec::new();
        for _ in 0..8 {
            let (release, gate) = mpsc::channel();
            blocked.push(release);
            dispose(Blocks(dropped.clone(), gate));
        }
        dispose_by(|| panic!("a destructor"));
        dispose(Reports("last", dropped));
        let mut seen: Vec<_> = (0..9)
            .map(|_| drops.recv_timeout(LIMIT).expect("each is dropped"))
            .collect();
        seen.sort_unstable();
        assert_eq!(seen[..8], ["blocks"; 8]);
        assert_eq!(seen[8], "last");
        drop(blocked);
    }

    #[tokio::test]
    async fn a_destructor_may_drop_a_runtime_and_finds_the_one_of_its_caller() {
        let (dropped, drops) = mpsc::channel();
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .build()
            .expect("a runtime");
        let here = Handle::current().id();
        dispose_by(move || {
            drop(runtime);
            let _ = dropped.send(Handle::current().id());
        });
        let found = tokio::task::spawn_blocking(move || drops.recv_timeout(LIMIT));
        let found = found.await.expect("no panic");
        assert_eq!(found.expect("no destructor panics"), here);
    }
}
