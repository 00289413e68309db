//! How a task or a thread waits until shared words have a wanted state, whichever process changes them. Reading order:
//!
//! - [`bell`] wakes the waiters of all processes; [`mark`] tells a changer whether there are any;
//! - [`waiter`] waits for a bell, or for the end of a process;
//! - [`wait`] looks at the words between waits;
//! - [`linger`] waits for a moment before a long wait.
//!
//! The order of steps is the same for every object. A waiter listens to the bell, sets the mark, looks at the words, and
//! only then sleeps. A changer writes the words, then reads the mark, and rings if it is set. So no wake-up is lost.

pub(crate) mod bell;
pub(crate) mod linger;
pub(crate) mod mark;
pub(crate) mod wait;
pub(crate) mod waiter;

use super::atomic;
