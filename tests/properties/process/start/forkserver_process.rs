//! What a fork server may answer: anything about any request and any process, with any descriptors beside it. This
//! process is the fork server here, and its child is the one that was forked.

use std::net::Shutdown;
use std::process::Command;

use proptest::prelude::*;
use proptest::test_runner::TestRunner;

use super::*;
use crate::common::{Change, cases, changes, memory_of};
use crate::process::start::Surroundings;

/// The most memory that answers take: a frame of the greatest length, decoded.
const MOST_MEMORY: usize = 4 * LONGEST + (64 << 10);
/// The number of the request that has to be answered.
const WANTED: u64 = FIRST + 1;

/// The descriptor beside an answer.
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

/// The child, which a case that takes it over kills.
struct Forked(ChildProcess);

impl Forked {
    fn new() -> Self {
        let process = ChildProcess::spawn(Command::new("sleep").arg("3600"));
        Self(process.expect("a process"))
    }

    fn number(&self, named: Named) -> u32 {
        match named {
            Named::Child => self.0.id(),
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
fn fork_server(said: Vec<Said>, forked: &Forked, others: &Others) -> (ForkServerProcess, Socket) {
    let (ours, theirs) = sys::socket_pair().expect("a socket pair");
    let (ours, theirs) = (Socket::from(ours), Socket::from(theirs));
    ours.set_nonblocking(true).expect("a socket");
    let pidfd = forked.0.pidfd();
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
        inbox: tokio::sync::Mutex::new(ForkServerInbox {
            frames: FrameBuffer::new(LONGEST),
            fds: VecDeque::new(),
            last_request: FIRST,
        }),
        silent_since: Mutex::new(None),
        pid: std::process::id(),
        pidfd: pidfd.clone(),
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
    let forked = std::cell::RefCell::new(Forked::new());
    let mut runner = TestRunner::new(cases(3000));
    let input = prop::collection::vec(said(), 0..5);
    let tried = runner.run(&input, |said| {
        if forked.borrow().0.has_ended() {
            forked.replace(Forked::new());
        }
        let is_asked =
            |(words, ..): &Said| matches!(words, Words::Forked(WANTED, _) | Words::Other(_));
        let is_possible = said.iter().any(is_asked)
            || said
                .iter()
                .any(|(_, change, _)| !matches!(change, Change::Nothing));
        let (server, _theirs) = fork_server(said, &forked.borrow(), &others);
        let request = ForkRequest {
            role: Role::Worker,
            fds: Vec::new(),
            change: SurroundingsChange::default(),
        };
        let limit = Duration::from_secs(60);
        let (outcome, memory) = memory_of(|| runtime.block_on(server.fork(request, limit)));
        server.forgotten().clear(); // This process reaps them itself.
        prop_assert!(memory <= MOST_MEMORY, "{} bytes", memory);
        if let Ok(Some(process)) = outcome {
            prop_assert!(is_possible);
            prop_assert_eq!(process.id(), forked.borrow().0.id());
        }
        Ok(())
    });
    tried.unwrap_or_else(|failure| panic!("{failure}"));
}
