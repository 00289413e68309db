//! Pipes between programs that meet at a path: which clients are accepted, and the effect of a client or a listener
//! that misbehaves.

#![cfg(feature = "multiprocessing")]
#![cfg(target_os = "linux")]

#[path = "../common/again.rs"]
mod again;
#[expect(dead_code, reason = "other tests use the rest")]
#[path = "../common/alone.rs"]
mod alone;
#[path = "../common/mod.rs"]
mod common;
mod hostile;
mod meeting;
mod paths;

use std::path::PathBuf;
use std::time::Duration;

use concurrent_futures::multiprocessing::{Client, ConnectError, Connection, Listener};

use self::common::folder::Folder;

concurrent_futures::init_before_main!();

const KEY: &str = "the key of these tests";

/// How long a blocking method may wait for an event that is certain to happen.
const TIME_LIMIT: Duration = Duration::from_secs(30);

const SOON: Duration = Duration::from_millis(5);

type Accepted = Result<Connection<u32, u32>, ConnectError>;

/// A path for a socket, in a folder of its own.
struct Place(Folder);

impl Place {
    fn new() -> Self {
        Self(Folder::new())
    }

    fn path(&self) -> PathBuf {
        self.0.path().join("socket")
    }

    fn listener(&self) -> Listener {
        Listener::bind(self.path(), KEY).expect("the path is free")
    }

    fn client(&self) -> Client {
        Client::new(self.path(), KEY).timeout(TIME_LIMIT)
    }
}
