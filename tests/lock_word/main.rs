//! The lock word of `src/multiprocessing/word.rs`, on atomics that [loom] watches: the same file, with these
//! in place of the standard library's. Loom runs a test again for each order in which its threads can meet,
//! and each value that the memory orders allow a load to find.

#![cfg(target_os = "linux")]

mod atomic;
mod deaths;
#[path = "../../src/multiprocessing/word.rs"]
mod word;
