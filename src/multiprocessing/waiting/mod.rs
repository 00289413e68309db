//! How a task or a thread waits until shared words have a wanted state, whichever process changes them. Reading order:
//!
//! - [`mark`]: whether any process waits; [`bell`]: wakes the waiters of all processes; [`changes`]: lets waiters
//!   distinguish a change from a ring that is meant for others;
//! - [`waiter`] waits for a bell, or for the end of a process; without a descriptor, it [pauses](pause);
//! - [`local`]: what a process does not share with its forks; [`runtimes`]: what exists once in each runtime;
//! - [`turns`]: the tasks of a process in a line, if one change is for one of them; [`crowd`]: one of them listens for
//!   all, if each must check; [`level`]: each checks a state that stays;
//! - [`linger`] waits for a moment before a long wait;
//! - [`driver`]: the two ways to wait, in a task and on a thread;
//! - [`wait`] repeats a step until it finds something; [`member`] is one of a crowd, and waits for a change.
//!
//! The order of steps is the same for every object. A waiter listens to the bell, sets the mark, checks the words, and
//! only then sleeps. A changer writes the words, then reads the mark, and rings if it is set. So no wake-up is lost.
//!
//! A wait is written once, as async code over a [driver](driver::Driver). It first calls `begin`. It then takes a turn,
//! unless no task or thread of this process waits and its first check succeeds. Then it repeats a step.
//!
//! The tasks of one runtime that wait for one object use one descriptor. A task of another runtime never depends on
//! them.

pub(crate) mod bell;
pub(crate) mod changes;
pub(crate) mod crowd;
pub(crate) mod driver;
pub(crate) mod level;
pub(crate) mod linger;
pub(crate) mod local;
pub(crate) mod mark;
pub(crate) mod member;
pub(crate) mod pause;
pub(crate) mod runtimes;
pub(crate) mod turns;
pub(crate) mod wait;
pub(crate) mod waiter;

use super::atomic;
