//! Source files of the library with atomics that [loom](https://docs.rs/loom) watches, in place of the standard
//! library's. Loom runs a test again for each order of its threads' steps, and for each value that the memory orders
//! allow a load to find. `moved_task` has a scheduler of its own.

#![cfg(all(test, target_os = "linux"))]

mod claim_word;
mod lock_word;
mod moved_task;
