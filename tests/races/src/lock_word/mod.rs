//! The lock word, `src/multiprocessing/word.rs`, with the permit of `slot.rs` and the news of `changes.rs` beside it.

mod atomic;
#[path = "../../../../src/multiprocessing/changes.rs"]
mod changes;
mod deaths;
mod news;
mod permits;
#[path = "../../../../src/multiprocessing/slot.rs"]
mod slot;
mod system;
#[path = "../../../../src/multiprocessing/word.rs"]
mod word;
