//! Serde's data model as MessagePack, with extension types for what plain MessagePack loses. Reading order:
//!
//! - [`error`]: what is wrong, and in which part of the value;
//! - [`format`](mod@format): the bytes that both sides agree on; [`number`]: numbers, one by one and in blocks;
//! - writing: [`value_writer`], its [`list_writer`] and [`map_writer`], then [`serializer`] and [`element`];
//! - reading: [`token`], [`value_reader`], its [`list_reader`], [`map_reader`] and [`nothing`], then
//!   [`deserializer`].
//!
//! Everything that can be written can be read back. Writing fails for a value that nests too deep, or that has a part
//! whose length does not fit the format. Both sides count [`MOST_LEVELS`] in the same way.
//!
//! A list of numbers of one type is one block, so bytes in a `Vec<u8>` cost one byte each. Serde passes
//! elements one at a time; [`list_writer`] joins them.

mod block_reader;
mod deserializer;
mod element;
mod error;
mod format;
mod list_reader;
mod list_writer;
mod map_reader;
mod map_writer;
mod nesting;
mod nothing;
mod number;
mod number_block;
mod serializer;
mod take;
mod value_reader;
mod value_writer;

use serde::{Deserialize, Serialize};

use error::DataError;
use value_reader::ValueReader;
use value_writer::ValueWriter;

/// Appends a value. After an error, `out` may end with a part of it.
pub(super) fn write<T: Serialize + ?Sized>(value: &T, out: &mut Vec<u8>) -> Result<(), DataError> {
    value.serialize(ValueWriter::new(out))
}

/// Reads a value from all of `bytes`.
pub(super) fn read<'de, T: Deserialize<'de>>(mut bytes: &'de [u8]) -> Result<T, DataError> {
    let value = T::deserialize(ValueReader::new(&mut bytes))?;
    if bytes.is_empty() {
        Ok(value)
    } else {
        Err(DataError::left_over(bytes.len()))
    }
}

#[cfg(all(test, properties))]
#[path = "../../../tests/properties/wire/msgpack/mod.rs"]
mod tests;
