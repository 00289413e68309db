//! The parent's end of one worker. Everything that the worker still has to answer is in [`LinkState::in_flight`](state).
//!
//! Any thread gives calls to it: the thread that has a call for an idle worker writes the call to the socket itself.
//! One task does the rest (reading, remaining writes, timeouts, the end of the worker), in
//! [`supervisor`](super::supervisor). Reading order:
//!
//! - [`state`]: what is under the lock, and what wakes the supervisor; [`phase`]: how far the worker is on its way to
//!   its end; [`tenure`]: how long it serves; [`in_flight`]: a call that it has; [`overrun`]: an item that was asked to
//!   end;
//! - [`send`]: how calls are sent; [`outbound`]: what is on its way; [`bulk`]: payloads that go through shared memory;
//! - [`answers`]: who gets an outcome; [`remains`]: errors and retries for the calls of a dead worker;
//! - [`recall`]: how calls are taken back or cancelled;
//! - [`fate`]: why a worker ends; [`deadlines`]: when; [`stall`]: when it counts as stalled.

mod answers;
mod bulk;
mod deadlines;
mod fate;
mod in_flight;
mod outbound;
mod overrun;
mod phase;
mod recall;
mod remains;
mod send;
mod stall;
mod state;
mod tenure;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant, SystemTime};

pub(super) use self::answers::Answered;
pub(super) use self::deadlines::Late;
use self::in_flight::InFlight;
use self::outbound::Outbound;
pub(super) use self::phase::{Dismissal, EXIT_GRACE, Ending, Fate};
pub(super) use self::recall::TakenBack;
pub(super) use self::send::Sent;
use self::state::{LinkState, LinkStateGuard, SupervisorWake};
pub(super) use self::tenure::Tenure;
use crate::executor::promise::Ticket;
use crate::sys::Socket;
use crate::wire::claim::Claim;
use crate::wire::page::Page;

#[derive(Debug)]
pub(super) struct Link {
    pub(super) id: u64,
    pub(super) pid: u32,
    pub(super) started_at: SystemTime,
    ready_at: Instant,
    pub(super) page: Page,
    /// Locked before the state, and never under a pool's lock.
    outbound: Mutex<Outbound>,
    state: Mutex<LinkState>,
    /// Wakes the supervisor's task.
    wake: SupervisorWake,
    tasks_done: AtomicU64,
    /// Whether the worker has answered something.
    proven: AtomicBool,
    idle_timeout: Option<Duration>,
}

impl Link {
    pub(super) fn new(id: u64, pid: u32, page: Page, socket: Arc<Socket>, tenure: Tenure) -> Self {
        Self {
            id,
            pid,
            started_at: SystemTime::now(),
            ready_at: Instant::now(),
            page,
            outbound: Mutex::new(Outbound::new(socket)),
            state: Mutex::new(LinkState::new(&tenure)),
            wake: SupervisorWake::default(),
            tasks_done: AtomicU64::new(0),
            proven: AtomicBool::new(false),
            idle_timeout: tenure.idle_timeout,
        }
    }

    fn lock(&self) -> LinkStateGuard<'_> {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        LinkStateGuard {
            state: Some(state),
            wake: &self.wake,
        }
    }

    fn outbound(&self) -> MutexGuard<'_, Outbound> {
        self.outbound.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn tasks_done(&self) -> u64 {
        self.tasks_done.load(Ordering::Relaxed)
    }

    /// Wakes the supervisor's task. It may be another runtime's, so this may be a system call.
    pub(super) fn wake(&self) {
        self.wake.notify();
    }

    /// Waits until another thread has something for the supervisor's task.
    pub(super) fn poll_woken(&self, cx: &mut Context<'_>) -> Poll<()> {
        self.wake.poll(cx)
    }

    /// Records that the worker has answered something. Returns true the first time.
    pub(super) fn prove(&self) -> bool {
        !self.proven.load(Ordering::Relaxed) && !self.proven.swap(true, Ordering::Relaxed)
    }

    pub(super) fn is_idle(&self) -> bool {
        self.lock().is_idle()
    }

    /// The number of items that the worker runs: 0 or 1.
    pub(super) fn running(&self) -> usize {
        let state = self.lock();
        usize::from(state.in_flight.iter().any(|entry| self.runs(entry)))
    }

    /// The number of items that wait in the worker.
    pub(super) fn waiting(&self) -> usize {
        let state = self.lock();
        let items: usize = state
            .in_flight
            .iter()
            .map(|entry| match &entry.overrun {
                Some(overrun) if overrun.is_last() => usize::from(self.runs(entry)),
                _ => entry.call.owed.remaining() as usize,
            })
            .sum();
        let runs = state.in_flight.iter().any(|entry| self.runs(entry));
        items.saturating_sub(usize::from(runs))
    }

    fn runs(&self, entry: &InFlight) -> bool {
        let claim = self.page.slot(entry.seq).read();
        claim.is_ok_and(Claim::is_running)
    }

    pub(super) fn is_running(&self, ticket: &Ticket) -> bool {
        let state = self.lock();
        state
            .in_flight
            .iter()
            .any(|entry| entry.call.ticket().id() == ticket.id() && self.runs(entry))
    }
}
