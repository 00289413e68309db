//! Why a worker ends or gets a successor. A dismissed worker exits by itself, and a terminated one may finish
//! its item. Every other ending is a kill, at once or when its time is up. The steps are those of
//! [`WorkerPhase`](super::phase::WorkerPhase).

use std::time::{Duration, Instant};

use super::Link;
use super::lane::Lane;
use super::phase::{Dismissal, Ending, PhaseStep};
use crate::executor::encoded::EncodedCall;
use crate::wire::claim::{InvalidClaim, Stage};
use crate::wire::message::{self, ToWorker};

impl Link {
    /// Carries out a step of the phase. Sends nothing.
    pub(super) fn follow(lane: &mut Lane, step: PhaseStep) {
        Self::put_exit(lane, step);
        lane.wakes |= step != PhaseStep::Stays;
    }

    fn put_exit(lane: &mut Lane, step: PhaseStep) {
        if step == PhaseStep::AsksToExit {
            message::put(&mut lane.messages, &ToWorker::Exit);
        }
    }

    /// Asks the worker to exit, if it has nothing to do. The pool decides this under its lock, so nothing is
    /// sent here and no task woken: the caller does that without the lock (`wake`), and the supervisor sends.
    pub(in crate::process) fn dismiss(&self, why: Dismissal) {
        let mut lane = self.lock();
        // A worker that got work since it looked idle is dismissed when it is idle again.
        if lane.is_idle() {
            let step = lane.phase.dismiss(why);
            Self::put_exit(&mut lane, step);
        }
    }

    /// Asks the worker to end, by a signal. It may still return the outcome of its running item. The calls
    /// that it has not begun come back.
    pub(in crate::process) fn terminate(&self) -> Vec<EncodedCall> {
        let unstarted = self.revoke_unstarted();
        let mut lane = self.lock();
        let step = lane.phase.terminate();
        if step == PhaseStep::Stays {
            return unstarted;
        }
        Self::follow(&mut lane, step);
        let mut is_sound = true;
        for entry in &mut lane.in_flight {
            let begun = self.page.begun(entry.seq);
            let found = self.page.slot(entry.seq).stop(false);
            match found.and_then(|claim| entry.see_stopped(claim, begun)) {
                Ok(found) if found.stage == Stage::Cancelled => entry.end_with(found.item),
                Ok(_) => {}
                Err(InvalidClaim) => is_sound = false,
            }
        }
        if !is_sound {
            Self::end_for_claim(&mut lane);
        }
        drop(lane);
        self.write_now();
        unstarted
    }

    /// Kills the worker.
    pub(in crate::process) fn end(&self, why: Ending) {
        let mut lane = self.lock();
        let step = lane.phase.kill(why);
        Self::follow(&mut lane, step);
    }

    /// Why the pool ends the worker, if it does.
    pub(in crate::process) fn ending(&self) -> Option<Ending> {
        self.lock().phase.ending()
    }

    /// Whether it accepts no more calls, because it has its last one or has a successor. Then its place is
    /// free for another.
    pub(in crate::process) fn is_leaving(&self) -> bool {
        self.lock().phase.has_vacated()
    }

    /// It has a successor.
    pub(in crate::process) fn leave(&self) {
        self.lock().phase.vacate();
    }

    /// Whether it needs a successor, for its age or its memory. True once, until the next attempt is due.
    pub(in crate::process) fn is_due(&self) -> bool {
        let exceeds_memory_limit = self.page.exceeds_memory_limit();
        let mut lane = self.lock();
        lane.retirement.is_due(exceeds_memory_limit, Instant::now) && lane.phase.takes_more()
    }

    /// Its successor could not be started. It stays, and the pool tries again.
    pub(in crate::process) fn retire_later(&self, pause: impl FnOnce(u32) -> Duration) {
        let mut lane = self.lock();
        lane.retirement.postpone(Instant::now(), pause);
        lane.wakes = true;
    }

    /// It is among the pool's idle workers from now on. False if it was before.
    pub(in crate::process) fn start_rest(&self) -> bool {
        let mut lane = self.lock();
        let starts = !std::mem::replace(&mut lane.rests, true);
        if starts {
            self.start_idle_time(&mut lane);
        }
        starts
    }

    /// It is not among the pool's idle workers any more. Returns whether it was.
    pub(in crate::process) fn end_rest(&self) -> bool {
        std::mem::take(&mut self.lock().rests)
    }

    pub(in crate::process) fn rests(&self) -> bool {
        self.lock().rests
    }

    /// It stays, however long it was idle.
    pub(in crate::process) fn rest_on(&self) {
        self.start_idle_time(&mut self.lock());
    }

    fn start_idle_time(&self, lane: &mut Lane) {
        if let Some(limit) = self.idle_timeout {
            lane.idle_until = Instant::now().checked_add(limit);
        }
    }

    /// Whether it was idle for longer than it may.
    pub(in crate::process) fn has_idled(&self) -> bool {
        let end = self.lock().idle_end();
        end.is_some_and(|end| end <= Instant::now())
    }
}

#[cfg(all(test, target_os = "linux", not(properties)))]
mod tests {
    use std::future::poll_fn;
    use std::io::{self, Read as _};
    use std::os::unix::net::UnixStream;
    use std::sync::Arc;

    use futures::FutureExt as _;

    use super::*;
    use crate::process::link::Tenure;
    use crate::wire::page::Page;

    /// All that a pool calls while it holds its lock. A worker that reads slowly must not hold up the pool, and the
    /// wake-up of a task may be a system call.
    #[tokio::test]
    async fn what_a_pool_decides_under_its_lock_sends_nothing_and_wakes_nobody() {
        let (ours, mut theirs) = UnixStream::pair().expect("a socket pair");
        for socket in [&ours, &theirs] {
            socket.set_nonblocking(true).expect("a socket");
        }
        let (page, _) = Page::create().expect("memory");
        let link = Link::new(1, 1, page, Arc::new(ours), Tenure::default());
        let out = link.outbound(); // A thread writes to the worker all the time.
        link.end_by(Some(Instant::now()));
        link.reserve();
        assert!(!link.is_idle() && link.queued_calls() == 0);
        link.lock().reserved = 0;
        assert!((link.running(), link.waiting()) == (0, 0) && !link.is_due());
        assert!(link.is_idle() && link.vacancy().0 > 0 && !link.is_leaving());
        assert!(link.steal(1).is_empty() && link.recall(1).is_empty());
        assert!(link.start_rest() && link.rests() && link.end_rest());
        link.rest_on();
        link.leave();
        link.dismiss(Dismissal::Closed);
        assert!(matches!(link.ending(), Some(Ending::Dismissed(_))));
        let woken = poll_fn(|cx| link.poll_woken(cx)).now_or_never();
        assert!(woken.is_none(), "the supervisor was woken");
        drop(out);
        let mut byte = [0];
        let nothing = theirs.read(&mut byte).expect_err("nothing was sent");
        assert_eq!(nothing.kind(), io::ErrorKind::WouldBlock);
        link.write_now();
        assert_eq!(theirs.read(&mut byte).expect("it was sent"), 1);
    }
}
