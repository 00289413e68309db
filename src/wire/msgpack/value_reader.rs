//! Where the next value is read from.

use super::error::DataError;
use super::nesting::Nesting;

/// Reads one value. Readers of its parts are made from it.
pub(super) struct ValueReader<'a, 'de> {
    /// What is not read yet.
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

    /// The reader of what this value holds, which is a `Some`.
    #[inline]
    pub(super) fn into_some(self) -> Result<Self, DataError> {
        let nesting = self.nesting.of_some()?;
        Ok(Self { nesting, ..self })
    }

    /// The same, for one of several values.
    #[inline]
    pub(super) fn again(&mut self) -> ValueReader<'_, 'de> {
        ValueReader {
            input: self.input,
            nesting: self.nesting,
        }
    }
}
