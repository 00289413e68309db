//! The first message in each direction: the parent's hello and the child's greeting. They contain the version of the
//! protocol and the build of their sender, so that two different builds notice each other. Their bytes are therefore
//! the same in every version, whatever encodes the later messages.

use bytes::BufMut as _;

use super::chain::{Chain, Reader};
use super::frame;

/// The version of all messages except hello and greeting.
pub(crate) const VERSION: u16 = 2;

const MAGIC: [u8; 4] = *b"ccf\n";

/// The first byte of a frame.
mod tag {
    pub(super) const HELLO: u8 = 1;
    pub(super) const GREETING: u8 = 64;
}

/// The version and the build of a process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct BuildIdentity {
    pub(crate) version: u16,
    pub(crate) build: Vec<u8>,
}

impl BuildIdentity {
    /// The identity of this process.
    pub(crate) fn own() -> Self {
        Self {
            version: VERSION,
            build: crate::sys::build_identity(),
        }
    }

    /// The parent's first message. A worker receives its shared page beside it.
    pub(crate) fn put_hello(&self, out: &mut Chain) {
        self.put(out, tag::HELLO);
    }

    /// The child's first message.
    pub(crate) fn put_greeting(&self, out: &mut Chain) {
        self.put(out, tag::GREETING);
    }

    /// `None` if the frame is no hello.
    pub(crate) fn parse_hello(frame: Reader) -> Option<Self> {
        Self::parse(frame, tag::HELLO)
    }

    /// `None` if the frame is no greeting.
    pub(crate) fn parse_greeting(frame: Reader) -> Option<Self> {
        Self::parse(frame, tag::GREETING)
    }

    fn put(&self, out: &mut Chain, tag: u8) {
        let start = frame::begin(out);
        let bytes = out.tail();
        bytes.put_u8(tag);
        bytes.put_slice(&MAGIC);
        bytes.put_u16_le(self.version);
        bytes.put_slice(&self.build);
        frame::finish(out, start, 0);
    }

    fn parse(mut frame: Reader, tag: u8) -> Option<Self> {
        if frame.u8()? != tag || frame.take(MAGIC.len())? != MAGIC[..] {
            return None;
        }
        Some(Self {
            version: frame.u16()?,
            build: frame.into_bytes().to_vec(),
        })
    }
}

#[cfg(all(test, properties))]
#[path = "../../tests/properties/wire/identity.rs"]
mod tests;
