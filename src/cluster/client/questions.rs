//! The questions to the server and to workers that have no answer yet.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::cluster::record::WorkerId;
use crate::cluster::task_message::ReplyTo;

/// How long an answer may take.
const LIMIT: Duration = Duration::from_secs(2);

/// All questions without an answer. Pure: the caller passes the time.
#[derive(Debug, Default)]
pub(super) struct Questions {
    /// The tasks of each read whose records have not arrived.
    reads: HashMap<u64, (Instant, HashMap<ReplyTo, Vec<u64>>)>,
    /// The workers that were asked about a task.
    asks: HashMap<u64, (Instant, Arc<WorkerId>)>,
}

impl Questions {
    pub(super) fn read(&mut self, question: u64, tasks: Vec<(u64, ReplyTo)>, now: Instant) {
        let mut numbers = HashMap::new();
        for (number, reply) in tasks {
            // Several handles may wait for one record.
            let numbers: &mut Vec<u64> = numbers.entry(reply).or_default();
            numbers.push(number);
        }
        self.reads.insert(question, (now, numbers));
    }

    /// A record has arrived for a read.
    pub(super) fn record(&mut self, question: u64, reply: &ReplyTo) {
        if let Some((_, tasks)) = self.reads.get_mut(&question) {
            tasks.remove(reply);
        }
    }

    /// A read is answered. Returns the tasks that have no record, each with the time of the question.
    pub(super) fn end_read(&mut self, question: u64) -> Vec<(u64, Instant)> {
        let Some((asked, tasks)) = self.reads.remove(&question) else {
            return Vec::new();
        };
        let numbers = tasks.into_values().flatten();
        numbers.map(|number| (number, asked)).collect()
    }

    pub(super) fn ask(&mut self, number: u64, worker: Arc<WorkerId>, now: Instant) {
        self.asks.insert(number, (now, worker));
    }

    /// The worker that was asked about a task has answered.
    pub(super) fn end_ask(&mut self, number: u64) -> Option<Arc<WorkerId>> {
        self.asks.remove(&number).map(|(_, worker)| worker)
    }

    /// Removes the questions that were not answered in time. Returns the workers that did not answer.
    pub(super) fn expire(&mut self, now: Instant) -> Vec<Arc<WorkerId>> {
        let is_late = |asked: &Instant| now.saturating_duration_since(*asked) >= LIMIT;
        self.reads.retain(|_, (asked, _)| !is_late(asked));
        let late = self.asks.extract_if(|_, (asked, _)| is_late(asked));
        late.map(|(_, (_, worker))| worker).collect()
    }

    /// The connection is new: no answer will come.
    pub(super) fn clear(&mut self) {
        self.reads.clear();
        self.asks.clear();
    }
}
