//! The lock word, `src/multiprocessing/robust/word.rs`, with the permit of `slot.rs`, the readers of `readers.rs` and
//! the changes of `../waiting/changes.rs`.

mod atomic;
#[path = "../../../../src/multiprocessing/waiting/changes.rs"]
mod changes;
mod deaths;
#[path = "../../../../src/multiprocessing/waiting/mark.rs"]
mod mark;
mod news;
mod permits;
#[path = "../../../../src/multiprocessing/robust/readers.rs"]
mod readers;
mod reading;
#[path = "../../../../src/multiprocessing/robust/slot.rs"]
mod slot;
mod system;
#[path = "../../../../src/multiprocessing/robust/word.rs"]
mod word;
