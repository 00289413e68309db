//! What processes share.

mod shared_memory;

pub use self::shared_memory::SharedMemory;
