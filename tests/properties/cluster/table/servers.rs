//! The servers: the stream of tasks with its duplicate window, and the records with their sequences. A read may come
//! from a replica that is behind.

use std::collections::{HashMap, HashSet};

use super::*;

/// How far a replica may be behind.
const LAG: Duration = Duration::from_millis(150);

/// A message of the stream of tasks.
#[derive(Clone, Debug)]
pub(super) struct Stored {
    pub(super) seq: u64,
    pub(super) number: u64,
    pub(super) reply: ReplyTo,
    pub(super) retries: u32,
    pub(super) object: Option<String>,
    pub(super) at: Instant,
    pub(super) gone: Option<Gone>,
}

/// How a message left the stream.
#[derive(Clone, Copy, Debug)]
pub(super) struct Gone {
    pub(super) at: Instant,
    /// By hand, and not because the task has ended.
    pub(super) is_purged: bool,
}

#[derive(Debug, Default)]
pub(super) struct Servers {
    sequence: u64,
    pub(super) messages: Vec<Stored>,
    /// When the stream stored the message with an id, and where.
    ids: HashMap<ReplyTo, (u64, Instant)>,
    records: HashMap<ReplyTo, Vec<(u64, Instant, Record)>>,
    /// Notifications about records.
    pub(super) news: VecDeque<(ReplyTo, u64, Record)>,
    /// The payloads in the payload stream.
    pub(super) objects: HashSet<String>,
}

impl Servers {
    fn next(&mut self) -> u64 {
        self.sequence += 1;
        self.sequence
    }

    /// Whether the stream recognizes the id of a message.
    pub(super) fn is_known(&self, id: &ReplyTo, now: Instant) -> bool {
        let stored = self.ids.get(id);
        stored.is_some_and(|(_, at)| now.saturating_duration_since(*at) < TERMS.duplicate_window)
    }

    pub(super) fn publish(
        &mut self,
        number: u64,
        message: &TaskMessage,
        now: Instant,
    ) -> PublishAnswer {
        let reply = message.reply.clone();
        if self.is_known(&reply, now) {
            let (seq, _) = self.ids[&reply];
            let is_duplicate = true;
            return PublishAnswer::Stored { seq, is_duplicate };
        }
        let is_purged = |stored: &Stored| stored.gone.is_some_and(|gone| gone.is_purged);
        let mut earlier = self
            .messages
            .iter()
            .filter(|stored| stored.number == number);
        assert!(earlier.all(is_purged), "task {number} is stored twice");
        let seq = self.next();
        self.ids.insert(reply.clone(), (seq, now));
        self.messages.push(Stored {
            seq,
            number,
            reply,
            retries: message.retries,
            object: match &message.payload {
                TaskPayload::Inline(_) => None,
                TaskPayload::Object { name, .. } => Some(name.clone()),
            },
            at: now,
            gone: None,
        });
        PublishAnswer::Stored {
            seq,
            is_duplicate: false,
        }
    }

    /// Replaces a record. Returns its sequence, or nothing if another record is there.
    pub(super) fn swap(
        &mut self,
        reply: &ReplyTo,
        expected: u64,
        record: Record,
        now: Instant,
    ) -> Option<u64> {
        if self.latest(reply).map_or(0, |(seq, _)| seq) != expected {
            return None;
        }
        let seq = self.next();
        self.news.push_back((reply.clone(), seq, record.clone()));
        let records = self.records.entry(reply.clone()).or_default();
        records.push((seq, now, record));
        Some(seq)
    }

    pub(super) fn latest(&self, reply: &ReplyTo) -> Option<(u64, &Record)> {
        let (seq, _, record) = self.records.get(reply)?.last()?;
        Some((*seq, record))
    }

    /// What a replica answers.
    pub(super) fn read(
        &self,
        reply: &ReplyTo,
        is_behind: bool,
        now: Instant,
    ) -> Option<(u64, Record)> {
        let is_there = |(_, at, _): &&(u64, Instant, Record)| !is_behind || *at + LAG <= now;
        let (seq, _, record) = self.records.get(reply)?.iter().rev().find(is_there)?;
        Some((*seq, record.clone()))
    }

    /// Whether a replica has the message of this sequence.
    pub(super) fn has(&self, seq: u64, is_behind: bool, now: Instant) -> bool {
        let is_it = |stored: &&Stored| stored.seq == seq;
        let stored = self.messages.iter().find(is_it);
        stored.is_some_and(|stored| is_visible(stored, is_behind, now))
    }

    /// Where a replica has the message of a task.
    pub(super) fn find(&self, reply: &ReplyTo, is_behind: bool, now: Instant) -> Option<u64> {
        let is_it = |stored: &&Stored| stored.reply == *reply && is_visible(stored, is_behind, now);
        Some(self.messages.iter().find(is_it)?.seq)
    }

    pub(super) fn delete(&mut self, seq: u64, is_purged: bool, now: Instant) {
        let is_it = |stored: &&mut Stored| stored.seq == seq && stored.gone.is_none();
        if let Some(stored) = self.messages.iter_mut().find(is_it) {
            stored.gone = Some(Gone { at: now, is_purged });
        }
    }
}

fn is_visible(stored: &Stored, is_behind: bool, now: Instant) -> bool {
    match is_behind {
        true => stored.at + LAG <= now && stored.gone.is_none_or(|gone| gone.at + LAG > now),
        false => stored.gone.is_none(),
    }
}
