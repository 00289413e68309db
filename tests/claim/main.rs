//! The claim word of `src/wire/claim.rs`, on atomics that [loom] watches: the same file, with these in place
//! of the standard library's. Loom runs a test again for each order in which its threads can meet, and
//! each value that the memory orders allow a load to find.

#![cfg(target_os = "linux")]

mod atomic;
#[path = "../../src/wire/claim.rs"]
mod claim;
mod races;
mod steps;

/// As in `src/wire`.
const MOST_ITEMS: u32 = 1 << 24;
