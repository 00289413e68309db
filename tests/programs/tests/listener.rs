//! Two programs that have only the crate, a path and a key in common.

#![cfg(target_os = "linux")]

use std::fs::File;
use std::io::{Read as _, Seek as _};
use std::process::{Command, Stdio};
use std::time::Duration;

use concurrent_futures::multiprocessing::{ConnectError, Connection, Fd, Listener, Lock, Queue};

const CLIENT: &str = env!("CARGO_BIN_EXE_client");
const TIME_LIMIT: Duration = Duration::from_secs(30);

type Offer = Option<(Lock, Queue<u64>, Fd)>;

#[test]
fn objects_travel_between_unrelated_programs() {
    let folder = std::env::temp_dir().join(format!("cf-programs-{}", std::process::id()));
    std::fs::create_dir(&folder).expect("a folder");
    let path = folder.join("socket");
    let listener = Listener::bind(&path, "the key").expect("it is free");
    let client = |key: &str| {
        let mut client = Command::new(CLIENT);
        client.arg(&path).arg(key).stdout(Stdio::piped());
        client.spawn().expect("it starts")
    };

    let other = client("another key");
    let accepted: Result<Connection<Offer, u32>, ConnectError> =
        listener.blocking_accept_timeout(Duration::from_secs(5));
    assert!(accepted.expect_err("it has another key").is_timed_out());
    let output = other.wait_with_output().expect("it ends");
    assert_eq!(output.status.code(), Some(3));
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(text.contains("has another key"), "{text}");
    assert_eq!(listener.refused(), 1);

    let mut process = client("the key");
    let accepted = listener.blocking_accept_timeout(TIME_LIMIT);
    let client: Connection<Offer, u32> = accepted.expect("it knows the key");
    let (lock, queue) = (
        Lock::new().expect("a lock"),
        Queue::unbounded().expect("a queue"),
    );
    let mut file = File::options();
    let file = file.read(true).write(true).create(true).truncate(true);
    let mut file = file.open(folder.join("file")).expect("a file");
    let copy = Fd::from(file.try_clone().expect("a copy"));
    let sent = client.blocking_send(Some((lock.clone(), queue.clone(), copy)));
    sent.expect("it is received");
    let pid = client
        .blocking_recv_timeout(TIME_LIMIT)
        .expect("it answers");
    assert_eq!(pid, process.id());
    assert_eq!(queue.blocking_get().expect("it was put"), 42);
    file.rewind().expect("it is a file");
    let mut text = String::new();
    file.read_to_string(&mut text).expect("it is text");
    assert_eq!(text, "written by another program");
    assert!(lock.try_lock().is_none(), "the other program has it");
    process.kill().expect("it runs");
    process.wait().expect("it ends");
    assert!(lock.blocking_lock_timeout(TIME_LIMIT).is_some());
    drop(listener);
    assert!(!path.exists());
    std::fs::remove_dir_all(folder).expect("it is there");
}
