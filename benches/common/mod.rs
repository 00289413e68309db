//! What the benches share. Reading order: [`contender`], [`limit`], [`table`].

pub(crate) mod contender;
pub(crate) mod limit;
pub(crate) mod table;
