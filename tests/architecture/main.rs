//! The crate's architecture, read from its sources. A module can be read, tested and replaced without the modules above
//! it, and one word has one meaning.
//!
//! - [`layers`]: which module may import which;
//! - [`cycles`]: no two files import each other;
//! - [`names`]: no two types share a name;
//! - [`places`]: where `unsafe` may occur;
//! - [`promises`]: each promise names a test that exists;
//! - [`model`]: which file defines what a path names, from [`items`] and [`tokens`].

mod cycles;
mod graph;
mod items;
mod layers;
mod model;
mod names;
mod places;
mod promises;
mod sources;
mod tokens;
