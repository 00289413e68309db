//! The pages of the guide whose code uses crates that the package itself does not need, as its tests.

#![cfg(doctest)]

#[doc = include_str!("../../../src/guide/debugging.md")]
mod debugging {}

#[doc = include_str!("../../../src/guide/errors.md")]
mod errors {}

#[doc = include_str!("../../../src/guide/web.md")]
mod web {}
