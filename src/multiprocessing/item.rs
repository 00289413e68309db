//! An item on its way: encoded and not yet sent, or received and not yet decoded. Both happen outside of any
//! lock, for the code that does it is the user's.

use std::cell::Cell;
use std::io;

use crate::executor::data::Data;
use crate::sys;
use crate::wire::codec::{self, ValueHead};
use crate::wire::descriptors::{self, Descriptor};
use crate::wire::{Chain, CodecError};

/// A larger buffer is not kept.
const KEPT: usize = 64 * 1024;

thread_local! {
    /// What items are encoded to and decoded from, lest each take a buffer of its own.
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

/// Why an item does not go on its way, or has come to nothing.
#[derive(Debug)]
pub(super) enum ItemError {
    Codec(CodecError),
    /// What is in it cannot travel together.
    TooLarge(String),
    System(io::Error),
}

impl From<CodecError> for ItemError {
    fn from(error: CodecError) -> Self {
        Self::Codec(error)
    }
}

/// An item on its way out of this process.
pub(super) struct OutgoingItem {
    bytes: Chain,
    pub(super) head: ValueHead,
    /// The descriptors of the objects in it, and behind them the file that its bytes are in, if one is.
    pub(super) beside: Vec<Descriptor>,
    pub(super) is_in_file: bool,
}

impl OutgoingItem {
    /// Encodes it.
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

    /// Gets it ready to travel, with its bytes in a file of their own from the size `large` on. An error
    /// leaves it as it was.
    pub(super) fn pack(&mut self, large: usize) -> Result<(), ItemError> {
        let is_large = self.head.len >= large;
        self.fits_with(is_large.into())?;
        // Without a file, its bytes go where those of small ones do.
        if is_large && let Ok(file) = sys::file_of(self.head.len, self.pieces()) {
            self.beside.push(file.into());
            self.is_in_file = true;
        }
        Ok(())
    }

    /// Whether its descriptors can travel together, and so many others with them.
    pub(super) fn fits_with(&self, others: usize) -> Result<(), ItemError> {
        if self.beside.len() + others > sys::MOST_FDS {
            return Err(ItemError::TooLarge(format!(
                "{} descriptors of shared objects are in the item; {} can travel together",
                self.beside.len(),
                sys::MOST_FDS - 1,
            )));
        }
        Ok(())
    }

    /// The bytes of the value, which lie in one piece: behind its head, or after it.
    pub(super) fn value(&self) -> &[u8] {
        let value = self.pieces().find(|piece| !piece.is_empty());
        value.unwrap_or_default()
    }

    /// Its head with the value if that lies behind it, and else with nothing.
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

    /// The item again, which was not sent.
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

/// An item on its way in.
pub(super) struct IncomingItem {
    pub(super) bytes: Vec<u8>,
    pub(super) is_plain: bool,
    pub(super) beside: Vec<Descriptor>,
    /// What its bytes are in, if they are not here, and how many these are.
    pub(super) file: Option<(Descriptor, u64)>,
}

impl IncomingItem {
    /// One that is going to be a `T`, and has nothing yet.
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

    /// Decodes it.
    pub(super) fn into_item<T: Data>(mut self) -> Result<T, ItemError> {
        if let Some((file, len)) = self.file.take() {
            let len = usize::try_from(len).map_err(|_| CodecError::new("the item is too long"))?;
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
