//! Writes the next value.

use super::error::DataError;
use super::nesting::Nesting;

/// Writes one value. The writers of its parts are created from it.
pub(super) struct ValueWriter<'a> {
    pub(super) out: &'a mut Vec<u8>,
    nesting: Nesting,
}

impl<'a> ValueWriter<'a> {
    pub(super) fn new(out: &'a mut Vec<u8>) -> Self {
        let nesting = Nesting::TOP;
        Self { out, nesting }
    }

    /// The writer of the parts of this value.
    #[inline]
    pub(super) fn into_parts(self) -> Result<Self, DataError> {
        let nesting = self.nesting.of_parts()?;
        Ok(Self { nesting, ..self })
    }

    /// The writer of the content of this value, which is a `Some`.
    #[inline]
    pub(super) fn some(&mut self) -> Result<ValueWriter<'_>, DataError> {
        let nesting = self.nesting.of_some()?;
        Ok(ValueWriter {
            nesting,
            ..self.again()
        })
    }

    /// A writer at the same level, for one of several values.
    #[inline]
    pub(super) fn again(&mut self) -> ValueWriter<'_> {
        ValueWriter {
            out: self.out,
            nesting: self.nesting,
        }
    }
}
