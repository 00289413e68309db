//! Buffers that later chunks of a map use again. Otherwise the allocator returns the memory of a large buffer to the
//! system after each chunk, and each page of the next one costs a page fault.

use std::sync::{Arc, Mutex, PoisonError};

/// Empty buffers. A clone is the same.
#[derive(Debug)]
pub(crate) struct Spares<T>(Arc<Mutex<Vec<Vec<T>>>>);

impl<T> Spares<T> {
    /// The sizes of the buffers that are kept, in bytes. The allocator keeps small ones by itself.
    const SMALLEST: usize = 4 << 10;
    const LARGEST: usize = 256 << 10;
    /// How many are kept at most.
    const MOST: usize = 16;

    /// An empty buffer, with memory if one was kept.
    pub(crate) fn take(&self) -> Vec<T> {
        self.lock_buffers(Vec::pop).unwrap_or_default()
    }

    /// Keeps a buffer, if it is empty and of a suitable size.
    pub(crate) fn keep(&self, buffer: Vec<T>) {
        let size = buffer.capacity() * size_of::<T>();
        if buffer.is_empty() && (Self::SMALLEST..=Self::LARGEST).contains(&size) {
            self.lock_buffers(|buffers| {
                if buffers.len() < Self::MOST {
                    buffers.push(buffer);
                }
            });
        }
    }

    fn lock_buffers<R>(&self, act: impl FnOnce(&mut Vec<Vec<T>>) -> R) -> R {
        act(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl<T> Default for Spares<T> {
    fn default() -> Self {
        Self(Arc::default())
    }
}

impl<T> Clone for Spares<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

#[cfg(all(test, not(properties)))]
mod tests {
    use super::*;

    #[test]
    fn an_empty_buffer_of_a_suitable_size_is_used_again() {
        let spares = Spares::<u64>::default();
        let keeps = |buffer: Vec<u64>| {
            spares.clone().keep(buffer);
            spares.take().capacity() > 0
        };
        assert!(keeps(Vec::with_capacity(8192)));
        assert!(!keeps(Vec::new()) && !keeps(Vec::with_capacity(10)));
        assert!(!keeps(Vec::with_capacity(1 << 20)) && !keeps(vec![1; 8192]));
    }
}
