//! The lock word of `src/multiprocessing/word.rs` and the permit of `src/multiprocessing/slot.rs`, on atomics
//! that [loom] watches: the same files, with these in place of the standard library's. Loom runs a test
//! again for each order in which its threads can meet, and each value that the memory orders allow a load
//! to find.

#![cfg(target_os = "linux")]

mod atomic;
mod deaths;
mod permits;
#[path = "../../src/multiprocessing/slot.rs"]
mod slot;
mod system;
#[path = "../../src/multiprocessing/word.rs"]
mod word;
