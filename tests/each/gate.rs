//! A place where tasks stop until the test lets them go on, whichever thread or process runs them.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};

use concurrent_futures::worker;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

/// The test's side. When it is gone, tasks pass freely.
pub(crate) struct Gate(TcpListener);

/// A task that runs and waits at the gate. Dropping it lets the task go on.
pub(crate) struct Visitor {
    pub(crate) item: u64,
    stream: tokio::net::TcpStream,
}

/// The task: waits at the gate and gives the item back.
pub(crate) fn pass(gate: SocketAddr, item: u64) -> u64 {
    let Ok(mut stream) = TcpStream::connect(gate) else {
        return item;
    };
    let _ = stream.write_all(&item.to_le_bytes());
    let _ = stream.read(&mut [0]);
    let cancelled = worker::current().is_some_and(|context| context.is_cancelled());
    let _ = stream.write_all(&[u8::from(cancelled)]);
    item
}

impl Gate {
    pub(crate) async fn new() -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await;
        Self(listener.expect("the loopback interface is there"))
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.0.local_addr().expect("it is bound")
    }

    /// Waits until a task is at the gate.
    pub(crate) async fn visitor(&self) -> Visitor {
        let (mut stream, _) = self.0.accept().await.expect("the gate is open");
        let item = stream.read_u64_le().await.expect("the task says its item");
        Visitor { item, stream }
    }
}

impl Visitor {
    /// Lets the task go on. Says whether its caller had let go of it by then: the task was told,
    /// or its process is no more.
    pub(crate) async fn release(mut self) -> bool {
        let _ = self.stream.write_u8(1).await;
        self.stream.read_u8().await.map_or(true, |told| told == 1)
    }
}
