//! The rights that a worker or a process gives up before it runs a task.

use super::declare::message;
use super::surroundings::SystemText;

message! {
    /// What a confined process may still do. Everything that is not allowed here is denied.
    #[derive(Clone, Debug, Default, PartialEq, Eq)]
    pub(crate) struct Confinement {
        /// The process that started it. The confined process must not be able to signal this one.
        pub(crate) parent: u32,
        /// Whether a part that the system lacks causes a warning rather than an error.
        pub(crate) is_best_effort: bool,
        /// The user and the group that it becomes.
        pub(crate) user: Option<(u32, u32)>,
        /// Whether it stays in the network of its parent. Only the ports below are then open.
        pub(crate) shares_network: bool,
        pub(crate) connect: Vec<u16>,
        pub(crate) bind: Vec<u16>,
        pub(crate) read: Vec<SystemText>,
        pub(crate) write: Vec<SystemText>,
        pub(crate) execute: Vec<SystemText>,
    }
}
