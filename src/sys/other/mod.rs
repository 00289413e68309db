//! For every target except Linux: no worker processes, and no objects that processes share. The names are those of
//! `linux`, with the same signatures.
//!
//! Functions that need the system return the error of [`unsupported`]. A type that only they could create has no
//! values, so its methods need no body. The other functions work everywhere: the clock, the names of limits, and the
//! standard library's features.

mod handles;
mod local;
mod memory;
mod packet;
mod process;
mod socket;
mod stdio;
mod wait;

use std::io;

pub(crate) use handles::{
    AsFd, AsRawFd, AsyncFd, BorrowedFd, OwnedFd, RawFd, Socket, closed, is_closed, no_thread,
    os_string, out_of_reach, pipe_from_child, pipe_to_child, too_many_descriptors,
};
pub(crate) use local::{
    BoundPath, accept_local, add_to_set, connect_local, fill_random, is_own_user, listen_at,
    local_socket, ready_set, remove_from_set,
};
pub(crate) use memory::{
    FileIdentity, Lent, SegmentName, SharedMapping, check_length, check_reserved, check_sealed,
    enlarge, file_identity, file_len, file_memory, file_of, give_back, growing_file, lengthen,
    longest_file, open_gate, read_at, read_file, seal, sealable_file, sealed_file, wait_at,
    write_all_at, write_at,
};
pub(crate) use packet::{
    descriptors_of_next_packet, drop_packet, next_packet, packet_pair, roomy_packet_pair,
    send_packet, socket_identity, stream_pair,
};
pub(crate) use process::{
    ChildProcess, Exit, Forked, OneWay, ProcessIdentity, abandon, ask_once, build_identity,
    end_after, end_child, exit_forked, fork, fork_for, generation, go_on_in_another_thread, home,
    in_executable, inherits_orphans, kill_own_group, lasting_threads, library_of, memory_meter,
    monotonic_nanos, name_fork_server, name_process, note_silent_thread, oom_kills, open_child,
    own_executable, reap_if_ended, reap_left_children, reap_orphans_of, reset_signals,
    resident_memory, restore_signals, set_dumpable, signal_name, thread_count, write_profile,
};
pub(crate) use socket::{
    MOST_FDS, bytes_waiting, check_packets, check_stream, end_sending, is_hangup, never_wait, pipe,
    read_more, read_onto, receive, receive_more, receive_patiently, receive_with_fd,
    receive_with_fds, send_patiently, send_with_fds, socket_pair,
};
pub(crate) use stdio::{
    FolderIdentity, WHOLE, above_standard_streams, become_child, change_variables, current_folder,
    enter_folder, flush_stdout, init_is_late, is_variable, nowhere, open_folder, own_descriptor,
    own_stream, reopened_stream, set_input, set_output, settle_forked, write_in_one, write_now,
    write_patiently,
};
pub(crate) use wait::{
    BlockingEdges, Direction, Edges, Readiness, StableFd, WakeFd, await_input, await_readable,
    bell, check_eventfd, check_pipe, end_with, eventfd, eventfd_identity, is_hung_up, is_readable,
    is_ready, is_same_file, lifeline, parent, probe_events, register, ring, signal, silence,
    standard_numbers, wait_for_parents_end, wait_readable, wait_ready, watched,
};

/// An error, because this crate cannot start processes on this target.
pub(crate) fn check_processes() -> io::Result<()> {
    Err(unsupported())
}

/// The error of everything that needs worker processes.
fn unsupported() -> io::Error {
    let text = format!(
        "concurrent-futures starts no processes on {} yet, and has no objects that processes share there; \
         use ThreadPoolExecutor and concurrent_futures::sync instead",
        std::env::consts::OS
    );
    io::Error::new(io::ErrorKind::Unsupported, text)
}
