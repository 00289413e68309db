//! What the handles of one client and its background tasks share.

use std::fmt;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Instant;

use tokio::sync::{Notify, Semaphore};
use tokio_util::sync::CancellationToken;

use super::counts::ClientCounts;
use super::present::Present;
use super::questions::Questions;
use super::table::{Table, TableTerms};
use crate::cluster::connection::NatsConnection;
use crate::cluster::functions::Functions;
use crate::cluster::names::{QueueNames, unique_id};
use crate::executor::options::TaskOptions;
use crate::executor::promise::Terms;
use crate::executor::room::Rooms;
use crate::home::Home;
use crate::observe::Meter;

/// The most records that are retired at a time.
const RETIRED_AT_ONCE: usize = 64;

/// The settings of a client, checked by its builder.
#[derive(Debug)]
pub(super) struct ClientConfig {
    pub(super) name: Option<String>,
    pub(super) functions: Functions,
    pub(super) queue_capacity: Option<usize>,
    pub(super) task_options: TaskOptions,
    pub(super) terms: TableTerms,
    /// The most bytes of an encoded item.
    pub(super) most_payload: usize,
}

pub(super) struct ClientCore {
    pub(super) config: ClientConfig,
    pub(super) names: QueueNames,
    pub(super) nats: NatsConnection,
    /// The answers to what this client sends arrive at subjects with this prefix.
    pub(super) inbox: String,
    pub(super) me: Weak<ClientCore>,
    pub(super) home: Arc<Home>,
    pub(super) terms: Arc<Terms>,
    pub(super) rooms: Rooms,
    pub(super) counts: ClientCounts,
    pub(super) questions: Mutex<Questions>,
    pub(super) present: Present,
    pub(super) meter: Meter,
    /// The name of this client in subjects.
    pub(super) client: Arc<str>,
    table: Mutex<Table>,
    /// The number of outcomes that have left the table and not reached their callers.
    settling: AtomicUsize,
    next_question: AtomicU64,
    /// Bounds the records that are retired at a time.
    pub(super) retiring: Semaphore,
    /// There is something to send.
    pub(super) wake_publisher: Notify,
    /// A timer is due earlier than the clock expects.
    pub(super) wake_clock: Notify,
    /// Notified when the stream has answered publishes, or tasks have ended.
    pub(super) stored: Notify,
    /// Notified when a task has ended, or the client is closed.
    pub(super) changed: Notify,
    /// Cancelled at the deadline of a shutdown: no more results are read.
    pub(super) past_deadline: CancellationToken,
    /// Cancelled once the client is closed and has nothing left to do.
    pub(super) over: CancellationToken,
}

impl ClientCore {
    pub(super) fn new(config: ClientConfig, names: QueueNames, nats: NatsConnection) -> Arc<Self> {
        let meter = Meter::new(config.name.as_deref().unwrap_or("cluster"));
        let home = Home::new();
        let client: Arc<str> = unique_id().into();
        Arc::new_cyclic(|me: &Weak<Self>| Self {
            inbox: nats.client().new_inbox(),
            rooms: Rooms::new(config.queue_capacity, meter.clone()),
            terms: Terms::new(
                me.clone(),
                config.task_options.clone(),
                meter.clone(),
                home.clone(),
            ),
            home,
            table: Mutex::new(Table::new(client.clone(), config.terms)),
            client: client.clone(),
            config,
            names,
            nats,
            me: me.clone(),
            counts: ClientCounts::default(),
            questions: Mutex::default(),
            present: Present::new(meter.clone()),
            meter: meter.clone(),
            settling: AtomicUsize::new(0),
            next_question: AtomicU64::new(0),
            retiring: Semaphore::new(RETIRED_AT_ONCE),
            wake_publisher: Notify::new(),
            wake_clock: Notify::new(),
            stored: Notify::new(),
            changed: Notify::new(),
            past_deadline: CancellationToken::new(),
            over: CancellationToken::new(),
        })
    }

    /// Changes the table under its lock. Then wakes the background tasks and answers callers, without the lock.
    pub(super) fn update<T>(&self, change: impl FnOnce(&mut Table, Instant) -> T) -> T {
        let now = Instant::now();
        let mut table = self.table();
        let due_before = table.next_due();
        let result = change(&mut table, now);
        let completions = table.take_completions();
        let has_actions = table.has_actions();
        let due = table.next_due();
        self.settling
            .fetch_add(completions.ended.len(), Ordering::AcqRel);
        drop(table);
        if has_actions {
            self.wake_publisher.notify_one();
        }
        if due.is_some_and(|due| due_before.is_none_or(|before| due < before)) {
            self.wake_clock.notify_one();
        }
        self.settle(completions);
        result
    }

    pub(super) fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn questions(&self) -> MutexGuard<'_, Questions> {
        self.questions
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn next_question(&self) -> u64 {
        self.next_question.fetch_add(1, Ordering::Relaxed)
    }

    /// The outcome of a task has reached its caller.
    pub(super) fn settled(&self) {
        if self.settling.fetch_sub(1, Ordering::AcqRel) == 1 && self.rooms.is_closed() {
            self.note_end();
        }
    }

    /// Wakes callers that wait for the end of tasks. Ends the background tasks of a closed client that is done.
    pub(super) fn note_end(&self) {
        if self.rooms.is_closed() && self.is_done() {
            self.over.cancel();
        }
        self.changed.notify_waiters();
    }

    /// Whether all tasks have ended.
    pub(super) fn is_idle(&self) -> bool {
        self.table().is_empty() && self.settling.load(Ordering::Acquire) == 0
    }

    /// Whether nothing is left to do.
    pub(super) fn is_done(&self) -> bool {
        self.is_idle() && !self.table().is_retiring()
    }

    pub(super) fn shared(&self) -> Arc<Self> {
        self.me.upgrade().expect("the caller holds the client")
    }

    /// The subject at which the answer to a message arrives.
    pub(super) fn answer_at(&self, kind: char, number: u64) -> String {
        format!("{}.{kind}{number}", self.inbox)
    }
}

impl fmt::Debug for ClientCore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use crate::executor::Executor as _;

        f.debug_struct("ClusterExecutor")
            .field("name", &self.config.name)
            .field("queue", &self.names.queue())
            .field("stats", &self.stats())
            .finish_non_exhaustive()
    }
}
