mod image;
mod limits;
mod memory;
mod process;
mod stdio;
mod thread;

pub(crate) use image::{build_identity, in_executable};
pub(crate) use limits::Limit;
pub(crate) use memory::SharedMemory;
pub(crate) use process::{
    ChildProcess, Exit, kill_own_group, monotonic_nanos, oom_kills, signal_name, socket_pair,
};
pub(crate) use stdio::{
    Bell, become_worker, bytes_waiting, flush_c_stdout, own_descriptor, read_now, receive_with_fd,
    send_vectored, send_with_fd, wait_for_parents_end, write_in_one,
};
pub(crate) use thread::ThreadName;
