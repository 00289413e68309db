//! An item in transit: encoded and not yet sent, or received and not yet decoded. Both happen without any lock,
//! since they run the user's code.

use std::cell::Cell;
use std::io;

use crate::executor::data::Data;
use crate::sys;
use crate::wire::codec::{self, ValueHead};
use crate::wire::descriptors::{self, Descriptor};
use crate::wire::{Chain, CodecError};

/// The most bytes that an item may encode to. A process that sends more without end costs its receiver no more.
pub(super) const LARGEST_ITEM: usize = 1 << 30;

/// The size of the largest buffer that is kept.
const KEPT: usize = 64 * 1024;

thread_local! {
    /// A buffer for encoding and decoding, to save an allocation for each item.
    static SPARE: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

fn take_spare() -> Vec<u8> {
    SPARE.try_with(Cell::take).unwrap_or_default()
}

fn keep_spare(mut buffer: Vec<u8>) {
    if buffer.capacity() <= KEPT {
        buffer.clear();
        let _ = SPARE.try_with(|spare| spare.set(buffer));
    }
}

/// An item cannot be sent, or cannot be decoded.
#[derive(Debug)]
pub(super) enum ItemError {
    Codec(CodecError),
    /// It has too many bytes, or its descriptors cannot travel together.
    TooLarge(String),
    System(io::Error),
}

impl From<CodecError> for ItemError {
    fn from(error: CodecError) -> Self {
        Self::Codec(error)
    }
}

/// An encoded item.
pub(super) struct OutgoingItem {
    bytes: Chain,
    pub(super) head: ValueHead,
    /// The descriptors of the objects in it, and after them the file that holds its bytes, if any.
    pub(super) beside: Vec<Descriptor>,
    pub(super) is_in_file: bool,
}

impl OutgoingItem {
    /// Encodes the item.
    pub(super) fn of<T: Data>(item: T) -> Result<Self, CodecError> {
        let mut bytes = Chain::new();
        *bytes.tail() = take_spare();
        let mut beside = Vec::new();
        let encoded = descriptors::gather(&mut beside, || codec::put(item, &mut bytes));
        let head = bytes.pieces().next().and_then(codec::value_head);
        let outgoing = Self {
            bytes,
            head: head.unwrap_or_default(),
            beside,
            is_in_file: false,
        };
        encoded?;
        Ok(outgoing)
    }

    /// Prepares it for sending. An item of `large` bytes or more goes into a file of its own. An error leaves
    /// it unchanged.
    pub(super) fn pack(&mut self, large: usize) -> Result<(), ItemError> {
        let is_large = self.head.len >= large;
        self.fits_with(is_large.into())?;
        // Without a file, the bytes go the way of small ones.
        if is_large && let Ok(file) = sys::file_of(self.head.len, self.pieces()) {
            self.beside.push(file.into());
            self.is_in_file = true;
        }
        Ok(())
    }

    /// Whether it is not too large, and its descriptors can travel together with `others` more.
    pub(super) fn fits_with(&self, others: usize) -> Result<(), ItemError> {
        if self.head.len > LARGEST_ITEM {
            return Err(ItemError::TooLarge(format!(
                "the item encodes to {} bytes; at most {LARGEST_ITEM} can be sent in one item; use a `SharedMemory`",
                self.head.len
            )));
        }
        if self.beside.len() + others > sys::MOST_FDS {
            return Err(ItemError::TooLarge(format!(
                "the item holds {} descriptors of shared objects; at most {} can be sent in one item",
                self.beside.len(),
                sys::MOST_FDS - 1,
            )));
        }
        Ok(())
    }

    /// The bytes of the value, in one piece: after its head, or in the piece after that.
    pub(super) fn value(&self) -> &[u8] {
        let value = self.pieces().find(|piece| !piece.is_empty());
        value.unwrap_or_default()
    }

    /// The head, with the value if that is in the same piece.
    pub(super) fn front(&self) -> &[u8] {
        self.bytes.pieces().next().unwrap_or_default()
    }

    /// The bytes of the value.
    pub(super) fn pieces(&self) -> impl Iterator<Item = &[u8]> {
        let (first, rest) = (self.head.own_len, 0);
        let passed = std::iter::once(first).chain(std::iter::repeat(rest));
        let pieces = self.bytes.pieces().zip(passed);
        pieces.map(|(piece, passed)| &piece[passed..])
    }

    /// Decodes the item again, which was not sent.
    pub(super) fn into_item<T: Data>(mut self) -> Option<T> {
        let mut input = std::mem::take(&mut self.bytes).into_reader();
        descriptors::supply(&mut self.beside, || codec::get(&mut input)).ok()
    }
}

impl Drop for OutgoingItem {
    fn drop(&mut self) {
        keep_spare(std::mem::take(self.bytes.tail()));
    }
}

/// A received item.
pub(super) struct IncomingItem {
    pub(super) bytes: Vec<u8>,
    pub(super) is_plain: bool,
    pub(super) beside: Vec<Descriptor>,
    /// The file that holds its bytes and their number, if they are not in `bytes`.
    pub(super) file: Option<(Descriptor, u64)>,
}

impl IncomingItem {
    /// An empty item for decoding a `T`.
    pub(super) fn for_type<T: Data>() -> Self {
        let keeps_buffer = codec::is_text_or_bytes::<T>();
        Self {
            bytes: if keeps_buffer {
                Vec::new()
            } else {
                take_spare()
            },
            is_plain: false,
            beside: Vec::new(),
            file: None,
        }
    }

    /// Decodes the item.
    pub(super) fn into_item<T: Data>(mut self) -> Result<T, ItemError> {
        if let Some((file, len)) = self.file.take() {
            let len = usize::try_from(len).map_err(|_| {
                CodecError::new("the length of the received item exceeds the address space")
            })?;
            sys::read_file(&file, len, &mut self.bytes).map_err(ItemError::System)?;
        }
        let Self {
            is_plain,
            bytes,
            beside,
            ..
        } = &mut self;
        let item = descriptors::supply(beside, || codec::get_bare(*is_plain, bytes))?;
        Ok(item)
    }
}

impl Drop for IncomingItem {
    fn drop(&mut self) {
        keep_spare(std::mem::take(&mut self.bytes));
    }
}
