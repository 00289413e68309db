//! The path of a listener.

use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::os::unix::net::UnixDatagram;

use concurrent_futures::multiprocessing::{Client, Listener};
use rustix::net::{
    AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, listen, socket_with,
};

use super::{KEY, Place};

#[test]
fn a_path_that_a_killed_program_has_left_is_taken_over() {
    let place = Place::new();
    let flags = SocketFlags::CLOEXEC;
    let socket = socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None);
    let socket = socket.expect("a socket");
    let address = SocketAddrUnix::new(place.path()).expect("a path");
    bind(&socket, &address).expect("it is free");
    listen(&socket, 1).expect("it is bound");
    let error = Listener::bind(place.path(), KEY).expect_err("a program listens");
    assert!(error.is_in_use(), "{error}");
    drop(socket); // The system does the same for a killed process.
    assert!(place.path().exists());
    let listener = place.listener();
    let error = Listener::bind(place.path(), KEY).expect_err("a program listens");
    assert!(error.is_in_use(), "{error}");
    drop(listener);
    assert!(!place.path().exists(), "the path is free again");
    drop(place.listener());
}

#[test]
fn a_file_of_no_listener_is_not_touched() {
    let place = Place::new();
    std::fs::write(place.path(), "text").expect("a file");
    let in_use = || Listener::bind(place.path(), KEY).expect_err("it is taken");
    assert!(in_use().is_in_use());
    assert!(
        in_use()
            .to_string()
            .contains(&place.path().display().to_string())
    );
    std::fs::remove_file(place.path()).expect("it is there");
    let elsewhere = place.0.path().join("elsewhere");
    symlink(&elsewhere, place.path()).expect("a link");
    assert!(in_use().is_in_use());
    std::fs::remove_file(place.path()).expect("it is there");
    let datagrams = UnixDatagram::bind(place.path()).expect("it is free");
    assert!(in_use().is_in_use());
    drop(datagrams);
    assert!(place.path().exists() && !elsewhere.exists());
}

#[test]
fn a_listener_removes_its_own_socket_only() {
    let place = Place::new();
    let listener = place.listener();
    let mode = std::fs::metadata(place.path())
        .expect("it is there")
        .permissions()
        .mode();
    assert_eq!(mode & 0o777 & !0o600, 0, "only its user may connect");
    std::fs::remove_file(place.path()).expect("it is there");
    let successor = place.listener();
    drop(listener);
    assert!(place.path().exists(), "it is the successor's");
    drop(successor);
    assert!(!place.path().exists());
}

#[test]
fn an_unusable_path_or_key_is_an_error_that_says_why() {
    let place = Place::new();
    let long = place.0.path().join("x".repeat(200));
    for path in [std::path::Path::new(""), &long] {
        let error = Listener::bind(path, KEY).expect_err("it is no path");
        assert!(error.is_invalid(), "{error}");
        let error = Client::new(path, KEY).blocking_connect::<u8, u8>();
        assert!(error.expect_err("it is no path").is_invalid());
    }
    let error = Listener::bind(place.path(), "").expect_err("it is no key");
    assert!(
        error.is_invalid() && error.to_string().contains("key"),
        "{error}"
    );
    assert!(!place.path().exists());
    let error = Client::new(place.path(), KEY).blocking_connect::<u8, u8>();
    assert!(error.expect_err("it is not there").is_not_listening());
    let client = Client::new(place.path(), KEY);
    assert!(!format!("{client:?}").contains(KEY));
    let missing = place.0.path().join("missing/socket");
    let error = Listener::bind(missing, KEY).expect_err("there is no such directory");
    assert!(error.is_not_listening(), "{error}");
}
