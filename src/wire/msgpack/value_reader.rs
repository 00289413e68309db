//! Reads the next value.

use super::error::DataError;
use super::nesting::Nesting;

/// Reads one value. The readers of its parts are created from it.
pub(super) struct ValueReader<'a, 'de> {
    /// The bytes that have not been read.
    pub(super) input: &'a mut &'de [u8],
    nesting: Nesting,
}

impl<'a, 'de> ValueReader<'a, 'de> {
    pub(super) fn new(input: &'a mut &'de [u8]) -> Self {
        let nesting = Nesting::TOP;
        Self { input, nesting }
    }

    /// The reader of the parts of this value.
    #[inline]
    pub(super) fn into_parts(self) -> Result<Self, DataError> {
        let nesting = self.nesting.of_parts()?;
        Ok(Self { nesting, ..self })
    }

    /// The reader of the content of this value, which is a `Some`.
    #[inline]
    pub(super) fn into_some(self) -> Result<Self, DataError> {
        let nesting = self.nesting.of_some()?;
        Ok(Self { nesting, ..self })
    }

    /// A reader at the same level, for one of several values.
    #[inline]
    pub(super) fn again(&mut self) -> ValueReader<'_, 'de> {
        ValueReader {
            input: self.input,
            nesting: self.nesting,
        }
    }
}
