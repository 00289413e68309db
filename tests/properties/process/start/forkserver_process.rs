//! Everything that a fork server may answer: anything about any request and any process, with any descriptors. A shell
//! plays the fork server here, and its child the forked process.

use std::cell::RefCell;
use std::io::{BufRead as _, Write as _};
use std::net::Shutdown;
use std::process::Command;

use proptest::prelude::*;
use proptest::test_runner::TestRunner;

use super::*;
use crate::common::{Change, cases, changes, memory_of};
use crate::process::start::Surroundings;

/// The most memory of answers: a frame of the greatest length, decoded.
const MOST_MEMORY: usize = 4 * LONGEST + (64 << 10);
/// The number of the request that must be answered.
const WANTED: u64 = FIRST;

/// The descriptor that comes with an answer.
#[derive(Clone, Copy, Debug)]
enum Beside {
    Nothing,
    /// The pidfd of the child.
    Child,
    /// That of this process.
    Own,
    /// That of its parent.
    Parent,
    NoProcess,
    Two,
}

/// The process that an answer names.
#[derive(Clone, Copy, Debug)]
enum Named {
    Child,
    Own,
    Other(u32),
}

#[derive(Clone, Debug)]
enum Words {
    Forked(u64, Named),
    Refused(u64, String),
    Exited(Named, Option<i32>),
    Other(Vec<u8>),
}

type Said = (Words, Change, Beside);

fn said() -> impl Strategy<Value = Said> {
    let request = || prop_oneof![6 => Just(WANTED), 2 => 0_u64..4, 1 => any::<u64>()];
    let named = || {
        prop_oneof![
            6 => Just(Named::Child),
            1 => Just(Named::Own),
            1 => (0_u32..3).prop_map(Named::Other),
            1 => any::<u32>().prop_map(Named::Other),
        ]
    };
    let words = prop_oneof![
        6 => (request(), named()).prop_map(|(request, named)| Words::Forked(request, named)),
        1 => (request(), any::<String>()).prop_map(|(request, why)| Words::Refused(request, why)),
        2 => (named(), any::<Option<i32>>()).prop_map(|(named, code)| Words::Exited(named, code)),
        1 => prop::collection::vec(any::<u8>(), 0..300).prop_map(Words::Other),
    ];
    let beside = prop_oneof![
        4 => Just(Beside::Child),
        4 => Just(Beside::Nothing),
        1 => Just(Beside::Own),
        1 => Just(Beside::Parent),
        1 => Just(Beside::NoProcess),
        1 => Just(Beside::Two),
    ];
    (words, changes(), beside)
}

/// A shell, which forks as a fork server does. Everything that it has forked is in its process group, and ends with it.
struct Shell {
    process: ChildProcess,
    requests: io::PipeWriter,
    pids: io::BufReader<io::PipeReader>,
}

impl Shell {
    fn new() -> Self {
        let (stdin, requests) = io::pipe().expect("a pipe");
        let (pids, stdout) = io::pipe().expect("a pipe");
        let mut shell = Command::new("sh");
        shell.args(["-c", "while read line; do sleep 3600 & echo $!; done"]);
        let process = ChildProcess::spawn(shell.stdin(stdin).stdout(stdout));
        Self {
            process: process.expect("a process"),
            requests,
            pids: io::BufReader::new(pids),
        }
    }

    fn fork(&mut self) -> Forked {
        self.requests.write_all(b"fork\n").expect("it reads");
        let mut pid = String::new();
        self.pids.read_line(&mut pid).expect("it answers");
        let pid = pid.trim().parse().expect("a number");
        let pidfd = sys::open_child(pid).expect("a process");
        Forked { pid, pidfd }
    }
}

/// A child of the shell. A case that takes it over kills it.
struct Forked {
    pid: u32,
    pidfd: OwnedFd,
}

impl Forked {
    fn number(&self, named: Named) -> u32 {
        match named {
            Named::Child => self.pid,
            Named::Own => std::process::id(),
            Named::Other(pid) => pid,
        }
    }

    fn bytes(&self, words: Words, change: &Change) -> Vec<u8> {
        let answer = match words {
            Words::Forked(request, named) => FromForkServer::Forked {
                request,
                pid: self.number(named),
            },
            Words::Refused(request, reason) => FromForkServer::Refused { request, reason },
            Words::Exited(named, code) => FromForkServer::Exited {
                pid: self.number(named),
                code,
                signal: None,
            },
            Words::Other(bytes) => return bytes,
        };
        let mut out = Chain::new();
        message::put(&mut out, &answer);
        change.make(out.into_bytes().to_vec())
    }
}

struct Others {
    own: OwnedFd,
    parent: OwnedFd,
    file: OwnedFd,
}

/// The parent's end of a fork server that has sent `said` and will send no more.
fn fork_server(
    said: Vec<Said>,
    shell: &ChildProcess,
    forked: &Forked,
    others: &Others,
) -> (ForkServerProcess, Socket) {
    let (ours, theirs) = sys::socket_pair().expect("a socket pair");
    let (ours, theirs) = (Socket::from(ours), Socket::from(theirs));
    ours.set_nonblocking(true).expect("a socket");
    let pidfd = &forked.pidfd;
    for (words, change, beside) in said {
        let bytes = forked.bytes(words, &change);
        let fds = match beside {
            Beside::Nothing => vec![],
            Beside::Child => vec![pidfd.as_fd()],
            Beside::Own => vec![others.own.as_fd()],
            Beside::Parent => vec![others.parent.as_fd()],
            Beside::NoProcess => vec![others.file.as_fd()],
            Beside::Two => vec![pidfd.as_fd(), others.own.as_fd()],
        };
        let _ = sys::send_with_fds(theirs.as_fd(), &[io::IoSlice::new(&bytes)], &fds);
    }
    let _ = theirs.shutdown(Shutdown::Write);
    let process = ForkServerProcess {
        process: Mutex::new(None),
        socket: ours,
        surroundings: Surroundings::default().of_fork_server(),
        role: Role::Worker,
        inbox: tokio::sync::Mutex::new(ForkServerInbox {
            frames: FrameBuffer::new(LONGEST),
            fds: VecDeque::new(),
            last_request: FIRST,
        }),
        silent_since: Mutex::new(None),
        pid: shell.id(),
        pidfd: shell.pidfd().clone(),
        forgotten: Mutex::default(),
    };
    (process, theirs)
}

#[test]
fn whatever_a_fork_server_answers_only_a_child_of_its_own_is_believed() {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.enable_all().build().expect("a runtime");
    let others = Others {
        own: sys::open_child(std::process::id()).expect("a pidfd"),
        parent: sys::open_child(std::os::unix::process::parent_id()).expect("a pidfd"),
        file: std::fs::File::open("/dev/null").expect("a file").into(),
    };
    let mut shell = Shell::new();
    let first = shell.fork();
    let (shell, forked) = (RefCell::new(shell), RefCell::new(first));
    let mut runner = TestRunner::new(cases(3000));
    let input = (prop::collection::vec(said(), 0..5), any::<bool>());
    let tried = runner.run(&input, |(said, asks_again)| {
        if sys::is_readable(&forked.borrow().pidfd) {
            forked.replace(shell.borrow_mut().fork());
        }
        let is_asked = |(words, change, _): &Said| {
            let is_other = matches!(words, Words::Forked(WANTED, _) | Words::Other(_));
            is_other || !matches!(change, Change::Nothing)
        };
        let is_possible = said.iter().any(is_asked) && !asks_again;
        let is_plain = matches!(
            said[..],
            [(
                Words::Forked(WANTED, Named::Child),
                Change::Nothing,
                Beside::Child
            )]
        );
        let (server, _theirs) =
            fork_server(said, &shell.borrow().process, &forked.borrow(), &others);
        let limit = Duration::from_secs(60);
        let ask = async {
            if !asks_again {
                return server.first_fork(limit).await;
            }
            // All answers are older than this request.
            let request = ForkRequest {
                role: Role::Worker,
                fds: Vec::new(),
                change: SurroundingsChange::default(),
            };
            server.fork(request, limit).await
        };
        let (outcome, memory) = memory_of(|| runtime.block_on(ask));
        server.forgotten().clear(); // The shell reaps these processes.
        prop_assert!(memory <= MOST_MEMORY, "{} bytes", memory);
        match outcome {
            Ok(Some(process)) => {
                prop_assert!(is_possible);
                prop_assert_eq!(process.id(), forked.borrow().pid);
            }
            other => prop_assert!(!is_plain || asks_again, "{:?}", other.err()),
        }
        Ok(())
    });
    tried.unwrap_or_else(|failure| panic!("{failure}"));
}
