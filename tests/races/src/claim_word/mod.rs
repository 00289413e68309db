//! The claim word: `src/wire/claim.rs`.

mod atomic;
#[path = "../../../../src/wire/claim.rs"]
mod claim;
mod races;
mod steps;

/// As in `src/wire`.
const MOST_ITEMS: u32 = 1 << 24;
