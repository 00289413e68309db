//! How a worker reports the outcomes of items: as a stream of entries. A frame holds the entries that
//! existed when it was written. The outbox in the shared page holds them too, and the parent reads it after
//! the worker's death.
//!
//! ```text
//!  CALL seq item    the next entries are about this call, from this item on
//!  TIME nanos       the run time of the call's items that no earlier TIME covers
//!  status value     the outcome of one item; the next status is about the next item
//! ```

use std::ops::Range;

use bytes::BufMut as _;

use super::chain::{Chain, Reader};
use super::codec;

const CALL: u8 = 64;
const TIME: u8 = 65;

/// The most bytes that [`put_call`], [`put_time`] and a status take together.
pub(crate) const MOST_HEAD: usize = 9 + 9 + 1;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Status {
    /// An encoded value follows.
    Value = 0,
    /// A panic report follows.
    Panicked = 1,
    /// The arguments could not be decoded. The reason follows.
    Undecodable = 2,
    /// The value could not be encoded, or is too large. The reason follows.
    Unencodable = 3,
}

impl Status {
    pub(crate) fn of_byte(byte: u8) -> Option<Self> {
        let all = [
            Self::Value,
            Self::Panicked,
            Self::Undecodable,
            Self::Unencodable,
        ];
        all.into_iter().find(|status| *status as u8 == byte)
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

/// Starts an entry. The value, or what replaces it, must follow.
pub(crate) fn put_status(out: &mut Chain, status: Status) {
    out.tail().put_u8(status as u8);
}

/// The content of one or more entries.
#[derive(Debug)]
pub(crate) enum Told {
    /// How long items of a call ran, in nanoseconds.
    Time {
        seq: u32,
        nanos: u64,
    },
    Values(Values),
    /// The outcome of an item without a value: `reason` says why.
    Failure {
        seq: u32,
        item: u32,
        status: Status,
        reason: Reader,
    },
}

/// The values of consecutive items of a call.
#[derive(Debug)]
pub(crate) struct Values {
    pub(crate) seq: u32,
    pub(crate) first: u32,
    pub(crate) count: u32,
    /// For each a status and the encoded value, but without the first status.
    entries: Reader,
}

/// Reads the entries of a worker. Its position lasts from frame to frame.
#[derive(Debug, Default)]
pub(crate) struct Listener {
    seq: u32,
    item: u32,
}

/// The entries are invalid.
#[derive(Debug)]
pub(crate) struct Nonsense;

impl Listener {
    /// The content of the next entries. `None` at the end of the frame.
    pub(crate) fn next(&mut self, frame: &mut Reader) -> Option<Result<Told, Nonsense>> {
        loop {
            if frame.is_empty() {
                return None;
            }
            let told = self.entry(frame).ok_or(Nonsense).transpose();
            if told.is_some() {
                return told;
            }
        }
    }

    /// `None` if the entry is invalid. `Some(None)` if it has no content of its own.
    fn entry(&mut self, frame: &mut Reader) -> Option<Option<Told>> {
        let status = match frame.u8()? {
            CALL => {
                (self.seq, self.item) = (frame.u32()?, frame.u32()?);
                return Some(None);
            }
            TIME => {
                return Some(Some(Told::Time {
                    seq: self.seq,
                    nanos: frame.u64()?,
                }));
            }
            0 => {
                let in_front = frame.is_in_one().then(|| count_values(&frame.front));
                // A value in pieces is large, and the only one in its frame.
                let (count, len) = in_front.unwrap_or_else(|| Some((1, frame.len())))?;
                let values = Values {
                    seq: self.seq,
                    first: self.item,
                    count,
                    entries: frame.split_to(len)?,
                };
                self.item = self.item.checked_add(count)?;
                return Some(Some(Told::Values(values)));
            }
            other => Status::of_byte(other)?,
        };
        let (seq, item) = (self.seq, self.item);
        self.item = item.checked_add(1)?;
        let reason = codec::next(frame).ok()?;
        Some(Some(Told::Failure {
            seq,
            item,
            status,
            reason,
        }))
    }
}

/// How many values follow each other, and how many bytes they take. The status of the first is already
/// read.
fn count_values(bytes: &[u8]) -> Option<(u32, usize)> {
    let mut end = codec::value_len(bytes)?;
    let mut count = 1;
    // The values of a map often have one size. A head of one byte says it.
    let (len, head) = (1 + end, *bytes.first()?);
    if head < 0x80 {
        let like_first = |entry: &&[u8]| entry[..2] == [Status::Value as u8, head];
        let alike = bytes[end..]
            .chunks_exact(len)
            .take_while(like_first)
            .count();
        end += alike * len;
        count += alike as u32;
    }
    while let Some(value) = bytes[end..].strip_prefix(&[Status::Value as u8]) {
        end += 1 + codec::value_len(value)?;
        count += 1;
    }
    Some((count, end))
}

impl Values {
    /// Skips the values of the first `items` items.
    pub(crate) fn skip(&mut self, items: u32) {
        drop(self.take(items));
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
                len += value + 1; // And the status of the next.
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
            len += value + usize::from(self.count > 0); // And the status of the next.
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
