//! The outcomes of this worker, entry by entry. Each is posted before the next item starts.

use std::io;
use std::sync::Arc;

use super::outbox::WorkerOutbox;
use crate::function::Answer;
use crate::wire::Chain;
use crate::wire::outcomes::{self, ItemFailure, MOST_HEAD};
use crate::wire::page::{OUTBOX, Page};
use crate::wire::spare::Spare;

/// A larger entry is not posted, but sent at once.
const MOST_POSTED: usize = OUTBOX / 2;

pub(super) struct Log {
    page: Arc<Page>,
    outbox: Arc<WorkerOutbox>,
    /// The most bytes that a value may have.
    limit: usize,
    /// The call and the item of the next entry, unless the entry names them.
    cursor: Option<(u32, u32)>,
    /// How many bytes were posted since everything was written.
    posted: usize,
    /// The entry in progress: a value, or what replaces it.
    entry: Chain,
    head: Vec<u8>,
    /// The buffer of the last large result.
    spare: Spare,
}

impl Log {
    pub(super) fn new(page: Arc<Page>, outbox: Arc<WorkerOutbox>, limit: usize) -> Self {
        Self {
            page,
            outbox,
            limit,
            cursor: None,
            posted: 0,
            entry: Chain::new(),
            head: Vec::new(),
            spare: Spare::default(),
        }
    }

    /// Starts an entry. The value goes into the returned chain.
    pub(super) fn begin(&mut self) -> &mut Chain {
        self.entry.clear();
        outcomes::begin_value(&mut self.entry);
        &mut self.entry
    }

    /// Completes the entry. A failure replaces the value.
    pub(super) fn end(&mut self, answer: Answer) {
        match answer {
            Ok(()) => self.end_value(),
            // A new chain: the old one may hold the memory of a partial value.
            Err(failure) => self.entry = failure_entry(failure),
        }
    }

    /// Completes the entry with its value.
    #[inline]
    pub(super) fn end_value(&mut self) {
        if self.entry.len() - 1 > self.limit {
            self.refuse();
        }
    }

    #[cold]
    fn refuse(&mut self) {
        let reason = format!(
            "its result encodes to {} bytes, and a frame may have {}; raise `max_frame_length`",
            self.entry.len() - 1,
            self.limit
        );
        self.entry = failure_entry(ItemFailure::Unencodable(reason));
    }

    /// Puts the entry where the parent finds it, even if this process dies. `time` says how long the items
    /// of the call have run, in nanoseconds.
    pub(super) fn post(&mut self, seq: u32, item: u32, time: Option<u64>) {
        let Some(len) = self
            .entry
            .in_one()
            .map(<[u8]>::len)
            .filter(|len| *len <= MOST_POSTED)
        else {
            return self.send_large(seq, item, time);
        };
        if self.posted + MOST_HEAD + len > OUTBOX {
            let _ = self.flush(); // If this fails, so does the next write before the worker waits.
        }
        if self.cursor != Some((seq, item)) || time.is_some() {
            self.put_head(seq, item, time);
            self.page.post(self.posted, &self.head);
            self.posted += self.head.len();
        }
        // In one step, because the attendant may write whatever is posted.
        self.page
            .post(self.posted, self.entry.in_one().unwrap_or_default());
        self.posted += len;
        self.cursor = Some((seq, item + 1));
    }

    fn put_head(&mut self, seq: u32, item: u32, time: Option<u64>) {
        self.head.clear();
        if self.cursor != Some((seq, item)) {
            outcomes::put_call(&mut self.head, seq, item);
        }
        if let Some(nanos) = time {
            outcomes::put_time(&mut self.head, nanos);
        }
    }

    #[cold]
    fn send_large(&mut self, seq: u32, item: u32, time: Option<u64>) {
        let _ = self.flush(); // If this fails, so does the next write before the worker waits.
        self.put_head(seq, item, time);
        let entry = std::mem::take(&mut self.entry); // Does not keep its memory.
        let sent = self.outbox.send_large(&self.head, entry);
        if time.is_some() {
            self.spare.keep(sent); // No other item of the call runs before the next large payload.
        }
    }

    /// The buffer that is kept for the next large payload, if any.
    pub(super) fn take_spare(&mut self) -> Spare {
        std::mem::take(&mut self.spare)
    }

    /// Called when an item is about to run for an unknown time. Makes the attendant write what waits.
    pub(super) fn wake_attendant(&self) {
        if self.posted > 0 {
            self.outbox.wake_attendant();
        }
    }

    /// Writes what waits.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        self.posted = 0;
        self.cursor = None;
        self.outbox.flush()
    }
}

/// The entry of an item without a value.
pub(super) fn failure_entry(failure: ItemFailure) -> Chain {
    let mut entry = Chain::new();
    outcomes::put_failure(&mut entry, failure);
    entry
}
