//! How a task or a thread waits until shared words have a wanted state, whichever process changes them. Reading order:
//!
//! - [`bell`] wakes the waiters of all processes; [`mark`] tells a changer whether there are any; [`changes`] lets
//!   waiters tell a change from a ring that is meant for others;
//! - [`waiter`] waits for a bell, or for the end of a process; without a descriptor, it [pauses](pause);
//! - [`turns`] puts the tasks of a runtime in a line, where a change is for one of them; in a [`crowd`], one of them
//!   listens for all, where each has to look; [`local`] is a value that a process does not share with its forks;
//! - [`linger`] waits for a moment before a long wait;
//! - [`driver`]: the two ways to wait, in a task and in a thread;
//! - [`wait`] repeats a step until it finds something; [`member`] is one of a crowd, and waits for a change.
//!
//! The order of steps is the same for every object. A waiter listens to the bell, sets the mark, looks at the words,
//! and only then sleeps. A changer writes the words, then reads the mark, and rings if it is set. So no wake-up is
//! lost.
//!
//! A wait is written once, as async code over a [driver](driver::Driver). First it calls `begin`. Then it takes a turn,
//! unless no task or thread of this process waits and its first look succeeds. Then it repeats a step.

pub(crate) mod bell;
pub(crate) mod changes;
pub(crate) mod crowd;
pub(crate) mod driver;
pub(crate) mod linger;
pub(crate) mod local;
pub(crate) mod mark;
pub(crate) mod member;
pub(crate) mod pause;
pub(crate) mod turns;
pub(crate) mod wait;
pub(crate) mod waiter;

use super::atomic;
