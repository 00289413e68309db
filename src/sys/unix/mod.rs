mod fork;
mod image;
mod limits;
mod memory;
mod print;
mod process;
mod ready;
mod signal;
mod socket;
mod stdio;
mod thread;
mod watch;

pub(crate) use fork::{Forked, abandon, exit_forked, fork, generation, other_threads};
pub(crate) use image::{build_identity, in_executable};
pub(crate) use limits::Limit;
pub(crate) use memory::{SharedMemory, enlarge, memory_file, open_gate, wait_at};
pub(crate) use print::{
    flush_stdout, nowhere, out_of_the_way, own_descriptor, own_stream, set_input, set_output,
    write_in_one,
};
pub(crate) use process::{
    ChildProcess, Exit, end_child, kill_own_group, monotonic_nanos, oom_kills, open_child,
    reap_if_ended, signal_name,
};
pub(crate) use ready::{readable, readable_within};
pub(crate) use signal::{heed_interrupts, reset_signals};
pub(crate) use socket::{
    MOST_FDS, bytes_waiting, is_hangup, pipe, read_now, read_onto, receive_with_fds, send_with_fds,
    socket_pair, watch_pipe, watch_room,
};
pub(crate) use stdio::{become_child, settle_forked, settle_surroundings};
pub(crate) use thread::ThreadName;
pub(crate) use watch::{Bell, end_with, parent, wait_for_parents_end, wait_readable, watched};
