//! How a call and a worker find each other. A call takes an idle worker, or waits. A worker with room takes a
//! waiting call, or one that was sent ahead to another worker.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::Pool;
use super::state::{CallOrigin, PoolPlace, WaitingCall};
use crate::backlog::Pending as _;
use crate::executor::encoded::EncodedCall;
use crate::executor::room::Room;
use crate::process::link::Link;

impl Pool {
    /// Finds a worker for a call, or queues it.
    pub(super) fn dispatch(&self, mut waiting: WaitingCall, origin: CallOrigin) {
        loop {
            let mut state = self.lock();
            state.gave_up = false;
            if let Some(cause) = state.refusal(origin) {
                if state.stopped {
                    state.cancelled += u64::from(waiting.items());
                }
                drop(state);
                waiting.call.owed.fail_rest(&cause);
                return;
            }
            let Some(link) = state.take_idle() else {
                let priority = waiting.ticket().priority();
                state.backlog.push(waiting);
                state.recall_less_urgent(priority);
                return self.start_workers(state);
            };
            drop(state);
            match link.give_reserved(waiting.call) {
                Ok(()) => return self.replace_if_leaving(&link),
                // It has just died. Its place becomes free when that is settled.
                Err(mut back) => match back.pop() {
                    Some(call) => waiting.call = call,
                    None => return,
                },
            }
        }
    }

    /// If the worker got its last call, its place is free for another one.
    fn replace_if_leaving(&self, link: &Link) {
        if self.config.max_tasks_per_child.is_some() && link.is_leaving() {
            self.start_workers(self.lock());
        }
    }

    /// A worker is ready: give it work.
    pub(in crate::process) fn worker_ready(&self, link: &Arc<Link>) {
        let mut state = self.lock();
        state.failures = 0;
        state.last_failure = None;
        state.broken = false;
        state.gave_up = false;
        state.not_before = None;
        state
            .workers
            .insert(link.id, PoolPlace::Ready(link.clone()));
        state.succeed(link.id);
        link.end_by(state.deadlines.iter().min().copied());
        drop(state);
        self.terms.meter().worker_started();
        self.changed.notify_waiters();
        self.refill(link);
    }

    /// Gives a worker as much work as it has room for. A worker without any is idle, or dismissed.
    pub(in crate::process) fn refill(&self, link: &Link) {
        let mut state = self.lock();
        // A call is sent ahead only if no further worker can be started for it.
        let full = state.taken(&self.config) >= self.config.max_workers;
        let room = if full {
            link.room()
        } else {
            link.room().min(usize::from(link.is_idle()))
        };
        let mut calls = Vec::new();
        while calls.len() < room
            && let Some(popped) = state.backlog.pop()
        {
            calls.push(popped.entry.call);
        }
        if calls.is_empty() && link.is_idle() {
            if room > 0 {
                calls = state.steal_for(link, room);
            }
            if calls.is_empty() {
                state.rest(link);
            }
        }
        if !calls.is_empty() {
            state.idle.retain(|id| *id != link.id);
        }
        let drained = state.closed && state.backlog.is_empty();
        drop(state);
        if drained {
            self.changed.notify_waiters();
        }
        if calls.is_empty() {
            return;
        }
        match link.give(calls) {
            Ok(()) => self.replace_if_leaving(link),
            Err(back) => self.give_back(back),
        }
    }

    /// A worker has run a call of several items for some time. Idle workers get the rest of it.
    pub(in crate::process) fn share(&self, link: &Link) {
        let state = self.lock();
        let free = self
            .config
            .max_workers
            .saturating_sub(state.taken(&self.config));
        let others = state.idle.len() + free;
        if others == 0 || !state.backlog.is_empty() || state.stopped {
            return;
        }
        drop(state);
        let Some(mut rest) = link.cut() else { return };
        let mut parts = Vec::new();
        for workers in (2..=others as u32 + 1).rev() {
            let share = rest.owed.remaining().div_ceil(workers);
            if share == rest.owed.remaining() {
                break;
            }
            let others = rest.split_off(rest.owed.next() + share);
            parts.push(std::mem::replace(&mut rest, others));
        }
        parts.push(rest);
        self.give_back(parts);
    }

    /// Dispatches calls that a dead worker did not begin.
    pub(in crate::process) fn give_back(&self, calls: Vec<EncodedCall>) {
        for call in calls {
            let waiting = WaitingCall {
                call,
                _room: Room::unbounded(),
            };
            self.dispatch(waiting, CallOrigin::GivenBack);
        }
    }

    /// Counts items whose functions have ended, and how many of them returned no value.
    pub(in crate::process) fn items_ended(&self, items: usize, failed: u64) {
        self.finished.fetch_add(items as u64, Ordering::Relaxed);
        self.failed.fetch_add(failed, Ordering::Relaxed);
    }

    /// Counts items that still run although their callers have their error already.
    pub(in crate::process) fn item_overran(&self, items: usize) {
        self.failed.fetch_add(items as u64, Ordering::Relaxed);
    }
}
