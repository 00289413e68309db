mod image;
mod memory;
mod process;
mod stdio;
mod thread;

pub(crate) use image::{build_identity, in_executable};
pub(crate) use memory::SharedMemory;
pub(crate) use process::{ChildProcess, Exit, kill_own_group, oom_kills, signal_name, socket_pair};
pub(crate) use stdio::{
    claim_stdio, close_inherited, receive_with_fd, remove_env, send_with_fd, settle_signals,
    wait_for_parents_end,
};
pub(crate) use thread::ThreadName;
