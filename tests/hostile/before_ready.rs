//! Processes that are not ready yet, and are hostile: a worker in its initializer, and a fork server in its preload.
//! They are expected to send two short messages.

use std::collections::HashMap;
use std::io::{IoSlice, Write as _};
use std::mem::MaybeUninit;
use std::os::fd::AsFd as _;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::pin::pin;

use concurrent_futures::{ExecutorExt as _, ProcessPoolBuilder, StartMethod};
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags};

use super::common::folder::Folder;
use super::common::{Gate, Key, within};
use super::inside::own_socket;
use super::methods::{builder, held_by_every_start_method};

held_by_every_start_method! { 1;
    a_worker_that_is_not_ready_sends_no_descriptors,
    a_fork_server_that_is_not_ready_sends_no_descriptors,
    a_worker_that_is_not_ready_sends_little,
}

/// The most descriptors that travel together.
const MOST: usize = 253;
const BATCHES: usize = 4;

/// Sends descriptors, each batch with one byte of a frame, and waits before it completes the frame.
fn send_descriptors(gate: Key) {
    let socket = own_socket();
    let (one, _other) = UnixStream::pair().expect("a pair");
    for byte in [255, 15, 0, 0].into_iter().take(BATCHES) {
        let beside = vec![one.as_fd(); MOST];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        assert!(control.push(SendAncillaryMessage::ScmRights(&beside)));
        let byte = [byte];
        let bytes = [IoSlice::new(&byte)];
        // The parent may have closed the connection.
        let flags = SendFlags::NOSIGNAL;
        if rustix::net::sendmsg(&socket, &bytes, &mut control, flags).is_err() {
            break;
        }
    }
    gate.wait();
    let _ = (&socket).write_all(&[0; 4095]);
}

/// The number of descriptors of that socket of which this process has most: all that are sent are of one. (Those of
/// other tests, which run at the same time, are of many.)
fn most_of_one_socket() -> usize {
    let entries = std::fs::read_dir("/proc/self/fd").expect("/proc").flatten();
    let targets = entries.filter_map(|entry| std::fs::read_link(entry.path()).ok());
    let mut counts = HashMap::new();
    for target in targets {
        if target.to_string_lossy().starts_with("socket:") {
            *counts.entry(target).or_insert(0) += 1;
        }
    }
    counts.into_values().max().unwrap_or(0)
}

/// The program takes few descriptors while the process waits, and the task fails.
async fn takes_no_descriptors(builder: ProcessPoolBuilder, gate: Gate) {
    const FEW: usize = 50;
    let pool = builder.max_workers(1).build().expect("a pool");
    let task = pool.submit(std::process::id, ());
    let mut task = pin!(within(task));
    // The worker may start a few times, or be ended before it waits.
    let outcome = loop {
        tokio::select! {
            outcome = &mut task => break outcome,
            guest = gate.guest() => {
                for _ in 0..100 {
                    assert!(most_of_one_socket() < FEW);
                    tokio::task::yield_now().await;
                }
                drop(guest); // Lets it continue.
            }
        }
    };
    let error = outcome.expect_err("no worker is ready");
    assert!(error.is_init_failed(), "{error}");
    assert!(most_of_one_socket() < FEW);
    within(pool.shutdown()).await;
}

async fn a_worker_that_is_not_ready_sends_no_descriptors(method: StartMethod) {
    let gate = Gate::new();
    let hostile = builder(method).initializer(send_descriptors, gate.key());
    takes_no_descriptors(hostile, gate).await;
}

async fn a_fork_server_that_is_not_ready_sends_no_descriptors(method: StartMethod) {
    if method != StartMethod::ForkServer {
        return; // The other methods have no preload.
    }
    let gate = Gate::new();
    let hostile = builder(method).preload(send_descriptors, gate.key());
    takes_no_descriptors(hostile, gate).await;
}

async fn a_worker_that_is_not_ready_sends_little(method: StartMethod) {
    /// Announces a frame, sends it byte by byte until the parent closes the connection, and records how much it sent.
    fn send_bytes(announced: u32, note: PathBuf) {
        let mut socket = own_socket();
        let mut sent = 0_usize;
        if socket.write_all(&announced.to_le_bytes()).is_ok() {
            while sent < 2 << 20 && socket.write(&[0]).is_ok() {
                sent += 1;
            }
        }
        std::fs::write(note, sent.to_string()).expect("a folder");
    }
    let folder = Folder::new();
    let note = folder.path().join("sent");
    for announced in [32 << 20, 200_000] {
        let hostile = builder(method).initializer(send_bytes, (announced, note.clone()));
        let pool = hostile.max_workers(1).build().expect("a pool");
        let error = within(pool.submit(std::process::id, ())).await;
        assert!(error.expect_err("no worker is ready").is_init_failed());
        within(pool.shutdown()).await;
        // If there is no record, the parent closed the connection before everything was sent.
        if let Ok(sent) = std::fs::read_to_string(&note) {
            let sent: usize = sent.parse().expect("a number");
            assert!(sent < 2 << 20, "{sent} bytes");
        }
    }
}
