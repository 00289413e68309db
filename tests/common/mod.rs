//! How tests wait. A task in any process announces itself at a gate and waits until the test opens it. Also a time
//! limit, so that a hang is a failure.

use std::ffi::{OsStr, OsString};
use std::future::Future;
use std::io::{Read as _, Write as _};
use std::panic::Location;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use self::door::{Listener, Stream};
use self::folder::Folder;

mod door;
pub(crate) mod folder;

/// The longest time that a test waits for one thing.
const TIME_LIMIT: Duration = Duration::from_secs(30);

/// Awaits `future`. A hang is a panic that names the place.
#[track_caller]
pub(crate) fn within<F: Future>(future: F) -> impl Future<Output = F::Output> {
    let place = Location::caller();
    async move {
        match tokio::time::timeout(TIME_LIMIT, future).await {
            Ok(output) => output,
            Err(_) => panic!("waited for {TIME_LIMIT:?} in vain at {place}"),
        }
    }
}

/// Polls until `condition` holds. For conditions without an event to wait for.
#[track_caller]
pub(crate) fn eventually(mut condition: impl FnMut() -> bool) -> impl Future<Output = ()> {
    within(async move {
        while !condition() {
            std::thread::yield_now();
            tokio::task::yield_now().await;
        }
    })
}

/// Runs blocking work in a separate thread. If it hangs, no runtime waits for it.
pub(crate) fn in_thread<R: Send + 'static>(
    work: impl FnOnce() -> R + Send + 'static,
) -> impl Future<Output = R> {
    let (done, outcome) = tokio::sync::oneshot::channel();
    std::thread::spawn(move || drop(done.send(work())));
    async move { outcome.await.expect("no panic") }
}

/// A gate: tasks wait at it until the test lets them continue. Dropping it lets all of them continue.
pub(crate) struct Gate {
    listener: Listener,
    directory: Folder,
}

/// How a task finds its gate. Can be sent to other processes.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Key(PathBuf);

/// A task that waits at a gate.
pub(crate) struct Guest {
    stream: Stream,
    pid: u32,
}

impl Gate {
    /// A closed gate.
    pub(crate) fn new() -> Self {
        let directory = Folder::new();
        let listener = door::bind(&directory.path().join("gate")).expect("a gate");
        Self {
            listener,
            directory,
        }
    }

    pub(crate) fn key(&self) -> Key {
        Key(self.directory.path().join("gate"))
    }

    /// The next task that arrives. A task that is killed before it has identified itself has not arrived.
    #[track_caller]
    pub(crate) fn guest(&self) -> impl Future<Output = Guest> {
        within(async {
            loop {
                let (mut stream, _) = self.listener.accept().await.expect("a guest");
                if let Ok(pid) = stream.read_u32().await {
                    return Guest { stream, pid };
                }
            }
        })
    }
}

impl Key {
    /// Keys as one environment variable.
    pub(crate) fn join(keys: &[Self]) -> OsString {
        std::env::join_paths(keys.iter().map(|key| &key.0)).expect("folders without a colon")
    }

    /// The keys that [`Key::join`] joined.
    pub(crate) fn split<const N: usize>(keys: &OsStr) -> [Self; N] {
        let keys: Vec<Self> = std::env::split_paths(keys).map(Self).collect();
        keys.try_into().expect("as many as were joined")
    }

    /// Called by a task: announces it, and waits until the test lets it in.
    pub(crate) fn wait(&self) {
        self.wait_as(std::process::id());
    }

    /// As `wait`, under the id of another process.
    pub(crate) fn wait_as(&self, pid: u32) {
        if let Ok(mut stream) = door::connect(&self.0) {
            let _ = stream.write_all(&pid.to_be_bytes());
            let _ = stream.read(&mut [0]);
        }
    }
}

impl Guest {
    /// The id of the task's process.
    pub(crate) fn pid(&self) -> u32 {
        self.pid
    }

    /// Lets the task continue.
    pub(crate) async fn let_in(mut self) {
        self.stream.write_u8(1).await.expect("the guest is there");
    }

    /// Waits until the task has left the gate without the test's permission, because its process has ended.
    #[track_caller]
    pub(crate) fn gone(mut self) -> impl Future<Output = ()> {
        within(async move {
            let end = self.stream.read(&mut [0]).await;
            assert!(matches!(end, Ok(0) | Err(_)), "a guest speaks only once");
        })
    }
}

/// Also uses the helpers that some test files do not use.
#[tokio::test]
async fn a_gate_holds_its_guests_until_they_are_let_in() {
    let gate = Gate::new();
    let [key] = Key::split(&Key::join(&[gate.key()]));
    let task = tokio::spawn(in_thread(move || key.wait()));
    let guest = gate.guest().await;
    assert_eq!(guest.pid(), std::process::id());
    assert!(!task.is_finished());
    guest.let_in().await;
    within(task).await.expect("it was let in");
    let key = gate.key();
    let task = tokio::task::spawn_blocking(move || drop(door::connect(&key.0)));
    let (stream, _) = gate.listener.accept().await.expect("a guest");
    Guest { stream, pid: 0 }.gone().await;
    eventually(|| task.is_finished()).await;
}
