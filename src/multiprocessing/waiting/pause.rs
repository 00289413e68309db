//! A wait without a descriptor: all tasks of a process for which there is no descriptor check at the same intervals.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::task::yield_now;

use super::local::Local;

/// The interval of the checks without a descriptor.
pub(crate) const CHECK_INTERVAL: Duration = Duration::from_millis(10);

/// The paused tasks of this process, and the thread that wakes them.
#[derive(Debug, Default)]
struct Pauses {
    waiting: Vec<oneshot::Sender<()>>,
    has_thread: bool,
}

static PAUSES: Local<Mutex<Pauses>> = Local::first(Mutex::new(Pauses {
    waiting: Vec::new(),
    has_thread: false,
}));

/// Sleeps until the end of an interval of `CHECK_INTERVAL`.
///
/// The runtime may have no timer and no free blocking thread. So a thread wakes the tasks. The process has one such
/// thread, however many tasks pause, and none while no task does.
///
/// # Cancel safety
/// Cancel safe.
pub(crate) async fn pause() {
    match begin() {
        Some(over) => drop(over.await),
        None => yield_now().await, // There is no thread for it either.
    }
}

fn begin() -> Option<oneshot::Receiver<()>> {
    let (done, over) = oneshot::channel();
    let mut pauses = lock();
    if !pauses.has_thread {
        let thread = std::thread::Builder::new().stack_size(64 * 1024);
        thread.spawn(wake_at_intervals).ok()?;
        pauses.has_thread = true;
    }
    pauses.waiting.push(done);
    Some(over)
}

fn wake_at_intervals() {
    loop {
        std::thread::sleep(CHECK_INTERVAL);
        let mut pauses = lock();
        let due = std::mem::take(&mut pauses.waiting);
        pauses.has_thread = !due.is_empty();
        if due.is_empty() {
            return;
        }
        drop(pauses);
        drop(due); // Dropping the senders wakes the tasks.
    }
}

fn lock() -> std::sync::MutexGuard<'static, Pauses> {
    PAUSES.get().lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(all(test, target_os = "linux", not(properties)))]
mod tests {
    use super::*;

    /// The threads of this process that wake tasks at intervals. They have no name of their own, so this counts all
    /// threads.
    fn threads() -> usize {
        std::fs::read_dir("/proc/self/task")
            .expect("the list of threads")
            .count()
    }

    #[tokio::test]
    async fn a_thousand_tasks_that_pause_share_one_thread() {
        let before = threads();
        let pauses: Vec<_> = (0..1000).map(|_| tokio::spawn(pause())).collect();
        tokio::task::yield_now().await;
        // Other tests of this process start threads too, but not hundreds.
        assert!(threads() < before + 100);
        for pause in pauses {
            pause.await.expect("it ends");
        }
    }
}
