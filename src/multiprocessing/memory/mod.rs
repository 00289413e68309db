//! Memory that processes share: [`shared_memory`] holds bytes; [`value`] and [`array`] hold plain data with a lock, on
//! the memory of [`locked`].

mod array;
mod locked;
mod shared_memory;
mod value;

pub use self::array::{Array, ArrayGuard};
pub use self::shared_memory::SharedMemory;
pub use self::value::{Value, ValueGuard};
