//! Where the next value goes.

use super::error::DataError;
use super::nesting::Nesting;

/// Writes one value. Writers of its parts are made from it.
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

    /// The writer of what this value holds, which is a `Some`.
    #[inline]
    pub(super) fn some(&mut self) -> Result<ValueWriter<'_>, DataError> {
        let nesting = self.nesting.of_some()?;
        Ok(ValueWriter {
            nesting,
            ..self.again()
        })
    }

    /// The same, for one of several values.
    #[inline]
    pub(super) fn again(&mut self) -> ValueWriter<'_> {
        ValueWriter {
            out: self.out,
            nesting: self.nesting,
        }
    }
}
