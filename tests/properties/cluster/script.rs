//! What decides in the model tests of a cluster.

use std::slice::Iter;

/// Numbers that decide what happens. After the end of the script nothing fails.
pub(crate) struct Script<'a>(Iter<'a, u8>);

impl<'a> Script<'a> {
    pub(crate) fn new(numbers: &'a [u8]) -> Self {
        Self(numbers.iter())
    }

    /// Whether something fails, in one of `sides` cases.
    pub(crate) fn fails(&mut self, sides: u8) -> bool {
        self.0.next().is_some_and(|number| number % sides == 0)
    }

    pub(crate) fn below(&mut self, sides: usize) -> usize {
        let number = self.0.next();
        number.map_or(0, |number| usize::from(*number) % sides)
    }

    pub(crate) fn is_over(&self) -> bool {
        self.0.as_slice().is_empty()
    }
}
