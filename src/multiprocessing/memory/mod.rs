//! Memory that processes share. Reading order:
//!
//! - [`shared_memory`]: bytes, with a name or without one;
//! - [`plain`]: what values can be;
//! - [`locked`]: memory that starts with its lock;
//! - [`places`]: a value in one of two places; [`value`] and [`value_guard`]: its handle, and the holder of its lock;
//! - [`array`] and [`array_guard`]: values in place;
//! - [`atomic`] and [`atomic_bool`]: a number or a flag without a lock.
//!
//! Another process can write to the memory at any time. So values are copied, or used by atomics. Only an array lends
//! references; its documentation says what they require of every process.

mod array;
mod array_guard;
mod atomic;
mod atomic_bool;
mod locked;
mod places;
mod plain;
mod shared_memory;
mod value;
mod value_guard;

pub use self::array::Array;
pub use self::array_guard::ArrayGuard;
pub use self::atomic::{
    Atomic, AtomicI8, AtomicI16, AtomicI32, AtomicI64, AtomicIsize, AtomicNumber, AtomicU8,
    AtomicU16, AtomicU32, AtomicU64, AtomicUsize,
};
pub use self::atomic_bool::AtomicBool;
pub use self::plain::PlainData;
pub use self::shared_memory::SharedMemory;
pub use self::value::Value;
pub use self::value_guard::ValueGuard;
