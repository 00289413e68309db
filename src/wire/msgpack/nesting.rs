//! How deep a value may nest. Both sides count in the same way, so everything that is written can be read.

use super::error::DataError;

/// How deep lists, maps, variants with content, and `Some`s right inside a `Some` may nest. More could
/// overflow the stack of the thread that reads or writes the value.
pub(super) const MOST_LEVELS: u32 = 128;

/// The levels that a value may still use, and in the lowest bit whether it is the content of a `Some`. In one word,
/// since it is copied for each value.
#[derive(Clone, Copy)]
pub(super) struct Nesting(u32);

impl Nesting {
    /// The levels of a whole value.
    pub(super) const TOP: Self = Self(MOST_LEVELS << 1);

    /// The levels of the parts of this value.
    #[inline]
    pub(super) fn of_parts(self) -> Result<Self, DataError> {
        match (self.0 & !1).checked_sub(2) {
            Some(left) => Ok(Self(left)),
            None => Err(too_deep()),
        }
    }

    /// The levels of the content of this value, which is a `Some`. A `Some` right inside another counts as a level:
    /// otherwise a type that holds an `Option` of itself could be read without end.
    #[inline]
    pub(super) fn of_some(self) -> Result<Self, DataError> {
        let is_in_some = self.0 & 1 == 1;
        let outer = if is_in_some { self.of_parts()? } else { self };
        Ok(Self(outer.0 | 1))
    }
}

#[cold]
fn too_deep() -> DataError {
    DataError::new(format!(
        "the value nests more than {MOST_LEVELS} levels deep: flatten it, for example into a list whose elements \
         refer to each other by index"
    ))
}
