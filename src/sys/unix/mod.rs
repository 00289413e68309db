mod fork;
mod image;
mod memory;
mod process;
mod stdio;
mod thread;

pub(crate) use fork::{
    Forked, exit_forked, fork, generation, open_child, other_threads, parent, reap_if_ended,
    reset_signals, set_output, wait_readable, watched,
};
pub(crate) use image::{build_identity, in_executable};
pub(crate) use memory::SharedMemory;
pub(crate) use process::{
    ChildProcess, Exit, kill_own_group, monotonic_nanos, oom_kills, signal_name, socket_pair,
};
pub(crate) use stdio::{
    Bell, become_child, read_now, receive_with_fds, send_vectored, send_with_fds, settle_forked,
    wait_for_parents_end,
};
pub(crate) use thread::ThreadName;
