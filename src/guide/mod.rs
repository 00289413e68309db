//! The guide: a page for each thing you want to do.
//!
//! | page | what it answers |
//! |---|---|
//! | [`calls`] | How do I call a function, on processes and on threads? Where do I put `init()`? |
//! | [`maps`] | How do I call a function on every item of a list or a stream? |
//! | [`timeouts`] | How do I limit the time of a task, cancel it, attempt it again, or follow its progress? |
//! | [`crashes`] | What happens when a worker dies? How do I set workers up, limit them, replace them? |
//! | [`shutdown`] | How does a pool end? What does a drop do? |
//! | [`web`] | How do I use a pool in a web service? |
//! | [`cluster`] | How do I run tasks on many machines? |
//! | [`sharing`] | How do processes, or the tasks of one process, share queues, locks and memory? |
//! | [`errors`] | What are the errors, and how do they fit `anyhow`, `thiserror` and `io::Error`? |
//! | [`debugging`] | How do I log in a worker, attach a debugger, get a backtrace? |
//! | [`from_python`] | What is the name here for what I know from Python? |
//!
//! The code of every page compiles, and most of it runs, as part of the crate's tests.
//!
//! A plain build does not contain this module; it exists only in the documentation.

// `tests/guide` compiles `cluster`, `errors`, `debugging`, `web` and the folder `snippets`: they use features, or
// crates that this package does not need.

#[doc = include_str!("calls.md")]
pub mod calls {}

#[doc = include_str!("maps.md")]
pub mod maps {}

#[doc = include_str!("timeouts.md")]
pub mod timeouts {}

#[doc = include_str!("crashes.md")]
pub mod crashes {}

#[doc = include_str!("shutdown.md")]
pub mod shutdown {}

#[cfg(not(doctest))]
#[doc = include_str!("web.md")]
pub mod web {}

#[cfg(not(doctest))]
#[doc = include_str!("cluster.md")]
pub mod cluster {}

#[doc = include_str!("sharing.md")]
pub mod sharing {}

#[cfg(not(doctest))]
#[doc = include_str!("errors.md")]
pub mod errors {}

#[cfg(not(doctest))]
#[doc = include_str!("debugging.md")]
pub mod debugging {}

#[doc = include_str!("from_python.md")]
pub mod from_python {}
