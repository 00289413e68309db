//! What the operating system gives, and the only unsafe code besides `function`. Nothing in here
//! knows of executors.
//!
//! There is one folder a platform. Each exports the same names with the same signatures, so the code
//! above `sys` compiles on every target and has no `#[cfg]` of its own. Reading order in `linux`: `image`,
//! `process`, `fork`, `stdio`, `memory`, `reserve`, `segment`, `limits`. `other` is for the targets on
//! which this crate starts no processes yet: it says so in every error.

#[cfg(target_os = "linux")]
#[expect(
    unsafe_code,
    reason = "this is where it lives; each block says why it is sound"
)]
mod linux;
#[cfg(not(target_os = "linux"))]
mod other;

#[cfg(target_os = "linux")]
pub(crate) use linux::*;
#[cfg(not(target_os = "linux"))]
pub(crate) use other::*;
