//! Clients and listeners that are silent, send arbitrary data, or pretend to know the key.

use std::io::IoSlice;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd as _, OwnedFd};
use std::time::Duration;

use concurrent_futures::multiprocessing::{Client, ConnectError, Connection, Listener};
use futures::future::join;
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketAddrUnix,
    SocketFlags, SocketType, accept, bind, connect, listen, recv, send, sendmsg, socket_with,
};
use tokio::time::timeout;

use super::alone::{alone, descriptors};
use super::common::{in_thread, within};
use super::{Accepted, KEY, Place, SOON, TIME_LIMIT};

fn socket(kind: SocketType) -> OwnedFd {
    let flags = SocketFlags::CLOEXEC;
    socket_with(AddressFamily::UNIX, kind, flags, None).expect("a socket")
}

/// A client that has connected and sends nothing.
fn silent(place: &Place) -> OwnedFd {
    let client = socket(SocketType::SEQPACKET);
    let address = SocketAddrUnix::new(place.path()).expect("a path");
    connect(&client, &address).expect("it listens");
    client
}

/// The next message. Empty at the end.
fn next(socket: &OwnedFd) -> Vec<u8> {
    let mut buffer = [0; 200];
    loop {
        match recv(socket, &mut buffer, RecvFlags::empty()) {
            Ok((_, len)) => return buffer[..len].to_vec(),
            Err(Errno::CONNRESET) => {} // The listener has not read everything, but its own messages are still there.
            Err(error) => panic!("{error}"),
        }
    }
}

/// After this, the runtime watches the listener, by a descriptor of its own.
async fn wait_for_no_one(listener: &Listener) {
    let accepting = listener.accept::<u32, u32>();
    timeout(SOON, accepting)
        .await
        .map(drop)
        .expect_err("no client comes");
}

/// A well-behaved client connects to the listener, whatever the others do.
async fn meet(place: &Place, listener: &Listener) {
    let (client, accepting) = (place.client(), listener.accept::<u32, u32>());
    let (accepted, connected) = within(join(accepting, client.connect::<u32, u32>())).await;
    let (ours, theirs) = (accepted.expect("a client"), connected.expect("a listener"));
    theirs.send(5).await.expect("there is room");
    assert_eq!(within(ours.recv()).await.expect("it was sent"), 5);
}

#[tokio::test]
async fn a_wrong_key_is_an_error_for_the_client_and_costs_the_listener_nothing() {
    let place = Place::new();
    let listener = place.listener();
    let other = Client::new(place.path(), "another key").timeout(TIME_LIMIT);
    for count in 1..4 {
        let error: Result<Connection<u8, u8>, ConnectError> = tokio::select! {
            connected = within(other.connect()) => connected,
            _ = listener.accept::<u8, u8>() => unreachable!("no client has the key"),
        };
        let error = error.expect_err("another key");
        assert!(error.is_wrong_key(), "{error}");
        assert_eq!(listener.refused(), count);
    }
    meet(&place, &listener).await;
}

#[tokio::test]
async fn clients_that_are_silent_hold_up_no_other() {
    let place = Place::new();
    let listener = place.listener();
    let silent: Vec<_> = (0..20).map(|_| silent(&place)).collect();
    for _ in 0..3 {
        meet(&place, &listener).await;
    }
    assert_eq!(listener.refused(), 0, "they have time");
    drop(silent);
    meet(&place, &listener).await;
    assert_eq!(listener.refused(), 20);
}

#[tokio::test]
async fn a_client_that_is_silent_for_too_long_is_refused_while_the_listener_waits() {
    let place = Place::new();
    let listener = Listener::builder().handshake_timeout(SOON);
    let listener = listener.bind(place.path(), KEY).expect("the path is free");
    let silent = silent(&place);
    let heard = in_thread(move || [next(&silent), next(&silent)]);
    let [greeting, end] = tokio::select! {
        heard = within(heard) => heard,
        _ = listener.accept::<u8, u8>() => unreachable!("it is silent"),
    };
    assert!(!greeting.is_empty() && end.is_empty());
    assert_eq!(listener.refused(), 1);
    // A wait on a thread also ends it.
    let silent = self::silent(&place);
    let waits = in_thread(move || listener.blocking_accept_timeout::<u8, u8>(10 * SOON));
    let error = within(waits).await.expect_err("it is silent");
    assert!(error.is_timed_out());
    assert!(!next(&silent).is_empty() && next(&silent).is_empty());
}

#[tokio::test]
async fn a_client_that_sends_anything_else_is_refused_and_the_next_one_met() {
    let place = Place::new();
    let listener = place.listener();
    let mut refused = 0;
    for message in [&b"x"[..], b"cf-pipe\0", &[7; 74], &[0; 75], &[1; 100_000]] {
        for repeated in [1, 3] {
            let client = silent(&place);
            for _ in 0..repeated {
                send(&client, message, SendFlags::NOSIGNAL).expect("there is room");
            }
            meet(&place, &listener).await;
            refused += 1;
            assert_eq!(listener.refused(), refused);
            assert!(!next(&client).is_empty(), "the greeting");
            assert_eq!(next(&client).len(), 1, "the refusal");
        }
    }
}

#[test]
fn descriptors_that_a_client_sends_too_early_are_closed() {
    alone(
        "hostile::descriptors_that_a_client_sends_too_early_are_closed",
        async || {
            let place = Place::new();
            let listener = place.listener();
            meet(&place, &listener).await;
            wait_for_no_one(&listener).await;
            let before = descriptors().len();
            let client = silent(&place);
            let (file, mut space) = (client.as_fd(), [MaybeUninit::uninit(); 1024]);
            let mut beside = SendAncillaryBuffer::new(&mut space);
            let many = [file; 100];
            assert!(beside.push(SendAncillaryMessage::ScmRights(&many)));
            let bytes = [IoSlice::new(&[7; 74])];
            sendmsg(&client, &bytes, &mut beside, SendFlags::NOSIGNAL).expect("there is room");
            meet(&place, &listener).await;
            assert_eq!(listener.refused(), 1);
            drop(client);
            assert_eq!(descriptors().len(), before, "{:?}", descriptors());
        },
    );
}

#[test]
fn a_flood_of_clients_takes_few_descriptors_and_holds_up_no_other() {
    alone(
        "hostile::a_flood_of_clients_takes_few_descriptors_and_holds_up_no_other",
        async || {
            const FLOOD: usize = 300;
            let place = Place::new();
            let listener = place.listener();
            meet(&place, &listener).await;
            wait_for_no_one(&listener).await;
            let before = descriptors().len();
            let clients: Vec<_> = (0..FLOOD).map(|_| silent(&place)).collect();
            meet(&place, &listener).await;
            let taken = descriptors().len() - before - FLOOD;
            assert!((1..=64).contains(&taken), "{taken}");
            assert_eq!(listener.refused() as usize, FLOOD - taken);
            drop(clients);
            meet(&place, &listener).await;
            assert_eq!(descriptors().len(), before, "{:?}", descriptors());
            assert_eq!(listener.refused() as usize, FLOOD);
        },
    );
}

/// A listener that greets correctly, and then sends `decision`, or the client's own proof.
fn impostor(place: &Place, greeting: Option<Vec<u8>>, decision: Option<Vec<u8>>) {
    let listener = socket(SocketType::SEQPACKET);
    let _ = std::fs::remove_file(place.path());
    bind(
        &listener,
        &SocketAddrUnix::new(place.path()).expect("a path"),
    )
    .expect("it is free");
    listen(&listener, 1).expect("it is bound");
    std::thread::spawn(move || {
        let client = accept(&listener).expect("a client");
        let Some(greeting) = greeting else {
            return;
        };
        send(&client, &greeting, SendFlags::NOSIGNAL).expect("there is room");
        let answer = next(&client);
        if let Some(decision) = decision {
            let proof = answer.get(42..).unwrap_or_default();
            let decision = [&decision[..], proof].concat();
            let _ = send(&client, &decision, SendFlags::NOSIGNAL);
        }
    });
}

#[tokio::test]
async fn a_listener_that_misbehaves_is_an_error_of_the_client() {
    let place = Place::new();
    let greeting = || Some([&b"cf-pipe\0\x01\0"[..], &[7; 32]].concat());
    type Is = fn(&ConnectError) -> bool;
    type Case = (Option<Vec<u8>>, Option<Vec<u8>>, Is);
    let cases: [Case; 6] = [
        (None, None, ConnectError::is_closed),
        (Some(vec![7; 42]), None, ConnectError::is_other_version),
        (
            Some(b"cf-pipe\0\x02\0".to_vec()),
            None,
            ConnectError::is_other_version,
        ),
        (greeting(), None, ConnectError::is_closed),
        (greeting(), Some(vec![0]), ConnectError::is_wrong_key), // It sends the client's proof back.
        (greeting(), Some(vec![9]), ConnectError::is_other_version),
    ];
    for (greeting, decision, is) in cases {
        impostor(&place, greeting, decision);
        let connected = within(place.client().connect::<u8, u8>()).await;
        let error = connected.expect_err("it has no key");
        assert!(is(&error), "{error}");
    }
    let other = place.0.path().join("other");
    let _streams = std::os::unix::net::UnixListener::bind(&other).expect("it is free");
    let error = Client::new(&other, KEY).connect::<u8, u8>().await;
    assert!(error.expect_err("it has streams").is_not_listening());
}

#[tokio::test]
async fn a_listener_that_is_silent_is_a_timeout_of_the_client() {
    let place = Place::new();
    let listener = socket(SocketType::SEQPACKET);
    let address = SocketAddrUnix::new(place.path()).expect("a path");
    bind(&listener, &address).expect("it is free");
    listen(&listener, 0).expect("it is bound");
    let client = place.client().timeout(SOON);
    // The first one waits to be accepted; for the others there is not even room to wait.
    let mut waiting = Vec::new();
    for _ in 0..3 {
        let error = client.connect::<u8, u8>().await.expect_err("it is silent");
        assert!(error.is_timed_out(), "{error}");
        let thread = client.clone();
        let error = in_thread(move || thread.blocking_connect::<u8, u8>()).await;
        assert!(error.expect_err("it is silent").is_timed_out());
        let more = socket(SocketType::SEQPACKET);
        rustix::io::ioctl_fionbio(&more, true).expect("it is open");
        let _ = connect(&more, &address);
        waiting.push(more);
    }
}

/// A program that listens and does nothing else for a while.
#[tokio::test]
async fn a_client_waits_for_a_listener_that_is_busy() {
    let place = Place::new();
    let (listener, client) = (place.listener(), place.client());
    let mut connecting = Box::pin(client.connect::<u32, u32>());
    timeout(Duration::from_millis(20), &mut connecting)
        .await
        .map(drop)
        .expect_err("no one accepts");
    let accepting = async {
        let accepted: Accepted = listener.accept().await;
        accepted
    };
    let (accepted, connected) = within(join(accepting, connecting)).await;
    drop((accepted.expect("a client"), connected.expect("a listener")));
}
