//! Waits for a bell to ring or for a process to end, in a task ([`TaskWaiter`]) or on a thread ([`ThreadWaiter`]).
//! Wake-ups may be spurious, so the caller must check again.

use std::future::poll_fn;
use std::io;
use std::task::{Context, Poll};
use std::time::Instant;

use super::bell::Bell;
use super::pause::{CHECK_INTERVAL, pause};
use crate::sys::{self, AsFd, BlockingEdges, Edges, OwnedFd, ProcessIdentity};

/// The number of processes that a waiter watches at a time. Each takes a descriptor.
pub(crate) const MOST_WATCHED: usize = 256;

/// The reason of a wake-up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Woken {
    /// The bell has rung.
    Rang,
    /// A watched process has ended, if it is known which one, or the bell has reached its end, or the reason is
    /// unknown.
    Ended(Option<ProcessIdentity>),
}

impl Woken {
    /// The process that has ended.
    pub(crate) fn ended(self) -> Option<ProcessIdentity> {
        match self {
            Self::Rang => None,
            Self::Ended(process) => process,
        }
    }
}

/// What one task or thread listens with.
pub(crate) trait Waiter: Send {
    /// Starts to listen.
    ///
    /// # Panics
    /// In a task, outside of a tokio runtime, or in one without an I/O driver.
    fn new(bell: &Bell) -> Self;

    /// Watches these processes, and no others. Returns one of them that has ended.
    fn watch(&mut self, whom: &[ProcessIdentity]) -> Option<ProcessIdentity>;

    /// Waits until the bell has rung since the last wait, a watched process has ended, or `end` has passed.
    ///
    /// # Cancel safety
    /// Cancel safe.
    async fn wait(&mut self, end: Option<Instant>) -> Woken;
}

/// Listens in a task. It has no deadline.
#[derive(Debug)]
pub(crate) struct TaskWaiter {
    bell: Bell,
    listener: Option<Listener>,
    watched: WatchedProcesses<Edges>,
}

/// The bell, and its end if it has one.
#[derive(Debug)]
struct Listener {
    bell: Edges,
    end: Option<Edges>,
}

impl Listener {
    fn of(bell: &Bell) -> io::Result<Self> {
        let end = bell.end_listener()?;
        let bell = bell.listener()?;
        Ok(Self { bell, end })
    }

    fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<io::Result<Woken>> {
        if let Some(end) = &self.end
            && let Poll::Ready(outcome) = end.poll_next(context)
        {
            // A hang-up stays ready, which would keep this task busy while it waits for something else. One report is
            // enough, because each check queries the socket.
            self.end.take_if(|end| sys::is_hung_up(&*end));
            return Poll::Ready(outcome.map(|()| Woken::Ended(None)));
        }
        self.bell.poll_next(context).map_ok(|()| Woken::Rang)
    }
}

impl Waiter for TaskWaiter {
    fn new(bell: &Bell) -> Self {
        Self {
            bell: bell.clone(),
            listener: Listener::of(bell).ok(),
            watched: WatchedProcesses::default(),
        }
    }

    fn watch(&mut self, whom: &[ProcessIdentity]) -> Option<ProcessIdentity> {
        self.watched.watch(whom, Edges::of)
    }

    async fn wait(&mut self, _end: Option<Instant>) -> Woken {
        let Some(listener) = self.listener.as_mut().filter(|_| !self.watched.blind) else {
            pause().await;
            self.listener = Listener::of(&self.bell).ok();
            return Woken::Ended(None);
        };
        let woken = poll_fn(|context| {
            for (_, process) in &self.watched.processes {
                if let Poll::Ready(outcome) = process.poll_next(context) {
                    return Poll::Ready(outcome.map(|()| Woken::Ended(None)));
                }
            }
            listener.poll_next(context)
        });
        woken.await.unwrap_or_else(|_| {
            // The runtime that listened has ended; the next poll may be in another one.
            self.listener = None;
            self.watched = WatchedProcesses::default();
            Woken::Ended(None)
        })
    }
}

/// The kinds of edges: a ring, or the end of the bell or of a watched process.
const RING: u64 = 1;
const END: u64 = 2;

/// Listens on a thread.
#[derive(Debug)]
pub(crate) struct ThreadWaiter {
    bell: Bell,
    edges: Option<BlockingEdges>,
    watched: WatchedProcesses<OwnedFd>,
}

impl Waiter for ThreadWaiter {
    fn new(bell: &Bell) -> Self {
        Self {
            bell: bell.clone(),
            edges: bell.edges(RING, END).ok(),
            watched: WatchedProcesses::default(),
        }
    }

    fn watch(&mut self, whom: &[ProcessIdentity]) -> Option<ProcessIdentity> {
        let edges = self.edges.as_ref();
        self.watched.watch(whom, |process| {
            if let Some(edges) = edges {
                edges.add(&process, END)?;
            }
            Ok(process)
        })
    }

    async fn wait(&mut self, end: Option<Instant>) -> Woken {
        if let Some(edges) = self.edges.as_ref().filter(|_| !self.watched.blind)
            && let Ok(heard) = edges.next(end)
        {
            return if heard & END == 0 {
                Woken::Rang
            } else {
                Woken::Ended(None)
            };
        }
        let left = end.map_or(CHECK_INTERVAL, |end| {
            end.saturating_duration_since(Instant::now())
        });
        std::thread::sleep(left.min(CHECK_INTERVAL));
        *self = Self::new(&self.bell);
        Woken::Ended(None)
    }
}

/// The watched processes.
#[derive(Debug)]
struct WatchedProcesses<E> {
    processes: Vec<(ProcessIdentity, E)>,
    /// Whether one of them cannot be watched, or there are too many.
    blind: bool,
    /// Which of the processes are watched, if there are too many.
    turn: usize,
}

impl<E> Default for WatchedProcesses<E> {
    fn default() -> Self {
        Self {
            processes: Vec::new(),
            blind: false,
            turn: 0,
        }
    }
}

impl<E: AsFd> WatchedProcesses<E> {
    fn watch(
        &mut self,
        whom: &[ProcessIdentity],
        listen: impl Fn(OwnedFd) -> io::Result<E>,
    ) -> Option<ProcessIdentity> {
        let first = self.turn % whom.len().max(1);
        self.blind = whom.len() > MOST_WATCHED;
        self.turn = if self.blind { first + MOST_WATCHED } else { 0 };
        let (before, after) = whom.split_at(first);
        let whom = [after, before].concat();
        let whom = &whom[..whom.len().min(MOST_WATCHED)];
        self.processes.retain(|(known, _)| whom.contains(known));
        // A process cannot wait for its own end.
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

#[cfg(all(test, not(properties)))]
mod tests {
    use std::process::{Command, Stdio};
    use std::time::Duration;

    use futures::FutureExt as _;

    use super::*;

    #[test]
    fn a_thread_hears_a_ring_and_the_end_of_a_process_and_which_it_was() {
        let bell = Bell::new().expect("a bell");
        let mut waiter = ThreadWaiter::new(&bell);
        let mut process = Command::new("cat");
        let mut process = process.stdin(Stdio::piped()).spawn().expect("a process");
        let identity = ProcessIdentity::from_word(process.id().into()).expect("not 0");
        let end = Instant::now().checked_add(Duration::from_secs(30));
        assert_eq!(waiter.watch(&[identity]), None);
        bell.ring();
        let mut wait = || waiter.wait(end).now_or_never().expect("it blocks");
        assert_eq!(wait(), Woken::Rang);
        drop(process.stdin.take());
        assert_eq!(wait(), Woken::Ended(None));
        bell.ring();
        assert_eq!(wait(), Woken::Rang);
        assert_eq!(waiter.watch(&[identity]), Some(identity));
        process.wait().expect("it has ended");
    }

    #[test]
    fn too_many_processes_are_watched_a_few_at_a_time() {
        let mut watched = WatchedProcesses::default();
        let own = u64::from(std::process::id());
        // Their identities have this process id, but none has its start time.
        let all: Vec<_> = (1..=MOST_WATCHED as u64 + 10)
            .map(|number| ProcessIdentity::from_word(number << 22 | own).expect("it is not 0"))
            .collect();
        let mut listened = Vec::new();
        let mut watch = |whom: &[ProcessIdentity]| {
            let ended = watched.watch(whom, Ok);
            listened.push(watched.processes.len());
            (ended, watched.blind)
        };
        // So each counts as ended.
        let first = watch(&all).0.expect("it has ended");
        assert_eq!(first, all[0]);
        let later = watch(&all).0.expect("it has ended");
        assert_eq!(later, all[MOST_WATCHED]);
        assert!(watch(&all).1 && !watch(&all[..1]).1);
        assert!(listened.into_iter().all(|count| count <= MOST_WATCHED));
    }

    #[tokio::test]
    async fn a_task_hears_a_ring_and_the_end_of_a_process_and_which_it_was() {
        let bell = Bell::new().expect("a bell");
        let mut waiter = TaskWaiter::new(&bell);
        let mut process = Command::new("cat");
        let mut process = process.stdin(Stdio::piped()).spawn().expect("a process");
        let identity = ProcessIdentity::from_word(process.id().into()).expect("not 0");
        assert_eq!(waiter.watch(&[identity]), None);
        bell.ring();
        assert_eq!(waiter.wait(None).await, Woken::Rang);
        drop(process.stdin.take());
        assert_eq!(waiter.wait(None).await, Woken::Ended(None));
        bell.ring();
        assert_eq!(waiter.wait(None).await, Woken::Rang);
        assert_eq!(waiter.watch(&[identity]), Some(identity));
        process.wait().expect("it has ended");
    }
}
