//! Lists, as a visitor sees them: elements one after another, or a block of numbers.

use serde::de::{DeserializeSeed, SeqAccess, Visitor};

use super::block_reader::ByteBlock;
use super::error::DataError;
use super::number_block::NumberBlock;
use super::value_reader::ValueReader;

struct ListReader<'a, 'de> {
    reader: ValueReader<'a, 'de>,
    len: usize,
    left: usize,
}

/// Shows a visitor the list of `len` elements that follows.
pub(super) fn visit_list<'de, V: Visitor<'de>>(
    reader: ValueReader<'_, 'de>,
    len: usize,
    visitor: V,
) -> Result<V::Value, DataError> {
    let reader = reader.into_parts()?;
    let mut list = ListReader {
        reader,
        len,
        left: len,
    };
    let value = visitor.visit_seq(&mut list)?;
    check_end(len, list.left)?;
    Ok(value)
}

/// Shows a visitor a block of numbers as a list.
pub(super) fn visit_block<'de, V: Visitor<'de>>(
    mut block: NumberBlock<'de>,
    visitor: V,
) -> Result<V::Value, DataError> {
    if let Some(bytes) = block.as_bytes() {
        return visit_bytes(bytes, visitor);
    }
    let len = block.len();
    let value = visitor.visit_seq(&mut block)?;
    check_end(len, block.len())?;
    Ok(value)
}

/// Shows a visitor bytes as a list.
pub(super) fn visit_bytes<'de, V: Visitor<'de>>(
    bytes: &'de [u8],
    visitor: V,
) -> Result<V::Value, DataError> {
    let mut block = ByteBlock(bytes);
    let value = visitor.visit_seq(&mut block)?;
    check_end(bytes.len(), block.0.len())?;
    Ok(value)
}

#[inline]
fn check_end(len: usize, left: usize) -> Result<(), DataError> {
    match left {
        0 => Ok(()),
        _ => Err(too_many(len, left)),
    }
}

#[cold]
fn too_many(len: usize, left: usize) -> DataError {
    DataError::new(format!(
        "a list of {len} elements, where {} are expected",
        len - left
    ))
}

impl<'de> SeqAccess<'de> for ListReader<'_, 'de> {
    type Error = DataError;

    #[inline]
    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, DataError> {
        let Some(left) = self.left.checked_sub(1) else {
            return Ok(None);
        };
        self.left = left;
        match seed.deserialize(self.reader.again()) {
            Ok(value) => Ok(Some(value)),
            Err(error) => Err(error.in_element(self.len - left - 1)),
        }
    }

    /// At most the number of remaining bytes, because a sender may claim any length.
    #[inline]
    fn size_hint(&self) -> Option<usize> {
        Some(self.left.min(self.reader.input.len()))
    }
}
