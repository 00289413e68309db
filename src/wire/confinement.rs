//! What a worker or a process gives up before it runs a task.

use super::declare::message;
use super::surroundings::SystemText;

message! {
    /// Everything that is not allowed here is denied.
    #[derive(Clone, Debug, Default, PartialEq, Eq)]
    pub(crate) struct Confinement {
        /// The process that started it, which it may not signal.
        pub(crate) parent: u32,
        /// Where the system lacks a part, a warning replaces that.
        pub(crate) is_best_effort: bool,
        /// The user and the group that it becomes.
        pub(crate) user: Option<(u32, u32)>,
        /// It stays in the network of its parent. Then only the ports below are open.
        pub(crate) shares_network: bool,
        pub(crate) connect: Vec<u16>,
        pub(crate) bind: Vec<u16>,
        pub(crate) read: Vec<SystemText>,
        pub(crate) write: Vec<SystemText>,
        pub(crate) execute: Vec<SystemText>,
    }
}
