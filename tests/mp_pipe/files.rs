//! Open files that are sent: as arguments, in queues and through pipes.

use std::fs::File;
use std::io::{Read as _, Seek as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsFd as _;

use concurrent_futures::ExecutorExt as _;
use concurrent_futures::multiprocessing::{Connection, Fd, Queue, pipe};
use rustix::fs::{OFlags, fcntl_getfl};
use rustix::io::{FdFlags, fcntl_getfd};

use super::alone::{alone, descriptors};
use super::common::within;
use super::{one_way, pool};

#[tokio::test]
async fn a_worker_accepts_from_a_listening_socket_that_it_is_sent() {
    fn serve(listener: Fd) -> u32 {
        let listener = TcpListener::from(listener.into_inner());
        let (mut client, _) = listener.accept().expect("a client");
        let mut text = String::new();
        client.read_to_string(&mut text).expect("it is text");
        client
            .write_all(text.to_uppercase().as_bytes())
            .expect("it is read");
        std::process::id()
    }
    let pool = pool(1);
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("it is bound");
    let task = pool.submit(serve, Fd::from(listener));
    let mut client = TcpStream::connect(address).expect("it listens");
    client.write_all(b"hello").expect("it is read");
    client
        .shutdown(std::net::Shutdown::Write)
        .expect("it is open");
    let worker = within(task).await.expect("it ends");
    assert_ne!(worker, std::process::id());
    let mut text = String::new();
    client.read_to_string(&mut text).expect("it is text");
    assert_eq!(text, "HELLO");
    TcpStream::connect(address).expect_err("every process has closed it");
    within(pool.shutdown()).await;
}

fn file() -> File {
    let fd = rustix::fs::memfd_create("test", rustix::fs::MemfdFlags::empty());
    File::from(fd.expect("a file"))
}

#[tokio::test]
async fn a_file_travels_through_a_queue_and_through_a_connection() {
    fn append(files: Queue<(String, Fd)>, back: Connection<Fd, ()>) {
        let (text, file) = files.blocking_get().expect("it comes");
        let mut file = File::from(file.into_inner());
        file.write_all(text.as_bytes()).expect("it is open");
        back.blocking_send(Fd::from(file)).expect("it is received");
    }
    let pool = pool(1);
    let files = Queue::unbounded().expect("a queue");
    let (back, ours) = one_way();
    let task = pool.submit(append, (files.clone(), back));
    let mut original = file();
    original.write_all(b"one ").expect("there is room");
    let copy = Fd::from(original.try_clone().expect("a copy"));
    files
        .put(("two".to_owned(), copy))
        .await
        .expect("there is room");
    let back = within(ours.recv()).await.expect("it comes");
    within(task).await.expect("it ends");
    // One open file description has one position.
    assert_eq!(original.stream_position().expect("it is a file"), 7);
    let mut file = File::from(back.into_inner());
    file.rewind().expect("it is a file");
    let mut text = String::new();
    original.read_to_string(&mut text).expect("it is text");
    assert_eq!(text, "one two");
    within(pool.shutdown()).await;
}

#[test]
fn a_received_file_is_closed_on_exec_and_as_blocking_as_it_was() {
    let (one, other) = pipe::<Vec<Fd>, ()>().expect("a pipe");
    let (reader, _writer) = std::io::pipe().expect("a pipe");
    let (socket, _other) = std::os::unix::net::UnixStream::pair().expect("sockets");
    socket.set_nonblocking(true).expect("it is open");
    rustix::io::fcntl_setfd(&reader, FdFlags::empty()).expect("it is open");
    let sent = one.try_send(vec![Fd::from(reader), Fd::from(socket)]);
    sent.expect("there is room");
    let files = other.try_recv().expect("they are there");
    let flags = |fd: &Fd| fcntl_getfl(fd.as_fd()).expect("it is open");
    for file in &files {
        let flags = fcntl_getfd(file.as_fd()).expect("it is open");
        assert!(flags.contains(FdFlags::CLOEXEC));
    }
    assert!(!flags(&files[0]).contains(OFlags::NONBLOCK));
    assert!(flags(&files[1]).contains(OFlags::NONBLOCK));
}

#[test]
fn a_file_that_travels_leaves_no_descriptor() {
    alone(
        "files::a_file_that_travels_leaves_no_descriptor",
        async || {
            let (to, from) = one_way::<Option<Fd>>();
            let queue = Queue::unbounded().expect("a queue");
            let mut before = usize::MAX;
            for round in 0..3 {
                to.try_send(Some(Fd::from(file()))).expect("there is room");
                let file = from.try_recv().expect("it is there").expect("a file");
                let copy = file.try_clone().expect("a copy");
                queue.try_put((file, copy)).expect("there is room");
                drop(queue.try_get().expect("it is there"));
                let (refused, receiver) = one_way::<Fd>();
                drop(receiver);
                let error = refused.try_send(Fd::from(self::file()));
                let file = error.expect_err("it is closed").into_inner();
                drop(file.into_inner());
                drop(refused);
                let open = descriptors().len();
                assert!(round == 0 || open == before, "{open} of {before}");
                before = open;
            }
        },
    );
}

#[tokio::test]
async fn a_file_as_a_result_is_an_error_that_says_where_it_can_be_sent() {
    let pool = pool(1);
    let open = || Fd::from(File::open("/dev/null").expect("it is there"));
    let error = within(pool.submit(open, ())).await.expect_err("no result");
    assert!(error.to_string().contains("open file"), "{error}");
    assert!(error.to_string().contains("`Queue`"), "{error}");
    within(pool.shutdown()).await;
}
