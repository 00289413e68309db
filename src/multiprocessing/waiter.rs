//! Waiting for a bell to ring or for a process to end, whichever comes first: in a task ([`Waiter`]) or in a
//! thread ([`BlockingWaiter`]). Who keeps one may be woken for nothing, and has to look again.

use std::future::poll_fn;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::task::Poll;
use std::time::{Duration, Instant};

use tokio::sync::{Mutex, oneshot};

use super::bell::Bell;
use crate::sys::{self, BlockingEdges, Edges, ProcessIdentity};

/// Without a descriptor to listen with, one looks again after so long.
pub(super) const BLIND: Duration = Duration::from_millis(10);

/// Why somebody who waited is to look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Woken {
    /// The bell has rung.
    Rang,
    /// A process that was watched has ended, or it is not known whether anything has happened.
    Ended,
}

/// What a task listens to.
#[derive(Debug)]
pub(super) struct Waiter<'a> {
    bell: &'a Bell,
    listener: Option<Edges>,
    watched: Watched<Edges>,
}

impl<'a> Waiter<'a> {
    /// Listens from now on.
    ///
    /// # Panics
    /// Outside of a tokio runtime, or in one without an I/O driver.
    pub(super) fn new(bell: &'a Bell) -> Self {
        Self {
            bell,
            listener: bell.listener().ok(),
            watched: Watched::default(),
        }
    }

    /// Watches these processes, and no others. Gives one of them that has ended.
    pub(super) fn watch(&mut self, whom: &[ProcessIdentity]) -> Option<ProcessIdentity> {
        self.watched.watch(whom, Edges::of)
    }

    /// Waits until the bell has rung since the last time, or a watched process has ended.
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub(super) async fn wait(&mut self) -> Woken {
        let Some(listener) = self.listener.as_ref().filter(|_| !self.watched.blind) else {
            pause().await;
            self.listener = self.bell.listener().ok();
            return Woken::Ended;
        };
        let woken = poll_fn(|context| {
            for (_, process) in &self.watched.processes {
                if let Poll::Ready(outcome) = process.poll_next(context) {
                    return Poll::Ready(outcome.map(|()| Woken::Ended));
                }
            }
            listener.poll_next(context).map_ok(|()| Woken::Rang)
        });
        woken.await.unwrap_or_else(|_| {
            // The runtime that listened has ended; this one may be another.
            self.listener = None;
            self.watched = Watched::default();
            Woken::Ended
        })
    }
}

/// Looks whether this thread may wait.
///
/// # Panics
/// In an asynchronous task, where waiting would stop a thread of its runtime.
pub(super) fn may_block() {
    // A fork still believes to be in the runtime that it was forked in, which does not run there.
    if sys::generation() == 0 {
        // Nobody has this one, so it does not wait.
        drop(Mutex::new(()).blocking_lock());
    }
}

/// Waits for a short time. Neither a timer nor a blocking thread of the runtime is sure to be there.
pub(super) async fn pause() {
    let (done, over) = oneshot::channel::<()>();
    let thread = std::thread::Builder::new().stack_size(64 * 1024);
    let spawned = thread.spawn(|| {
        std::thread::sleep(BLIND);
        drop(done);
    });
    if spawned.is_err() {
        tokio::task::yield_now().await;
    }
    let _ = over.await;
}

/// What a thread hears: the bell, or the end of a process that it watches.
const RING: u64 = 1;
const END: u64 = 2;

/// What a thread listens to.
#[derive(Debug)]
pub(super) struct BlockingWaiter<'a> {
    bell: &'a Bell,
    edges: Option<BlockingEdges>,
    watched: Watched<OwnedFd>,
}

impl<'a> BlockingWaiter<'a> {
    /// Listens from now on.
    ///
    /// # Panics
    /// In an asynchronous task, where waiting would stop a thread of its runtime.
    pub(super) fn new(bell: &'a Bell) -> Self {
        may_block();
        Self {
            bell,
            edges: bell.edges(RING).ok(),
            watched: Watched::default(),
        }
    }

    /// As [`Waiter::watch`].
    pub(super) fn watch(&mut self, whom: &[ProcessIdentity]) -> Option<ProcessIdentity> {
        let edges = self.edges.as_ref();
        self.watched.watch(whom, |process| {
            if let Some(edges) = edges {
                edges.add(&process, END)?;
            }
            Ok(process)
        })
    }

    /// As [`Waiter::wait`], until `end` at the latest.
    pub(super) fn wait(&mut self, end: Option<Instant>) -> Woken {
        if let Some(edges) = self.edges.as_ref().filter(|_| !self.watched.blind)
            && let Ok(heard) = edges.next(end)
        {
            return if heard & END == 0 {
                Woken::Rang
            } else {
                Woken::Ended
            };
        }
        let left = end.map_or(BLIND, |end| end.saturating_duration_since(Instant::now()));
        std::thread::sleep(left.min(BLIND));
        *self = Self::new(self.bell);
        Woken::Ended
    }
}

/// The processes whose end somebody waits for.
#[derive(Debug)]
struct Watched<E> {
    processes: Vec<(ProcessIdentity, E)>,
    /// Whether there is one that cannot be watched.
    blind: bool,
}

impl<E> Default for Watched<E> {
    fn default() -> Self {
        Self {
            processes: Vec::new(),
            blind: false,
        }
    }
}

impl<E: AsFd> Watched<E> {
    fn watch(
        &mut self,
        whom: &[ProcessIdentity],
        listen: impl Fn(OwnedFd) -> io::Result<E>,
    ) -> Option<ProcessIdentity> {
        self.blind = false;
        self.processes.retain(|(known, _)| whom.contains(known));
        // With its own end a process waits no more.
        for who in whom.iter().filter(|who| **who != ProcessIdentity::own()) {
            let known = self.processes.iter().find(|(known, _)| known == who);
            match known.map(|(_, process)| process) {
                Some(process) if sys::is_readable(process) => return Some(*who),
                Some(_) => {}
                None => match who
                    .watch()
                    .and_then(|process| process.map(&listen).transpose())
                {
                    Ok(Some(process)) => self.processes.push((*who, process)),
                    Ok(None) => return Some(*who),
                    Err(_) => self.blind = true,
                },
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn a_thread_hears_a_ring_and_the_end_of_a_process_and_which_it_was() {
        let bell = Bell::new().expect("a bell");
        let mut waiter = BlockingWaiter::new(&bell);
        let mut process = Command::new("cat");
        let mut process = process.stdin(Stdio::piped()).spawn().expect("a process");
        let identity = ProcessIdentity::from_word(process.id().into()).expect("not 0");
        let end = Instant::now().checked_add(Duration::from_secs(30));
        assert_eq!(waiter.watch(&[identity]), None);
        bell.ring();
        assert_eq!(waiter.wait(end), Woken::Rang);
        drop(process.stdin.take());
        assert_eq!(waiter.wait(end), Woken::Ended);
        bell.ring();
        assert_eq!(waiter.wait(end), Woken::Rang);
        assert_eq!(waiter.watch(&[identity]), Some(identity));
        process.wait().expect("it has ended");
    }

    #[tokio::test]
    async fn a_task_hears_a_ring_and_the_end_of_a_process_and_which_it_was() {
        let bell = Bell::new().expect("a bell");
        let mut waiter = Waiter::new(&bell);
        let mut process = Command::new("cat");
        let mut process = process.stdin(Stdio::piped()).spawn().expect("a process");
        let identity = ProcessIdentity::from_word(process.id().into()).expect("not 0");
        assert_eq!(waiter.watch(&[identity]), None);
        bell.ring();
        assert_eq!(waiter.wait().await, Woken::Rang);
        drop(process.stdin.take());
        assert_eq!(waiter.wait().await, Woken::Ended);
        bell.ring();
        assert_eq!(waiter.wait().await, Woken::Rang);
        assert_eq!(waiter.watch(&[identity]), Some(identity));
        process.wait().expect("it has ended");
    }
}
