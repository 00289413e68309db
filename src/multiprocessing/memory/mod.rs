//! Memory that processes share: [`shared_memory`] holds bytes; [`value`] and [`array`] hold plain data with a lock, on
//! the memory of [`locked`]; [`atomic`] and [`atomic_bool`] hold a number or a flag without a lock.

mod array;
mod atomic;
mod atomic_bool;
mod locked;
mod shared_memory;
mod value;

pub use self::array::{Array, ArrayGuard};
pub use self::atomic::{
    Atomic, AtomicI8, AtomicI16, AtomicI32, AtomicI64, AtomicIsize, AtomicNumber, AtomicU8,
    AtomicU16, AtomicU32, AtomicU64, AtomicUsize,
};
pub use self::atomic_bool::AtomicBool;
pub use self::shared_memory::SharedMemory;
pub use self::value::{Value, ValueGuard};
