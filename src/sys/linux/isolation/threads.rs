//! The threads of a process that is about to be isolated.

use std::io;
use std::time::{Duration, Instant};

use super::super::fork::{copied_thread, names_of_threads_except, thread_count};

/// How long a thread that has ended may still be listed.
const LISTED: Duration = Duration::from_millis(100);

/// Fails if there is a thread besides the calling one and the copied one, which waits. The error names the threads.
pub(crate) fn check_no_other_thread() -> io::Result<()> {
    let others = other_threads()?;
    if others.is_empty() {
        return Ok(());
    }
    Err(io::Error::new(
        io::ErrorKind::ResourceBusy,
        format!("other threads run ({})", others.join(", ")),
    ))
}

/// The names of the threads besides the calling one and the copied one, once the list does not change any more.
pub(super) fn other_threads() -> io::Result<Vec<String>> {
    let own: Vec<_> = [rustix::thread::gettid()]
        .into_iter()
        .chain(copied_thread())
        .collect();
    let begun = Instant::now();
    loop {
        let Some(count) = thread_count() else {
            return Err(io::Error::other(
                "/proc/self/task cannot be read, so the threads of the process are unknown; mount /proc",
            ));
        };
        if count <= own.len() {
            return Ok(Vec::new());
        }
        if begun.elapsed() >= LISTED {
            return names_of_threads_except(&own);
        }
        std::thread::yield_now();
    }
}
