//! A hostile preload that sends answers in place of its fork server.

use std::fs::File;
use std::io::{BufRead as _, BufReader, IoSlice};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd as _, OwnedFd};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use concurrent_futures::{ExecutorExt as _, StartMethod};
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open, test_kill_process};

use super::common::within;
use super::inside::{READY, message, own_socket};
use super::methods::{builder, run};

/// A variant of `FromForkServer`.
const FORKED: u8 = 0;
/// The number of the request in the first message.
const FIRST: u8 = 1;

fn pid(id: u32) -> Pid {
    Pid::from_raw(id.cast_signed()).expect("a process id")
}

/// The process that the preload claims to have forked.
#[derive(Clone, Copy, Debug, serde::Serialize, serde::Deserialize)]
enum Lie {
    /// A pidfd and the id of another process.
    Process(u32),
    /// A file, and the id of another process.
    File(u32),
    /// A pidfd of one process, and the id of another.
    Mixed(u32, u32),
    /// The fork server itself.
    Itself,
}

/// In the fork server: reports that it is ready, and that the worker is this process. Does nothing else.
fn lie(lie: Lie) {
    let own = std::process::id();
    let pidfd = |id| pidfd_open(pid(id), PidfdFlags::empty()).expect("a pidfd");
    let (fd, id): (OwnedFd, u32) = match lie {
        Lie::Process(id) => (pidfd(id), id),
        Lie::File(id) => (File::open("/dev/null").expect("a file").into(), id),
        Lie::Mixed(id, other) => (pidfd(id), other),
        Lie::Itself => (pidfd(own), own),
    };
    let id = id.to_be_bytes();
    let forked = [&[0x92, FIRST, 0xce][..], &id].concat();
    let bytes = [message(READY, &[0xc0]), message(FORKED, &forked)].concat();
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut beside = SendAncillaryBuffer::new(&mut space);
    let fds = [fd.as_fd()];
    assert!(beside.push(SendAncillaryMessage::ScmRights(&fds)));
    let socket = own_socket();
    let sent = sendmsg(
        &socket,
        &[IoSlice::new(&bytes)],
        &mut beside,
        SendFlags::empty(),
    );
    assert_eq!(sent, Ok(bytes.len()));
    loop {
        std::thread::park();
    }
}

/// A process that this one has started, and one that it has not. They end together.
struct Bystanders {
    child: Child,
    grandchild: u32,
}

impl Bystanders {
    fn start() -> Self {
        let mut shell = Command::new("sh");
        shell.args(["-c", "sleep 3600 & echo $!; wait"]);
        let mut child = shell.stdout(Stdio::piped()).spawn().expect("a shell");
        let mut line = String::new();
        let stdout = child.stdout.take().expect("it is piped");
        BufReader::new(stdout).read_line(&mut line).expect("a line");
        Self {
            child,
            grandchild: line.trim().parse().expect("a process id"),
        }
    }

    fn assert_alive(&mut self) {
        let end = self.child.try_wait().expect("it is a child");
        assert!(end.is_none(), "the shell was killed: {end:?}");
        test_kill_process(pid(self.grandchild)).expect("it was killed");
    }
}

impl Drop for Bystanders {
    fn drop(&mut self) {
        let _ = kill_process(pid(self.grandchild), Signal::KILL);
        let _ = self.child.wait();
    }
}

/// The parent does not signal a process merely because its fork server names it.
#[test]
fn a_fork_server_that_answers_with_a_foreign_process_harms_none() {
    run(2, async {
        let mut bystanders = Bystanders::start();
        let (child, grandchild) = (bystanders.child.id(), bystanders.grandchild);
        for what in [
            Lie::Process(child),
            Lie::Process(grandchild),
            Lie::File(grandchild),
            Lie::Mixed(grandchild, child),
            Lie::Itself,
        ] {
            let pool = builder(StartMethod::ForkServer)
                .max_workers(1)
                .preload(lie, what)
                .spawn_timeout(Duration::from_millis(500));
            let pool = pool.build().expect("a pool");
            let error = within(pool.submit(u32::pow, (2, 3))).await;
            let error = error.expect_err("there is no worker");
            assert!(error.is_init_failed(), "{what:?}: {error}");
            within(pool.shutdown()).await;
            bystanders.assert_alive();
            let text = error.to_string();
            assert!(
                text.contains("a process that is none of its own"),
                "{what:?}: {text}"
            );
        }
    });
}
