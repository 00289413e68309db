//! What the operating system gives, and the only unsafe code besides `function`. Nothing in here
//! knows of executors. Reading order: `thread_name`; with the feature `process`, `unix::image`,
//! `unix::process`, `unix::fork`, `unix::stdio`, `unix::memory`, `unix::reserve`, `unix::segment`,
//! `unix::limits`.

#![cfg_attr(
    feature = "process",
    expect(
        unsafe_code,
        reason = "this is where it lives; each block says why it is sound"
    )
)]

#[cfg(not(feature = "process"))]
mod no_process;
mod thread_name;
#[cfg(all(unix, feature = "process"))]
#[cfg_attr(
    not(feature = "multiprocessing"),
    allow(
        dead_code,
        unused_imports,
        reason = "a platform offers one set of names, whatever the features"
    )
)]
mod unix;

#[cfg(not(feature = "process"))]
pub(crate) use no_process::*;
pub(crate) use thread_name::ThreadName;
#[cfg(all(unix, feature = "process"))]
#[cfg_attr(
    not(feature = "multiprocessing"),
    allow(unused_imports, reason = "as above")
)]
pub(crate) use unix::*;
