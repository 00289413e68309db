//! Why a worker ends or gets a successor. A dismissed worker exits by itself, and a terminated one may finish
//! its item. Every other ending is a kill, at once or when its time is up. The steps are those of
//! [`WorkerPhase`](super::phase::WorkerPhase).

use std::time::{Duration, Instant};

use super::Link;
use super::phase::{Dismissal, Ending, PhaseStep};
use super::state::LinkState;
use crate::executor::encoded::EncodedCall;
use crate::wire::claim::{InvalidClaim, Stage};
use crate::wire::message::{self, ToWorker};

impl Link {
    /// Carries out a step of the phase. Sends nothing.
    pub(super) fn follow(state: &mut LinkState, step: PhaseStep) {
        Self::put_exit(state, step);
        state.wakes |= step != PhaseStep::Stays;
    }

    fn put_exit(state: &mut LinkState, step: PhaseStep) {
        if step == PhaseStep::AsksToExit {
            message::put(&mut state.messages, &ToWorker::Exit);
        }
    }

    /// Asks the worker to exit if it has nothing to do. The pool decides this under its lock, so this sends nothing and
    /// wakes no task: the caller wakes the supervisor without the lock (`wake`), and the supervisor sends the request.
    pub(in crate::process) fn dismiss(&self, why: Dismissal) {
        let mut state = self.lock();
        // A worker that got a call after it looked idle is dismissed when it is idle again.
        if state.is_idle() {
            let step = state.phase.dismiss(why);
            Self::put_exit(&mut state, step);
        }
    }

    /// Asks the worker to end, by a signal. It may still return the outcome of its running item. The calls
    /// that it has not started come back.
    pub(in crate::process) fn terminate(&self) -> Vec<EncodedCall> {
        let unstarted = self.revoke_unstarted();
        let mut state = self.lock();
        let step = state.phase.terminate();
        if step == PhaseStep::Stays {
            return unstarted;
        }
        Self::follow(&mut state, step);
        let mut is_sound = true;
        for entry in &mut state.in_flight {
            let begun = self.page.begun(entry.seq);
            let found = self.page.slot(entry.seq).stop(false);
            match found.and_then(|claim| entry.see_stopped(claim, begun)) {
                Ok(found) if found.stage == Stage::Cancelled => entry.end_with(found.item),
                Ok(_) => {}
                Err(InvalidClaim) => is_sound = false,
            }
        }
        if !is_sound {
            Self::end_for_claim(&mut state);
        }
        drop(state);
        self.write_now();
        unstarted
    }

    /// Kills the worker.
    pub(in crate::process) fn end(&self, why: Ending) {
        let mut state = self.lock();
        let step = state.phase.kill(why);
        Self::follow(&mut state, step);
    }

    /// Why the pool ends the worker, if it does.
    pub(in crate::process) fn ending(&self) -> Option<Ending> {
        self.lock().phase.ending()
    }

    /// Whether the worker accepts no more calls, because it has its last one or has a successor. Its place then is free
    /// for another worker.
    pub(in crate::process) fn is_leaving(&self) -> bool {
        self.lock().phase.has_vacated()
    }

    /// Records that the worker has a successor.
    pub(in crate::process) fn leave(&self) {
        self.lock().phase.vacate();
    }

    /// Whether the worker needs a successor because of its age or its memory. Returns true once, until the next attempt
    /// is due.
    pub(in crate::process) fn is_due(&self) -> bool {
        let exceeds_memory_limit = self.page.exceeds_memory_limit();
        let mut state = self.lock();
        state.retirement.is_due(exceeds_memory_limit, Instant::now) && state.phase.takes_more()
    }

    /// Called when its successor could not be started. The worker stays, and the pool tries again.
    pub(in crate::process) fn retire_later(&self, pause: impl FnOnce(u32) -> Duration) {
        let mut state = self.lock();
        state.retirement.postpone(Instant::now(), pause);
        state.wakes = true;
    }

    /// Records that the worker is among the pool's idle workers. Returns false if it already was.
    pub(in crate::process) fn start_rest(&self) -> bool {
        let mut state = self.lock();
        let starts = !std::mem::replace(&mut state.rests, true);
        if starts {
            self.start_idle_time(&mut state);
        }
        starts
    }

    /// Records that the worker is not among the pool's idle workers any more. Returns whether it was.
    pub(in crate::process) fn end_rest(&self) -> bool {
        std::mem::take(&mut self.lock().rests)
    }

    pub(in crate::process) fn rests(&self) -> bool {
        self.lock().rests
    }

    /// Restarts the worker's idle time, because the pool keeps it.
    pub(in crate::process) fn rest_on(&self) {
        self.start_idle_time(&mut self.lock());
    }

    fn start_idle_time(&self, state: &mut LinkState) {
        if let Some(limit) = self.idle_timeout {
            state.idle_until = Instant::now().checked_add(limit);
        }
    }

    /// Whether the worker was idle for longer than it may be.
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

    /// Calls everything that a pool calls while it holds its lock. A worker that reads slowly must not hold up the
    /// pool, and waking a task may be a system call.
    #[tokio::test]
    async fn decisions_under_the_pools_lock_send_nothing_and_wake_none() {
        let (ours, mut theirs) = UnixStream::pair().expect("a socket pair");
        for socket in [&ours, &theirs] {
            socket.set_nonblocking(true).expect("a socket");
        }
        let (page, _) = Page::create().expect("memory");
        let link = Link::new(1, 1, page, Arc::new(ours), Tenure::default());
        let out = link.outbound(); // A thread writes to the worker all the time.
        link.end_by(Some(Instant::now()));
        link.reserve();
        assert!(!link.is_idle() && link.calls_ahead() == 0);
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
        assert_eq!(theirs.read(&mut byte).expect("a request was sent"), 1);
    }
}
