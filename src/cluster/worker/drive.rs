//! The loop of a worker: it pulls tasks, gives them slots, extends their deliveries, and ends.

use std::collections::VecDeque;
use std::future::pending;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_nats::{Message, StatusCode, Subject, Subscriber};
use futures::StreamExt as _;
use tokio::sync::{oneshot, watch};
use tokio::task::{JoinError, JoinSet};
use tokio::time::{Interval, MissedTickBehavior, interval, sleep_until};

use super::assign::{Assigned, Assignment, Delivered, assign};
use super::core::WorkerCore;
use super::demand::{Demand, LANES, PULL};
use super::phase::ServingPhase;
use super::report::WorkerReport;
use super::requests::handle_request;
use super::serve::serve;
use super::slots::HOLD;
use super::table::{HeldEnd, HeldTask};
use crate::cluster::delivery::{DONE, DeliveryInfo, IN_PROGRESS, give_back_after, growing_pause};
use crate::cluster::headers::number_in;
use crate::cluster::names::QueueNames;

/// The time limit for sending the last messages.
const FLUSH: Duration = Duration::from_secs(1);

/// The subscriptions of a worker.
pub(super) struct WorkerSubscriptions {
    /// Tasks, and the ends of pulls.
    pub(super) inbox: Subscriber,
    /// The subject of the inbox, without the lane.
    pub(super) inbox_name: String,
    /// Requests to this worker.
    pub(super) own: Subscriber,
    /// Requests to all workers.
    pub(super) all: Subscriber,
}

/// How the program ends the worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum StopOrder {
    /// Finish what runs.
    Drain,
}

/// What happened.
#[derive(Debug)]
enum DriverEvent {
    Request(Message),
    Delivered(Message),
    /// The inbox is closed, for the drain.
    InboxEnded,
    Served(Result<(), JoinError>),
    SlotFreed,
    Connected,
    AcksDue,
    Stop(Option<StopOrder>),
    ExecutorClosed,
    /// The time of `next_timer` has come.
    Timer,
}

/// A task that waits for a slot.
struct WaitingTask {
    held: Arc<HeldTask>,
    assignment: Assignment,
    since: Instant,
}

struct Driver {
    core: Arc<WorkerCore>,
    phase: ServingPhase,
    demand: Demand,
    waiting: [VecDeque<WaitingTask>; LANES],
    served: JoinSet<()>,
    inbox: Option<Subscriber>,
    inbox_name: String,
    own: Subscriber,
    all: Subscriber,
    connects: watch::Receiver<u64>,
    acks: Interval,
    stop: Option<oneshot::Receiver<StopOrder>>,
}

/// Serves until `stop` has an order, or its sender is dropped.
pub(super) async fn drive(
    core: Arc<WorkerCore>,
    subscriptions: WorkerSubscriptions,
    stop: oneshot::Receiver<StopOrder>,
) -> WorkerReport {
    let mut acks = interval(core.times.ack_wait / 3);
    acks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut driver = Driver {
        phase: ServingPhase::Serving,
        demand: Demand::default(),
        waiting: Default::default(),
        served: JoinSet::new(),
        inbox: Some(subscriptions.inbox),
        inbox_name: subscriptions.inbox_name,
        own: subscriptions.own,
        all: subscriptions.all,
        connects: core.nats.connects(),
        acks,
        stop: Some(stop),
        core,
    };
    while !driver.is_over() {
        driver.hand_out().await;
        let event = driver.next().await;
        driver.handle(event).await;
    }
    driver.leave().await
}

impl Driver {
    fn is_over(&self) -> bool {
        let is_idle = || self.inbox.is_none() && self.served.is_empty();
        self.phase == ServingPhase::Over || (self.phase.is_draining() && is_idle())
    }

    async fn next(&mut self) -> DriverEvent {
        let timer = self.next_timer();
        let inbox = &mut self.inbox;
        let stop = &mut self.stop;
        tokio::select! {
            biased;
            Some(message) = self.own.next() => DriverEvent::Request(message),
            Some(message) = self.all.next() => DriverEvent::Request(message),
            Ok(()) = self.connects.changed() => DriverEvent::Connected,
            order = async { match stop { Some(stop) => stop.await.ok(), None => pending().await } } => {
                DriverEvent::Stop(order)
            }
            () = self.core.executor_closed.notified() => DriverEvent::ExecutorClosed,
            _ = self.acks.tick() => DriverEvent::AcksDue,
            Some(served) = self.served.join_next() => DriverEvent::Served(served),
            () = self.core.slots.freed() => DriverEvent::SlotFreed,
            message = async { match inbox { Some(inbox) => inbox.next().await, None => pending().await } } => {
                message.map_or(DriverEvent::InboxEnded, DriverEvent::Delivered)
            }
            () = sleep_until(timer.into()) => DriverEvent::Timer,
        }
    }

    /// When to continue if no event arrives.
    fn next_timer(&self) -> Instant {
        let now = Instant::now();
        let pulls = match self.phase {
            ServingPhase::Serving => self.demand.next_pull_at(now, self.core.lane_wait.get()),
            _ => now + PULL,
        };
        let waiting = self.waiting.iter().filter_map(|lane| lane.front());
        let holds = waiting.map(|waiting| waiting.since + HOLD);
        holds
            .chain(self.phase.until())
            .chain([pulls])
            .min()
            .expect("there is always the time of the next pull")
    }

    async fn handle(&mut self, event: DriverEvent) {
        match event {
            DriverEvent::Request(message) => handle_request(&self.core, self.phase, message).await,
            DriverEvent::Delivered(message) => self.on_message(message).await,
            DriverEvent::InboxEnded => self.inbox = None,
            DriverEvent::Connected => {
                self.core.note_reconnect();
                self.demand.on_reconnect();
                self.send_in_progress().await; // Earlier acknowledgements may be lost.
            }
            DriverEvent::AcksDue => self.send_in_progress().await,
            DriverEvent::Stop(Some(StopOrder::Drain)) => {
                self.stop = None;
                self.drain().await;
            }
            DriverEvent::Stop(None) => {
                self.stop = None;
                self.drain().await;
                self.phase = self.phase.end(Instant::now());
                self.abandon();
            }
            DriverEvent::ExecutorClosed => self.drain().await,
            DriverEvent::Served(Err(error)) => log_failure(&error),
            DriverEvent::Served(Ok(())) | DriverEvent::SlotFreed => {}
            DriverEvent::Timer => self.on_timer().await,
        }
    }

    async fn on_timer(&mut self) {
        let now = Instant::now();
        let before = self.phase;
        self.phase = before.on_deadline(now);
        if self.phase != before {
            self.abandon();
        }
        for lane in 0..LANES {
            while let Some(oldest) = self.waiting[lane].front()
                && oldest.since + HOLD <= now
                && let Some(waiting) = self.waiting[lane].pop_front()
            {
                self.core.give_back(&waiting.held, Duration::ZERO).await;
            }
        }
    }

    /// Starts to claim tasks that wait, and pulls more.
    async fn hand_out(&mut self) {
        let (now, lane_wait) = (Instant::now(), self.core.lane_wait.get());
        for (number, lane) in self.waiting.iter_mut().enumerate() {
            while !lane.is_empty()
                && self.demand.may_start(number, now, lane_wait)
                && let Some(permit) = self.core.slots.try_claim(now)
                && let Some(WaitingTask {
                    held, assignment, ..
                }) = lane.pop_front()
            {
                let core = self.core.clone();
                self.served.spawn(serve(core, held, assignment, permit));
            }
        }
        if self.phase != ServingPhase::Serving {
            return;
        }
        // A waiting task of a lower lane takes no room from a higher lane.
        let mut room = self.core.slots.room(now);
        let rooms = self.waiting.each_ref().map(|lane| {
            room = room.saturating_sub(lane.len() as u32);
            room
        });
        let pulls = self.demand.pull(rooms, now);
        for (lane, tasks) in (0..).zip(pulls).filter(|(_, tasks)| *tasks > 0) {
            self.pull(lane, tasks).await;
        }
    }

    async fn pull(&self, lane: u8, tasks: u32) {
        let (stream, consumer) = (self.core.names.tasks_stream(), QueueNames::consumer(lane));
        let subject = format!("$JS.API.CONSUMER.MSG.NEXT.{stream}.{consumer}");
        let inbox = format!("{}.{lane}", self.inbox_name);
        let order = format!("{{\"batch\":{tasks},\"expires\":{}}}", PULL.as_nanos());
        // A pull that is lost counts as ended after its time.
        let client = self.core.nats.client();
        let _ = client
            .publish_with_reply(subject, inbox, order.into())
            .await;
    }

    /// Handles a message in the inbox: a task, or the end of a pull.
    async fn on_message(&mut self, message: Message) {
        let now = Instant::now();
        let answer_to = message.reply.clone();
        let info = answer_to
            .as_ref()
            .and_then(|subject| DeliveryInfo::read(&self.core.names, subject));
        let (Some(answer_to), Some(info)) = (answer_to, info) else {
            return self.on_pull_end(&message, now);
        };
        let lane = usize::from(info.lane);
        let fresh_until = self.demand.on_task(lane, info.pending, now);
        self.core.tally.meter.saw_waiting(lane, info.pending);
        let Some(fresh_until) = fresh_until.filter(|_| self.phase == ServingPhase::Serving) else {
            return self.decline(answer_to, Duration::ZERO).await;
        };
        let core = &self.core;
        let delivery = Delivered {
            times: info.delivered,
            fresh_until,
        };
        match assign(&core.functions, &core.me, message, delivery) {
            Assigned::Task(reply, assignment) => {
                if let Some(held) = core.tasks.add(&reply, answer_to) {
                    self.waiting[lane].push_back(WaitingTask {
                        held,
                        assignment,
                        since: now,
                    });
                }
            }
            Assigned::Unknown => self.decline(answer_to, growing_pause(info.delivered)).await,
            Assigned::Garbage => core.answer(answer_to, DONE).await,
        }
    }

    fn on_pull_end(&mut self, message: &Message, now: Instant) {
        let lane = message.subject.strip_prefix(&*self.inbox_name);
        let lane = lane.and_then(|lane| lane.strip_prefix('.')?.parse().ok());
        let Some(lane @ 0..LANES) = lane else {
            return; // The server did not send it.
        };
        match (message.status, number_in(message, "Nats-Pending-Messages")) {
            (Some(StatusCode::TIMEOUT | StatusCode::NOT_FOUND), Some(lacked)) => {
                self.demand.on_end(lane, lacked);
            }
            (Some(status), _) if status.as_u16() >= 400 => self.demand.on_refusal(lane, now),
            _ => {}
        }
    }

    /// Returns a task that is not in the table to the queue.
    async fn decline(&self, answer_to: Subject, pause: Duration) {
        self.core.tally.gave_back();
        self.core.answer(answer_to, give_back_after(pause)).await;
    }

    /// Extends the deliveries of all tasks in the table, so that the server does not deliver them again.
    async fn send_in_progress(&self) {
        for held in self.core.tasks.all() {
            self.core.answer(held.answer_to(), IN_PROGRESS).await;
        }
    }

    /// Takes no more tasks, and returns waiting tasks to the queue.
    async fn drain(&mut self) {
        if self.phase.is_draining() {
            return;
        }
        self.phase = self
            .phase
            .drain(self.core.times.drain_deadline, Instant::now());
        if let Some(inbox) = &mut self.inbox
            && inbox.drain().await.is_err()
        {
            self.inbox = None; // The connection is closed.
        }
        for waiting in self.waiting.iter_mut().flat_map(std::mem::take) {
            self.core.give_back(&waiting.held, Duration::ZERO).await;
        }
        // Claimed tasks that wait for a slot see this, and go back too.
        for held in self
            .core
            .tasks
            .all()
            .iter()
            .filter(|held| !held.is_running())
        {
            held.end_as(HeldEnd::Abandoned);
        }
    }

    /// Ends the running tasks.
    fn abandon(&self) {
        for held in self.core.tasks.all() {
            held.end_as(HeldEnd::Abandoned);
        }
    }

    /// Closes the subscriptions, and sends the last messages.
    async fn leave(mut self) -> WorkerReport {
        self.served.shutdown().await; // All have ended, or the deadline is over.
        for subscription in [&mut self.own, &mut self.all] {
            let _ = subscription.unsubscribe().await;
        }
        let _ = tokio::time::timeout(FLUSH, self.core.nats.client().flush()).await;
        self.core.tally.report()
    }
}

/// A bug of this crate: the future that served a task has panicked. The server delivers the task again.
#[cold]
fn log_failure(error: &JoinError) {
    #[cfg(feature = "tracing")]
    tracing::error!(%error, "a cluster task ended in a panic of the crate");
    #[cfg(not(feature = "tracing"))]
    let _ = error;
}
