//! The name of a large payload. It contains how to read the chunks and how to check them.

use std::fmt;

/// The most bytes of an object.
pub(super) const MOST_BYTES: u64 = 1 << 30;
/// The size of a chunk, if the server accepts messages of that size.
pub(super) const CHUNK: usize = 256 << 10;
pub(super) const LEAST_CHUNK: usize = 256;

/// The parts of the name of an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ObjectName {
    pub(super) id: String,
    pub(super) size: u64,
    /// The size of each chunk except the last.
    pub(super) chunk: usize,
    /// SHA-256, in hexadecimal digits.
    pub(super) digest: String,
}

impl ObjectName {
    pub(super) fn parse(object: &str) -> Option<Self> {
        let mut parts = object.split('-');
        let [id, size, chunk, digest] =
            [parts.next()?, parts.next()?, parts.next()?, parts.next()?];
        let name = Self {
            id: id.to_owned(),
            size: size.parse().ok()?,
            chunk: chunk.parse().ok()?,
            digest: digest.to_owned(),
        };
        let is_sound = name.size <= MOST_BYTES && (LEAST_CHUNK..=CHUNK).contains(&name.chunk);
        (is_sound && name.to_string() == object).then_some(name)
    }

    pub(super) fn chunks(&self) -> u64 {
        self.size.div_ceil(self.chunk as u64)
    }

    pub(super) fn range(&self, number: u64) -> std::ops::Range<usize> {
        let (size, start) = (self.size as usize, number as usize * self.chunk);
        start.min(size)..(start + self.chunk).min(size)
    }
}

impl fmt::Display for ObjectName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}-{}-{}-{}",
            self.id, self.size, self.chunk, self.digest
        )
    }
}
