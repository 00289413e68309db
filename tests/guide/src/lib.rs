//! The pages of the guide, and the examples of the documentation, whose code uses crates that the package itself does
//! not need, as its tests.

#![cfg(doctest)]

#[doc = include_str!("../../../src/guide/cluster.md")]
mod cluster {}

#[doc = include_str!("../../../src/guide/debugging.md")]
mod debugging {}

#[doc = include_str!("../../../src/guide/errors.md")]
mod errors {}

#[doc = include_str!("../../../src/guide/web.md")]
mod web {}

#[doc = include_str!("../../../src/guide/snippets/axum.md")]
mod axum {}

#[doc = include_str!("../../../src/guide/snippets/offload_layer.md")]
mod offload_layer {}

#[doc = include_str!("../../../src/guide/snippets/task_service.md")]
mod task_service {}
