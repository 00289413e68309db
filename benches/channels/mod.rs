//! Channels between this process and another, each a [`Channel`]. To add one, write an `impl` in a file here and a line
//! in `each_channel!`.

use std::time::{Duration, Instant};

use serde::Serialize;
use serde::de::DeserializeOwned;

pub(crate) mod ipc;
pub(crate) mod ours;
pub(crate) mod peers;

/// A value that can be sent through a channel.
pub(crate) trait Item: Clone + Serialize + DeserializeOwned + Send + Sync + 'static {
    /// The last value, which differs from every value that is only counted.
    fn last() -> Self;
    fn is_last(&self) -> bool;
}

impl Item for u64 {
    fn last() -> Self {
        0
    }

    fn is_last(&self) -> bool {
        *self == 0
    }
}

impl Item for Vec<u8> {
    fn last() -> Self {
        Vec::new()
    }

    fn is_last(&self) -> bool {
        self.is_empty()
    }
}

/// What the other process does until its channel is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// Sends each item back.
    Echo,
    /// Sends back only the last of many items.
    Sink,
    /// There is no other process: this one receives what it sends.
    Nobody,
}

/// This process's end of a channel; a peer has the other end.
pub(crate) trait Channel<T: Item>: Sized {
    const NAME: &'static str;

    fn start(role: Role) -> Self;

    fn send(&mut self, item: T);

    fn receive(&mut self) -> T;

    /// Sends each item when the one before has come back.
    fn round_trips(&mut self, item: &T, times: u64) -> Duration {
        let start = Instant::now();
        for _ in 0..times {
            self.send(item.clone());
            self.receive();
        }
        start.elapsed()
    }

    /// Sends all items, until the peer confirms that it has them.
    fn flood(&mut self, item: &T, times: u64) -> Duration {
        let start = Instant::now();
        for _ in 1..times {
            self.send(item.clone());
        }
        self.send(T::last());
        assert!(self.receive().is_last());
        start.elapsed()
    }
}

/// Serves as a peer, with its ends.
pub(crate) fn serve<T: Item>(
    role: Role,
    receive: impl Fn() -> Option<T>,
    send: impl Fn(T) -> Option<()>,
) -> Option<()> {
    loop {
        let item = receive()?;
        if role == Role::Echo || item.is_last() {
            send(item)?;
        }
    }
}
