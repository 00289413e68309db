//! Lists: elements one after another, or one block of numbers.
//!
//! Serde passes numbers one at a time, and says only how many elements to expect. So a list of at least [`BLOCK_FROM`]
//! elements becomes a block at its first number, and the block becomes a list of elements if anything but a number of
//! that type follows.

use serde::ser::{
    Serialize, SerializeSeq, SerializeTuple, SerializeTupleStruct, SerializeTupleVariant,
};

use super::error::DataError;
use super::format::{BLOCK_FROM, BLOCK_HEAD, EXT32, LIST};
use super::number::AnyNumber;
use super::number_block::{NumberBlock, NumberKind};
use super::value_writer::ValueWriter;

/// A block gets room for this many bytes at first, and then doubles.
const FIRST_ROOM: usize = 64 * 1024;

/// Writes the elements of a list. It is the serializer of each element as well.
pub(super) struct ListWriter<'a> {
    writer: ValueWriter<'a>,
    progress: Progress,
}

/// What is written so far. A small value that is passed by value, so that the loop over numbers keeps it in registers.
#[derive(Clone, Copy)]
struct Progress {
    /// Where the list begins.
    start: usize,
    /// The number of elements that serde announced. It can be wrong.
    expected: usize,
    form: ListForm,
}

#[derive(Clone, Copy)]
enum ListForm {
    /// Nothing is written yet.
    Undecided,
    /// The head has the length `expected`. This number of elements is written or started.
    Elements(usize),
    /// Numbers of this type are written up to `end`. After it is room for more.
    Block { kind: NumberKind, end: usize },
}

impl<'a> ListWriter<'a> {
    #[inline]
    pub(super) fn new(writer: ValueWriter<'a>, len: Option<usize>) -> Result<Self, DataError> {
        let expected = len.unwrap_or(0);
        let start = writer.out.len();
        let form = if expected < BLOCK_FROM {
            LIST.put_head(expected, writer.out)?;
            ListForm::Elements(0)
        } else {
            LIST.head(expected)?; // A length that is too long for a list is also too long for a block.
            ListForm::Undecided
        };
        let progress = Progress {
            start,
            expected,
            form,
        };
        Ok(Self { writer, progress })
    }

    /// The writer of an element that is not a number.
    #[inline]
    pub(super) fn element(&mut self) -> Result<ValueWriter<'_>, DataError> {
        if !matches!(self.progress.form, ListForm::Elements(_)) {
            self.progress = self.progress.into_elements(self.writer.out)?;
        }
        Ok(self.writer.again())
    }

    /// Writes an element that is a number, which takes `bytes` in a block.
    #[inline]
    pub(super) fn number<const N: usize>(
        &mut self,
        number: AnyNumber,
        kind: NumberKind,
        bytes: [u8; N],
    ) -> Result<(), DataError> {
        match &mut self.progress.form {
            ListForm::Block { kind: open, end } if *open == kind => {
                if let Some(room) = self.writer.out.get_mut(*end..*end + N) {
                    room.copy_from_slice(&bytes);
                    *end += N;
                    return Ok(());
                }
            }
            ListForm::Elements(_) => {
                number.put(self.writer.out);
                return Ok(());
            }
            _ => {}
        }
        self.progress = self
            .progress
            .with_number(number, kind, &bytes, self.writer.out)?;
        Ok(())
    }

    #[inline]
    fn put<T: Serialize + ?Sized>(&mut self, element: &T) -> Result<(), DataError> {
        if let ListForm::Elements(count) = &mut self.progress.form {
            *count += 1;
        }
        match element.serialize(&mut *self) {
            Ok(()) => Ok(()),
            Err(error) => Err(error.in_element(self.progress.index())),
        }
    }

    fn finish(self) -> Result<(), DataError> {
        self.progress.finish(self.writer.out)
    }
}

impl Progress {
    /// Writes a number for which the block has no room, or that does not belong to it.
    #[cold]
    fn with_number(
        mut self,
        number: AnyNumber,
        kind: NumberKind,
        bytes: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<Self, DataError> {
        let most = self.expected.saturating_mul(kind.width());
        let end = match self.form {
            ListForm::Undecided if u32::try_from(most).is_ok() => {
                out.extend_from_slice(&[EXT32, 0, 0, 0, 0, kind as u8]);
                Some(self.start + BLOCK_HEAD)
            }
            ListForm::Block { kind: open, end } if open == kind => Some(end),
            _ => None,
        };
        if let Some(end) = end {
            let len = end - self.start - BLOCK_HEAD;
            if len < most {
                out.resize(end + (most - len).min(len.max(FIRST_ROOM)), 0);
                out[end..end + bytes.len()].copy_from_slice(bytes);
                let end = end + bytes.len();
                self.form = ListForm::Block { kind, end };
                return Ok(self);
            }
        }
        let progress = self.into_elements(out)?;
        number.put(out);
        Ok(progress)
    }

    /// Turns the block into a list of elements, with one more started.
    #[cold]
    fn into_elements(mut self, out: &mut Vec<u8>) -> Result<Self, DataError> {
        let mut count = 1;
        let block = out.split_off(self.start);
        LIST.put_head(self.expected, out)?;
        if let ListForm::Block { kind, end } = self.form {
            let numbers = NumberBlock::new(kind, &block[BLOCK_HEAD..end - self.start]);
            count += numbers.len();
            numbers.for_each(|number| number.put(out));
        }
        self.form = ListForm::Elements(count);
        Ok(self)
    }

    /// The number of the element that is started.
    fn index(self) -> usize {
        match self.form {
            ListForm::Undecided => 0,
            ListForm::Elements(begun) => begun - 1,
            ListForm::Block { kind, end } => (end - self.start - BLOCK_HEAD) / kind.width(),
        }
    }

    #[inline]
    fn finish(self, out: &mut Vec<u8>) -> Result<(), DataError> {
        match self.form {
            ListForm::Elements(count) if count == self.expected => Ok(()),
            ListForm::Elements(count) => LIST.set_head(self.start, self.expected, count, out),
            ListForm::Undecided => LIST.put_head(0, out),
            ListForm::Block { end, .. } => {
                let len = (end - self.start - BLOCK_HEAD) as u32; // The length was checked when the block began.
                out.truncate(end);
                out[self.start + 1..self.start + 5].copy_from_slice(&len.to_be_bytes());
                Ok(())
            }
        }
    }
}

macro_rules! lists {
    ($($Trait:ident: $put:ident),*) => {$(
        impl $Trait for ListWriter<'_> {
            type Ok = ();
            type Error = DataError;

            #[inline]
            fn $put<T: Serialize + ?Sized>(&mut self, part: &T) -> Result<(), DataError> {
                self.put(part)
            }

            #[inline]
            fn end(self) -> Result<(), DataError> {
                self.finish()
            }
        }
    )*};
}

lists!(
    SerializeSeq: serialize_element,
    SerializeTuple: serialize_element,
    SerializeTupleStruct: serialize_field,
    SerializeTupleVariant: serialize_field
);
