//! Objects that processes share.

mod queue;
