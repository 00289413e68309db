//! What a span says of a task that a program on another machine submitted.

use std::fmt;

/// A task of another program, and where it runs.
#[derive(Clone, Copy)]
#[cfg_attr(
    not(feature = "tracing"),
    expect(dead_code, reason = "no span has them")
)]
pub(crate) struct RemoteTask<'a> {
    /// The number of its handle in that program.
    pub(crate) id: u64,
    /// The name of its record, which no other task of the queue has.
    pub(crate) key: &'a dyn fmt::Display,
    pub(crate) function: &'a str,
    pub(crate) queue: &'a str,
    /// The worker, and its machine.
    pub(crate) worker: &'a str,
    pub(crate) host: &'a str,
    pub(crate) attempt: u32,
    pub(crate) traceparent: Option<&'a str>,
}
