//! Why a worker ends or gets a successor. A dismissed worker exits by itself, and a terminated one may finish
//! its item. Every other ending is a kill, at once or when its time is up.

use std::time::{Duration, Instant};

use super::Link;
use super::ending::{Dismissal, Ending};
use crate::wire::message;

/// What the driving task is to do with the worker.
pub(in crate::process) enum Fate {
    /// Serve it, and check the clock at this instant.
    Serve(Option<Instant>),
    /// It was asked to exit.
    Leave,
    /// Ask it to end, and kill it at this instant.
    Terminate(Option<Instant>),
    Kill,
}

impl Link {
    /// Tells the worker to exit, if it has nothing to do. The pool decides this under its lock, so nothing
    /// is sent here: the task that drives the link does that (`write_now`).
    pub(in crate::process) fn dismiss(&self, why: Dismissal) {
        let mut lane = self.lock();
        // A worker that got work since it looked idle is dismissed when it is idle again.
        if lane.ending.is_some() || !lane.in_flight.is_empty() || lane.reserved > 0 {
            return;
        }
        lane.closed = true;
        lane.ending = Some(Ending::Dismissed(why));
        message::put_exit(&mut lane.unwritten);
        self.wake.notify();
    }

    /// Whether it accepts no more calls, because it has its last one or has a successor. Then its place is
    /// free for another.
    pub(in crate::process) fn is_leaving(&self) -> bool {
        let lane = self.lock();
        lane.leaving || lane.given >= self.max_tasks()
    }

    /// It has a successor.
    pub(in crate::process) fn leave(&self) {
        self.lock().leaving = true;
    }

    /// Whether it needs a successor, for its age or its memory. True once, until the next attempt is due.
    pub(in crate::process) fn is_due(&self) -> bool {
        let mut lane = self.lock();
        let exceeds_memory_limit = self.page.exceeds_memory_limit();
        let is_news = exceeds_memory_limit
            && !std::mem::replace(&mut lane.exceeds_memory_limit, exceeds_memory_limit);
        let is_old = lane
            .retires_at
            .take_if(|moment| *moment <= Instant::now())
            .is_some();
        (is_news || is_old) && !lane.leaving && lane.ending.is_none()
    }

    /// Its successor could not be started. It stays, and the pool tries again.
    pub(in crate::process) fn retire_later(&self, pause: impl FnOnce(u32) -> Duration) {
        let mut lane = self.lock();
        lane.retirements += 1;
        lane.retires_at = Instant::now().checked_add(pause(lane.retirements));
        self.wake.notify();
    }

    pub(super) fn max_tasks(&self) -> u64 {
        self.tenure.max_tasks.unwrap_or(u64::MAX)
    }

    /// Ends the worker, whatever it does.
    pub(in crate::process) fn end(&self, ending: Ending) {
        let mut lane = self.lock();
        lane.condemn(ending, None);
        lane.kill_at = None;
        self.wake.notify();
    }

    /// Why the pool ends the worker, if it does.
    pub(in crate::process) fn ending(&self) -> Option<Ending> {
        self.lock().ending.clone()
    }

    /// It is idle from now on.
    pub(in crate::process) fn start_idle_time(&self) {
        if self.tenure.idle_timeout.is_some() {
            self.lock().idle_since = Some(Instant::now());
        }
    }

    /// Whether it was idle for longer than it may.
    pub(in crate::process) fn has_idled(&self) -> bool {
        let end = self.lock().idle_end(&self.tenure);
        end.is_some_and(|end| end <= Instant::now())
    }
}

#[cfg(all(test, target_os = "linux", not(properties)))]
mod tests {
    use std::io::{self, Read as _};
    use std::os::unix::net::UnixStream;
    use std::sync::Arc;

    use super::*;
    use crate::process::link::Tenure;
    use crate::wire::page::Page;

    /// All that a pool calls while it holds its lock. A worker that reads slowly must not hold up the pool.
    #[tokio::test]
    async fn what_a_pool_decides_under_its_lock_sends_nothing() {
        let (ours, mut theirs) = UnixStream::pair().expect("a socket pair");
        for socket in [&ours, &theirs] {
            socket.set_nonblocking(true).expect("a socket");
        }
        let (page, _) = Page::create().expect("memory");
        let link = Link::new(1, 1, page, Arc::new(ours), Tenure::default());
        link.end_by(Some(Instant::now()));
        link.retire_later(|_| Duration::ZERO);
        assert!(link.is_idle() && link.room() > 0);
        assert!(link.steal(1).is_empty() && link.recall(1).is_empty());
        link.start_idle_time();
        link.leave();
        link.dismiss(Dismissal::Closed);
        assert!(matches!(link.ending(), Some(Ending::Dismissed(_))));
        let mut byte = [0];
        let nothing = theirs.read(&mut byte).expect_err("nothing was sent");
        assert_eq!(nothing.kind(), io::ErrorKind::WouldBlock);
        link.write_now();
        assert_eq!(theirs.read(&mut byte).expect("it was sent"), 1);
    }
}
