//! The lock word of `src/multiprocessing/word.rs`, the permit of `slot.rs` and the news of `changes.rs` beside it,
//! on atomics that [loom] watches: the same files, with these in place of the standard library's. Loom runs a test
//! again for each order in which its threads can meet, and each value that the memory orders allow a load
//! to find.

#![cfg(feature = "multiprocessing")]
#![cfg(target_os = "linux")]

mod atomic;
#[path = "../../src/multiprocessing/changes.rs"]
mod changes;
mod deaths;
mod news;
mod permits;
#[path = "../../src/multiprocessing/slot.rs"]
mod slot;
mod system;
#[path = "../../src/multiprocessing/word.rs"]
mod word;
