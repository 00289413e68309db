//! The end of what a worker wrote to stderr, for the error that reports its death.

/// The number of bytes that are kept.
const TAIL: usize = 16 * 1024;

#[derive(Debug, Default)]
pub(super) struct OutputTail {
    bytes: Vec<u8>,
    /// The number of bytes that were written in all.
    total: u64,
}

impl OutputTail {
    pub(super) fn total(&self) -> u64 {
        self.total
    }

    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.total += bytes.len() as u64;
        let last = &bytes[bytes.len().saturating_sub(TAIL)..];
        let excess = (self.bytes.len() + last.len()).saturating_sub(TAIL);
        self.bytes.drain(..excess);
        self.bytes.extend_from_slice(last);
    }

    /// Forgets the text, because another task begins.
    pub(super) fn clear(&mut self) {
        self.bytes.clear();
    }

    /// The text that follows the first `start` bytes of the worker's output.
    pub(super) fn after(&self, start: u64) -> &[u8] {
        let len = usize::try_from(self.total.saturating_sub(start)).unwrap_or(usize::MAX);
        &self.bytes[self.bytes.len().saturating_sub(len)..]
    }
}

#[cfg(all(test, properties))]
#[path = "../../../tests/properties/process/output/tail.rs"]
mod tests;
