//! What the operating system gives, and the only unsafe code besides `function`. Nothing in here
//! knows of executors. Reading order: [`unix::image`], [`unix::process`], [`unix::fork`],
//! [`unix::stdio`], [`unix::memory`], [`unix::reserve`], [`unix::segment`], [`unix::limits`].

#![expect(
    unsafe_code,
    reason = "this is where it lives; each block says why it is sound"
)]

#[cfg(unix)]
mod unix;

#[cfg(unix)]
pub(crate) use unix::*;
