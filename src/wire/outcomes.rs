//! How a worker reports the outcomes of items: as a stream of entries. A frame holds the entries that
//! existed when it was written. The outbox in the shared page holds them too, and the parent reads it after
//! the worker's death.
//!
//! ```text
//!  CALL seq item    the next entries are about this call, from this item on
//!  TIME nanos       the run time of the call's items that no earlier TIME covers
//!  VALUE value      the outcome of one item; the next outcome is that of the next item
//!  FAILURE failure  the same, of an item without a value
//! ```

use std::ops::Range;

use bytes::BufMut as _;

use super::chain::{Chain, Reader};
use super::codec;
use super::declare::message;
use super::text::{short, short_report};
use crate::panic::PanicReport;

const VALUE: u8 = 0;
const FAILURE: u8 = 1;
const CALL: u8 = 64;
const TIME: u8 = 65;

/// The most bytes that [`put_call`], [`put_time`] and the first byte of an outcome take together.
pub(crate) const MOST_HEAD: usize = 9 + 9 + 1;

/// The most bytes of an encoded [`ItemFailure`], whose texts are [short](super::text).
pub(super) const MOST_FAILURE: usize = 256 * 1024;

message! {
    /// The outcome of an item without a value.
    #[derive(Debug)]
    pub(crate) enum ItemFailure {
        Panicked(report: PanicReport),
        /// The arguments could not be decoded, so the item did not run.
        Undecodable(reason: String),
        /// The value could not be encoded, or is too large.
        Unencodable(reason: String),
        /// The failure's bytes are invalid. No process sends this.
        Invalid,
        /// The future of an async item was dropped, since the parent no longer wanted it.
        Dropped,
        /// The worker has no runtime for the future of an async item, so it did not run.
        NoRuntime(reason: String),
    }
}

impl ItemFailure {
    /// Whether the function was called.
    pub(crate) fn has_started(&self) -> bool {
        !matches!(self, Self::Undecodable(_) | Self::NoRuntime(_))
    }
}

pub(crate) fn put_call(out: &mut Vec<u8>, seq: u32, item: u32) {
    out.put_u8(CALL);
    out.put_u32_le(seq);
    out.put_u32_le(item);
}

pub(crate) fn put_time(out: &mut Vec<u8>, nanos: u64) {
    out.put_u8(TIME);
    out.put_u64_le(nanos);
}

/// Starts the entry of an item with a value. The encoded value must follow.
pub(crate) fn begin_value(out: &mut Chain) {
    out.tail().put_u8(VALUE);
}

/// The entry of an item without a value. Shortens the texts of the failure.
pub(crate) fn put_failure(out: &mut Chain, failure: ItemFailure) {
    let failure = match failure {
        ItemFailure::Panicked(report) => ItemFailure::Panicked(short_report(report)),
        ItemFailure::Undecodable(reason) => ItemFailure::Undecodable(short(reason)),
        ItemFailure::Unencodable(reason) => ItemFailure::Unencodable(short(reason)),
        ItemFailure::NoRuntime(reason) => ItemFailure::NoRuntime(short(reason)),
        ItemFailure::Invalid | ItemFailure::Dropped => failure,
    };
    out.tail().put_u8(FAILURE);
    codec::put_encoded(&failure, out).expect("text and numbers can be encoded");
}

/// Reads the entry of a single item: its encoded value, or the failure in its place. `None` if the entry is invalid.
pub(crate) fn get_single(mut entry: Reader) -> Option<Result<Reader, ItemFailure>> {
    match entry.u8()? {
        VALUE => Some(Ok(entry)),
        FAILURE => Some(Err(get_failure(&mut entry)?)),
        _ => None,
    }
}

/// Reads a failure. `None` if it is incomplete, or longer than any that is sent, because decoding it would take long.
fn get_failure(input: &mut Reader) -> Option<ItemFailure> {
    let mut failure = codec::next(input).ok()?;
    if failure.len() > MOST_FAILURE {
        return None;
    }
    Some(codec::get(&mut failure).unwrap_or(ItemFailure::Invalid))
}

/// The content of one or more entries.
#[derive(Debug)]
pub(crate) enum OutcomeEntry {
    /// The next entries are about another call, or another item.
    Call,
    /// How long items of a call ran, in nanoseconds.
    Time {
        seq: u32,
        nanos: u64,
    },
    Values(Values),
    /// The outcome of an item without a value.
    Failure {
        seq: u32,
        item: u32,
        failure: ItemFailure,
    },
}

/// The values of consecutive items of a call.
#[derive(Clone, Debug)]
pub(crate) struct Values {
    pub(crate) seq: u32,
    pub(crate) first: u32,
    pub(crate) count: u32,
    /// For each value the byte `VALUE` and the encoded value, but without the very first byte.
    entries: Reader,
}

/// Reads the entries of a worker. Its position is kept from frame to frame.
#[derive(Debug, Default)]
pub(crate) struct OutcomeReader {
    seq: u32,
    item: u32,
}

/// An entry is invalid.
#[derive(Debug)]
pub(crate) struct InvalidEntry;

impl OutcomeReader {
    /// The next entry, or the next values, at most `most` of them. `None` at the end of the frame.
    pub(crate) fn next(
        &mut self,
        frame: &mut Reader,
        most: u32,
    ) -> Option<Result<OutcomeEntry, InvalidEntry>> {
        (!frame.is_empty()).then(|| self.entry(frame, most).ok_or(InvalidEntry))
    }

    /// `None` if the entry is invalid.
    fn entry(&mut self, frame: &mut Reader, most: u32) -> Option<OutcomeEntry> {
        match frame.u8()? {
            CALL => {
                (self.seq, self.item) = (frame.u32()?, frame.u32()?);
                Some(OutcomeEntry::Call)
            }
            TIME => Some(OutcomeEntry::Time {
                seq: self.seq,
                nanos: frame.u64()?,
            }),
            VALUE => {
                let in_front = frame.is_in_one().then(|| count_values(&frame.front, most));
                // A value in several pieces is large, and is the only one in its frame.
                let (count, len) = in_front.unwrap_or_else(|| Some((1, frame.len())))?;
                let values = Values {
                    seq: self.seq,
                    first: self.item,
                    count,
                    entries: frame.split_to(len)?,
                };
                self.item = self.item.checked_add(count)?;
                Some(OutcomeEntry::Values(values))
            }
            FAILURE => {
                let (seq, item) = (self.seq, self.item);
                self.item = item.checked_add(1)?;
                let failure = get_failure(frame)?;
                Some(OutcomeEntry::Failure { seq, item, failure })
            }
            _ => None,
        }
    }
}

/// How many values follow each other, at most `most`, and how many bytes they take. The first byte of the first value
/// was already read.
fn count_values(bytes: &[u8], most: u32) -> Option<(u32, usize)> {
    let mut end = codec::value_len(bytes)?;
    let mut count = 1;
    // The values of a map often have the same size, with a head of one byte.
    let (len, head) = (1 + end, *bytes.first()?);
    if head < 0x80 {
        let like_first = |entry: &&[u8]| entry[..2] == [VALUE, head];
        let alike = bytes[end..]
            .chunks_exact(len)
            .take_while(like_first)
            .take(most.saturating_sub(1) as usize)
            .count();
        end += alike * len;
        count += alike as u32;
    }
    while count < most
        && let Some(value) = bytes[end..].strip_prefix(&[VALUE])
    {
        end += 1 + codec::value_len(value)?;
        count += 1;
    }
    Some((count, end))
}

#[cfg(feature = "cluster")]
impl Values {
    /// The values of `count` items from `first` on. `entries` holds them as [`join`](Self::join) writes them; if there
    /// are several, in one piece.
    pub(crate) fn of(first: u32, count: u32, entries: Reader) -> Self {
        Self {
            seq: 0,
            first,
            count,
            entries,
        }
    }

    /// The encoded values.
    pub(crate) fn into_entries(self) -> Reader {
        self.entries
    }

    /// Appends the encoded values of the items that follow.
    pub(crate) fn join(entries: &mut Vec<u8>, next: &[u8]) {
        entries.push(VALUE);
        entries.extend_from_slice(next);
    }
}

impl Values {
    /// The values of `count` items from `first` on, from what [`put`](Self::put) wrote. `None` if the bytes hold
    /// another number of values.
    #[cfg(feature = "cluster")]
    pub(crate) fn get(first: u32, count: u32, mut entries: Reader) -> Option<Self> {
        let mut reader = OutcomeReader {
            seq: 0,
            item: first,
        };
        match reader.entry(&mut entries, count)? {
            OutcomeEntry::Values(values) if values.count == count && entries.is_empty() => {
                Some(values)
            }
            _ => None,
        }
    }

    /// Appends the entries of the values.
    #[cfg(feature = "cluster")]
    pub(crate) fn put(self, out: &mut Chain) {
        out.tail().put_u8(VALUE);
        out.put_bytes(self.entries.into_bytes());
    }

    /// Skips the values of the first `items` items.
    pub(crate) fn skip(&mut self, items: u32) {
        if items > 0 {
            drop(self.take(items));
        }
    }

    /// Takes the values of the first `items` items.
    pub(crate) fn take(&mut self, items: u32) -> Self {
        let items = items.min(self.count);
        let mut len = 0;
        if items == self.count {
            len = self.entries.len();
        } else {
            for _ in 0..items {
                let value = codec::value_len(&self.entries.front[len..]).unwrap_or(0);
                len += value + 1; // Includes the first byte of the next value.
            }
        }
        let mut entries = self.entries.split_to(len).unwrap_or_default();
        if items < self.count {
            entries.front.truncate(len.saturating_sub(1));
        }
        let first = self.first;
        self.first += items;
        self.count -= items;
        Self {
            seq: self.seq,
            first,
            count: items,
            entries,
        }
    }

    /// The items that the values belong to.
    pub(crate) fn items(&self) -> Range<u32> {
        self.first..self.first + self.count
    }

    /// How many bytes they take.
    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Takes numbers of type `N` from the front, and stops at the first other value.
    pub(crate) fn take_numbers<N: 'static>(&mut self, mut take: impl FnMut(N)) {
        let mut len = 0;
        while self.count > 0
            && let Some((number, value)) = codec::front_number(&self.entries.front[len..])
        {
            take(number);
            self.first += 1;
            self.count -= 1;
            len += value + usize::from(self.count > 0); // Includes the first byte of the next value.
        }
        self.entries.advance(len);
    }

    /// Calls `read` for each value. `read` must take exactly one.
    pub(crate) fn read(mut self, mut read: impl FnMut(&mut Reader)) {
        for left in (0..self.count).rev() {
            read(&mut self.entries);
            if left > 0 {
                self.entries.advance(1);
            }
        }
    }
}

#[cfg(all(test, properties))]
#[path = "../../tests/properties/wire/outcomes.rs"]
mod tests;
