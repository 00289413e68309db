//! A process that is forked by other means than this crate has copies of its parent's connections.

use std::time::Duration;

use concurrent_futures::multiprocessing::{Client, Connection, Listener};
use rustix::process::{Pid, WaitOptions, waitpid};
use tokio::time::timeout;

use super::alone::{alone, descriptors};
use super::common::folder::Folder;
use super::common::within;
use super::one_way;

const SOON: Duration = Duration::from_millis(5);

/// Forks this process. The child does `work` and exits.
fn in_fork(work: impl FnOnce()) {
    #[expect(unsafe_code, reason = "forks")]
    // SAFETY: the child uses only what no other thread of this process uses.
    let pid = unsafe { libc::fork() };
    if pid == 0 {
        let passed = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work)).is_ok();
        #[expect(unsafe_code, reason = "ends the child")]
        // SAFETY: it only ends the process.
        unsafe {
            libc::_exit(i32::from(!passed))
        }
    }
    let pid = Pid::from_raw(pid).expect("it was forked");
    let waited = waitpid(Some(pid), WaitOptions::empty()).expect("it is a child");
    let (_, status) = waited.expect("it has ended");
    assert_eq!(status.exit_status(), Some(0), "{status:?}");
}

#[test]
fn a_connection_that_a_fork_drops_still_wakes_its_parent() {
    let test = "forks::a_connection_that_a_fork_drops_still_wakes_its_parent";
    alone(test, async || {
        let (to, from): (Connection<u32, ()>, _) = one_way();
        // After this, the runtime watches the socket, by a descriptor of its own.
        assert!(!from.poll(SOON).await);
        let mut from = Some(from);
        in_fork(|| {
            let before = descriptors().len();
            drop(from.take());
            assert_eq!(descriptors().len(), before - 2);
        });
        let from = from.expect("only the fork has dropped it");
        let mut waits = Box::pin(from.recv());
        timeout(SOON, &mut waits)
            .await
            .expect_err("nothing was sent");
        to.send(7).await.expect("there is room");
        assert_eq!(within(waits).await.expect("it was sent"), 7);
    });
}

#[test]
fn a_listener_that_a_fork_drops_still_listens() {
    let test = "forks::a_listener_that_a_fork_drops_still_listens";
    alone(test, async || {
        let folder = Folder::new();
        let path = folder.path().join("socket");
        let mut listener = Some(Listener::bind(&path, "key").expect("the path is free"));
        let waits = listener.as_ref().expect("it is here").accept::<u8, u8>();
        timeout(SOON, waits)
            .await
            .map(drop)
            .expect_err("no client comes");
        in_fork(|| drop(listener.take()));
        let listener = listener.expect("only the fork has dropped it");
        let client = Client::new(&path, "key");
        let (waits, connects) = (listener.accept::<u8, u8>(), client.connect::<u8, u8>());
        let (accepted, connected) = within(futures::future::join(waits, connects)).await;
        drop((accepted.expect("a client"), connected.expect("a listener")));
    });
}
