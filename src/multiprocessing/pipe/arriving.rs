//! A large value that arrives in this process: in a file, complete, or through a stream, while it is written.

use std::io;
use std::sync::Arc;

use super::error::ConnectionError;
use super::packet::AT_ONCE;
use super::watch::{Lasts, SocketWatch};
use crate::executor::data::Data;
use crate::multiprocessing::item::LARGEST_ITEM;
use crate::sys::{self, AsFd as _, Direction};
use crate::wire::CodecError;
use crate::wire::codec::{self, ValueHead};
use crate::wire::descriptors::{self, Descriptor};

/// The memory that is reserved for a large value before any of it arrives. After that the memory grows by this factor,
/// so that a value takes memory in proportion to the bytes that have arrived.
const FIRST: usize = 16 << 20;
const GROWTH: usize = 8;

/// A value that arrives through a stream of its own.
#[derive(Debug)]
pub(super) struct ArrivingValue {
    pub(super) news: Arc<SocketWatch>,
    from: Descriptor,
    part: ValuePart,
}

/// The part of a value that has arrived.
#[derive(Debug)]
struct ValuePart {
    is_plain: bool,
    len: usize,
    bytes: Vec<u8>,
    /// The descriptors of the objects in it.
    beside: Vec<Descriptor>,
}

/// How much of a value has arrived.
#[derive(Debug)]
pub(super) enum PartRead {
    All,
    Some,
    /// Its sender has ended, or has stopped sending it.
    Torn,
}

impl ValuePart {
    /// A value of which nothing has arrived, and the last of its descriptors, which gives access to the bytes.
    fn new(head: ValueHead, mut beside: Vec<Descriptor>) -> Result<(Self, Descriptor), CodecError> {
        if head.len > LARGEST_ITEM {
            let text = "a received value is larger than any that can be sent";
            return Err(CodecError::new(text));
        }
        let missing = || CodecError::new("the descriptor of a received value is missing");
        let from = beside.pop().ok_or_else(missing)?;
        let part = Self {
            is_plain: head.is_plain,
            len: head.len,
            bytes: Vec::new(),
            beside,
        };
        Ok((part, from))
    }

    fn decode<T: Data>(mut self) -> Result<T, ConnectionError> {
        let (is_plain, bytes) = (self.is_plain, &mut self.bytes);
        let value = descriptors::supply(&mut self.beside, || codec::get_bare(is_plain, bytes))?;
        Ok(value)
    }
}

/// Reads a value that is in a file: the last of its descriptors.
pub(super) fn read_file<T: Data>(
    head: ValueHead,
    beside: Vec<Descriptor>,
) -> Result<T, ConnectionError> {
    let (mut part, file) = ValuePart::new(head, beside)?;
    sys::check_reserved(&file, head.len as u64)?;
    sys::read_file(&file, head.len, &mut part.bytes)?;
    part.decode()
}

impl ArrivingValue {
    /// A value whose stream is the last of its descriptors.
    pub(super) fn new(head: ValueHead, beside: Vec<Descriptor>) -> Result<Self, ConnectionError> {
        let (part, from) = ValuePart::new(head, beside)?;
        sys::check_stream(&from)?;
        let news = SocketWatch::new(from.clone(), Direction::In, Lasts::WhileWaiting);
        let news = Arc::new(news);
        Ok(Self { news, from, part })
    }

    /// Reads what is available. `None` while a part is missing.
    pub(super) fn read(&mut self) -> Option<Result<PartRead, ConnectionError>> {
        let ValuePart { len, bytes, .. } = &mut self.part;
        let enough = (*len).min(bytes.len() + AT_ONCE);
        if bytes.capacity() < enough {
            let larger = FIRST.max(bytes.len().saturating_mul(GROWTH));
            if let Err(error) = sys::enlarge(bytes, larger.min(*len)) {
                return Some(Err(error.into()));
            }
        }
        while bytes.len() < enough {
            let most = enough - bytes.len();
            match sys::receive_more(self.from.as_fd(), bytes, most) {
                Ok(1..) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return None,
                Ok(0) | Err(_) => return Some(Ok(PartRead::Torn)),
            }
        }
        let is_all = bytes.len() == *len;
        Some(Ok(if is_all {
            PartRead::All
        } else {
            PartRead::Some
        }))
    }

    /// Decodes a complete value.
    pub(super) fn decode<T: Data>(self) -> Result<T, ConnectionError> {
        self.part.decode()
    }

    #[cfg(all(test, target_os = "linux", not(properties)))]
    pub(super) fn bytes(&self) -> &Vec<u8> {
        &self.part.bytes
    }
}
