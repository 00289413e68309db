//! The functions of the operating system, and the only unsafe code besides `function`. This module knows nothing about
//! executors.
//!
//! Each platform has a folder. Each exports the same names with the same signatures, so the code above `sys` compiles
//! on every target and has no `#[cfg]` of its own. Reading order in `linux`: `image`, `process`, `fork`, `stdio`,
//! `memory`, `reserve`, `segment`, `limits`. `other` is for the targets on which this crate starts no processes yet: it
//! says so in every error. Without the feature `process`, `no_process` replaces both.
//! `no_process` stands for both.

/// Runs a test in a process of its own.
#[cfg(all(test, feature = "process", not(properties)))]
#[path = "../../tests/common/again.rs"]
pub(crate) mod again;
#[expect(
    unsafe_code,
    reason = "unsafe code belongs here; each block says why it is sound"
)]
mod lifetime;
#[cfg(feature = "process")]
mod limit;
#[cfg(all(feature = "process", target_os = "linux"))]
#[expect(
    unsafe_code,
    reason = "unsafe code belongs here; each block says why it is sound"
)]
#[cfg_attr(
    not(feature = "multiprocessing"),
    allow(
        dead_code,
        unused_imports,
        reason = "a platform exports the same names with all features"
    )
)]
mod linux;
#[cfg(feature = "process")]
#[cfg_attr(
    not(feature = "multiprocessing"),
    allow(dead_code, unused_imports, reason = "as above")
)]
mod lock_soon;
/// Replaces `linux::isolation` where that does not exist.
#[cfg(all(
    feature = "process",
    not(all(
        feature = "isolation",
        target_os = "linux",
        any(
            target_arch = "aarch64",
            target_arch = "riscv64",
            target_arch = "x86_64"
        )
    ))
))]
mod no_isolation;
#[cfg(not(feature = "process"))]
mod no_process;
#[cfg(all(feature = "process", not(target_os = "linux")))]
#[cfg_attr(
    not(feature = "multiprocessing"),
    allow(
        dead_code,
        unused_imports,
        reason = "a platform exports the same names with all features"
    )
)]
mod other;
mod thread_name;

/// The exit code of a Rust program that panics.
#[cfg(feature = "process")]
pub(crate) const PANICKED: i32 = 101;

pub(crate) use lifetime::{Call, without_lifetime};
#[cfg(feature = "process")]
pub(crate) use limit::Limit;
#[cfg(all(feature = "process", target_os = "linux"))]
#[cfg_attr(
    not(feature = "multiprocessing"),
    allow(unused_imports, reason = "as above")
)]
pub(crate) use linux::*;
#[cfg(feature = "process")]
#[cfg_attr(
    not(feature = "multiprocessing"),
    allow(unused_imports, reason = "as above")
)]
pub(crate) use lock_soon::lock_soon;
#[cfg(all(
    feature = "process",
    not(all(
        feature = "isolation",
        target_os = "linux",
        any(
            target_arch = "aarch64",
            target_arch = "riscv64",
            target_arch = "x86_64"
        )
    ))
))]
pub(crate) use no_isolation::*;
#[cfg(not(feature = "process"))]
pub(crate) use no_process::*;
#[cfg(all(feature = "process", not(target_os = "linux")))]
#[cfg_attr(
    not(feature = "multiprocessing"),
    allow(unused_imports, reason = "as above")
)]
pub(crate) use other::*;
pub(crate) use thread_name::ThreadName;
