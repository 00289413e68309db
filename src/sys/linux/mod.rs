mod call;
mod cell;
mod check;
mod copy;
mod copy_once;
mod coverage;
mod edges;
mod folder;
mod fork;
mod generation;
mod growing;
mod handles;
mod identity;
mod image;
#[cfg(all(
    feature = "isolation",
    any(
        target_arch = "aarch64",
        target_arch = "riscv64",
        target_arch = "x86_64"
    )
))]
mod isolation;
mod left;
mod lent;
mod limits;
mod local;
mod memfile;
mod memory;
mod orphans;
mod own;
mod packet;
mod pidfd;
mod print;
mod process;
mod reach;
mod readiness;
mod received;
mod register;
mod reserve;
mod runtime_watch;
mod scrub;
mod segment;
mod signal;
mod socket;
mod stdio;
mod stream;
mod sweep;
mod watch;
mod which;

pub(crate) use check::check_processes;
pub(crate) use coverage::write_profile;
pub(crate) use edges::{
    BlockingEdges, Edges, await_readable, bell, eventfd, is_hung_up, is_readable, ring, signal,
    silence, standard_numbers,
};
pub(crate) use folder::{FolderIdentity, current_folder, enter_folder, open_folder};
pub(crate) use fork::{
    Forked, OneWay, abandon, end_after, exit_forked, fork, fork_for, go_on_in_another_thread,
    lasting_threads, note_silent_thread, thread_count,
};
pub(crate) use generation::generation;
pub(crate) use growing::{file_memory, give_back, growing_file, lengthen, seal, sealable_file};
pub(crate) use handles::{
    AsFd, AsRawFd, AsyncFd, BorrowedFd, OwnedFd, RawFd, Socket, no_thread, os_string,
    pipe_from_child, pipe_to_child, too_many_descriptors,
};
pub(crate) use identity::{ProcessIdentity, home};
pub(crate) use image::{build_identity, in_executable, library_of, own_executable};
#[cfg(all(
    feature = "isolation",
    any(
        target_arch = "aarch64",
        target_arch = "riscv64",
        target_arch = "x86_64"
    )
))]
pub(crate) use isolation::*;
pub(crate) use left::{name_fork_server, name_process, reap_left_children};
pub(crate) use lent::Lent;
pub(crate) use limits::{check_length, longest_file};
pub(crate) use local::{
    BoundPath, accept_local, add_to_set, connect_local, fill_random, is_own_user, listen_at,
    local_socket, ready_set, remove_from_set,
};
pub(crate) use memfile::{
    FileIdentity, file_identity, file_len, file_of, read_at, read_file, sealed_file, write_all_at,
    write_at,
};
pub(crate) use memory::{SharedMapping, enlarge, open_gate, wait_at};
pub(crate) use orphans::{inherits_orphans, reap_orphans_of};
pub(crate) use packet::{
    descriptors_of_next_packet, drop_packet, next_packet, packet_pair, roomy_packet_pair,
    send_packet, stream_pair,
};
pub(crate) use print::{
    above_standard_streams, flush_stdout, nowhere, own_descriptor, own_stream, reopened_stream,
    set_input, set_output, write_in_one,
};
pub(crate) use process::{
    ChildProcess, Exit, end_child, kill_own_group, memory_meter, monotonic_nanos, oom_kills,
    open_child, reap_if_ended, resident_memory, set_dumpable, signal_name,
};
pub(crate) use reach::{closed, is_closed, out_of_reach};
pub(crate) use readiness::{Direction, wait_ready};
pub(crate) use received::{
    check_eventfd, check_packets, check_pipe, check_reserved, check_sealed, check_stream,
    is_same_file,
};
pub(crate) use register::{StableFd, is_ready, probe_events, register};
pub(crate) use runtime_watch::Readiness;
pub(crate) use segment::SegmentName;
pub(crate) use signal::{reset_signals, restore_signals};
pub(crate) use socket::{
    MOST_FDS, bytes_waiting, end_sending, is_hangup, never_wait, pipe, read_more, read_onto,
    receive, receive_more, receive_patiently, receive_with_fd, receive_with_fds, send_patiently,
    send_with_fds, socket_pair,
};
pub(crate) use stdio::{become_child, change_variables, init_is_late, is_variable, settle_forked};
pub(crate) use stream::{WHOLE, write_now, write_patiently};
pub(crate) use watch::{
    WakeFd, await_input, end_with, lifeline, parent, wait_for_parents_end, wait_readable, watched,
};
pub(crate) use which::{eventfd_identity, socket_identity};

/// Makes the system calls that a process makes only once, so that none is left after an initializer has forbidden them.
/// With `by_name`, also those that distinguish this process from others.
pub(crate) fn ask_once(by_name: bool) {
    let _ = rustix::param::page_size();
    let _ = monotonic_nanos(); // Finds the clock that needs no system call.
    if by_name {
        let _ = (ProcessIdentity::own(), home());
    }
}
