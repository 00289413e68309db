//! An item in transit: encoded and not yet sent, or received and not yet decoded. Encoding and decoding run user code,
//! so both happen without any lock.

use std::cell::Cell;

use bytes::Bytes;

use super::error::TransferCause;
use crate::executor::data::Data;
use crate::sys;
use crate::wire::CodecError;
use crate::wire::codec::{self, ValueHead};
use crate::wire::descriptors::{self, Descriptor};

/// The most bytes that an item may encode to. Limits the memory that a process that sends without end costs its
/// receiver.
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

/// An encoded item. It borrows the bytes of an item that is sent as it is in memory. So its owner keeps the item, which
/// need not be returned if it is not sent.
pub(super) struct OutgoingItem<'a> {
    /// The head, followed by the value unless the value is bulk.
    encoded: Vec<u8>,
    bulk: Option<BulkBytes<'a>>,
    pub(super) head: ValueHead,
    /// The descriptors of the objects in it, and after them the file that holds its bytes, if any.
    pub(super) beside: Vec<Descriptor>,
    pub(super) is_in_file: bool,
}

/// The bytes of a bulk value.
enum BulkBytes<'a> {
    Borrowed(&'a [u8]),
    Owned(Bytes),
}

impl<'a> OutgoingItem<'a> {
    /// Encodes the item.
    pub(super) fn of<T: Data>(item: &'a T) -> Result<Self, CodecError> {
        let bulk = codec::bulk_bytes(item).map(BulkBytes::Borrowed);
        OutgoingItem::encode(item, bulk)
    }

    fn encode<T: Data>(item: &T, bulk: Option<BulkBytes<'a>>) -> Result<Self, CodecError> {
        let mut outgoing = Self {
            encoded: take_spare(),
            bulk,
            head: ValueHead::default(),
            beside: Vec::new(),
            is_in_file: false,
        };
        let encoded = &mut outgoing.encoded;
        descriptors::gather(&mut outgoing.beside, || codec::put_borrowed(item, encoded))?;
        outgoing.head = codec::value_head(&outgoing.encoded).unwrap_or_default();
        Ok(outgoing)
    }

    /// Prepares the item for sending. An item of `large` bytes or more goes into a file of its own. On an error the
    /// item is unchanged.
    pub(super) fn pack(&mut self, large: usize) -> Result<(), TransferCause> {
        let is_large = self.head.len >= large;
        self.fits_with(is_large.into())?;
        // Without a file, the bytes are sent like those of small items.
        if is_large && let Ok(file) = sys::file_of(self.head.len, [self.value()].into_iter()) {
            self.beside.push(file.into());
            self.is_in_file = true;
        }
        Ok(())
    }

    /// Fails if the item is too large, or if its descriptors cannot travel together with `others` more.
    pub(super) fn fits_with(&self, others: usize) -> Result<(), TransferCause> {
        if self.head.len > LARGEST_ITEM {
            let what = format!(
                "the item encodes to {} bytes; at most {LARGEST_ITEM} can be sent in one item; use a `SharedMemory`",
                self.head.len
            );
            return Err(TransferCause::TooLarge(what.into()));
        }
        if self.beside.len() + others > sys::MOST_FDS {
            let what = format!(
                "the item holds {} descriptors of shared objects; at most {} can be sent in one item",
                self.beside.len(),
                sys::MOST_FDS - 1,
            );
            return Err(TransferCause::TooLarge(what.into()));
        }
        Ok(())
    }

    /// The bytes of the value.
    pub(super) fn value(&self) -> &[u8] {
        match &self.bulk {
            Some(BulkBytes::Borrowed(bytes)) => bytes,
            Some(BulkBytes::Owned(bytes)) => bytes,
            None => &self.encoded[self.head.own_len..],
        }
    }

    /// The head, followed by the value unless the value is bulk.
    pub(super) fn front(&self) -> &[u8] {
        &self.encoded
    }
}

impl OutgoingItem<'static> {
    /// Encodes an item that need not be returned.
    pub(super) fn owned<T: Data>(item: T) -> Result<Self, CodecError> {
        match codec::bulk_to_bytes(item) {
            Ok(bytes) => {
                let mut outgoing = Self::encode(&bytes, None)?;
                outgoing.bulk = Some(BulkBytes::Owned(bytes));
                Ok(outgoing)
            }
            Err(item) => Self::encode(&item, None),
        }
    }
}

impl Drop for OutgoingItem<'_> {
    fn drop(&mut self) {
        keep_spare(std::mem::take(&mut self.encoded));
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
    pub(super) fn into_item<T: Data>(mut self) -> Result<T, TransferCause> {
        if let Some((file, len)) = self.file.take() {
            let len = usize::try_from(len).map_err(|_| {
                CodecError::new("the length of the received item exceeds the address space")
            })?;
            sys::read_file(&file, len, &mut self.bytes)?;
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
