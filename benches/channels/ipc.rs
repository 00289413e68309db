//! ipc-channel, with this executable started again as the peer.

use std::env;
use std::process::{Child, Command, Stdio};

use ipc_channel::ipc::{
    self, IpcBytesReceiver, IpcBytesSender, IpcOneShotServer, IpcReceiver, IpcSender,
};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::{Channel, Item, Role, serve};

pub(crate) const NAME: &str = "ipc-channel";

/// Set for a peer: the name of the server to connect to, and the peer's role.
const SERVER: &str = "BENCH_IPC_SERVER";
const WORK: &str = "BENCH_IPC_WORK";

/// The two ends for a kind of item. Bytes have a special channel.
pub(crate) trait Ends: Item {
    type Sender: Serialize + DeserializeOwned;
    type Receiver: Serialize + DeserializeOwned;
    const KIND: &'static str;

    fn channel() -> (Self::Sender, Self::Receiver);
    fn send(to: &Self::Sender, item: Self) -> Option<()>;
    fn receive(from: &Self::Receiver) -> Option<Self>;
}

impl Ends for u64 {
    type Sender = IpcSender<u64>;
    type Receiver = IpcReceiver<u64>;
    const KIND: &'static str = "number";

    fn channel() -> (Self::Sender, Self::Receiver) {
        ipc::channel().expect("a channel")
    }

    fn send(to: &Self::Sender, item: Self) -> Option<()> {
        to.send(item).ok()
    }

    fn receive(from: &Self::Receiver) -> Option<Self> {
        from.recv().ok()
    }
}

impl Ends for Vec<u8> {
    type Sender = IpcBytesSender;
    type Receiver = IpcBytesReceiver;
    const KIND: &'static str = "bytes";

    fn channel() -> (Self::Sender, Self::Receiver) {
        ipc::bytes_channel().expect("a channel")
    }

    fn send(to: &Self::Sender, item: Self) -> Option<()> {
        to.send(&item).ok()
    }

    fn receive(from: &Self::Receiver) -> Option<Self> {
        from.recv().ok()
    }
}

/// In a peer, serves and never returns. Call it first in `main`.
pub(crate) fn init() {
    let (Ok(server), Ok(work)) = (env::var(SERVER), env::var(WORK)) else {
        return;
    };
    let (kind, role) = work.split_once(' ').expect("two words");
    let role = if role == "echo" {
        Role::Echo
    } else {
        Role::Sink
    };
    match kind {
        u64::KIND => meet::<u64>(server, role),
        _ => meet::<Vec<u8>>(server, role),
    }
    std::process::exit(0);
}

#[derive(Serialize, Deserialize)]
struct Met<S, R>(S, R);

fn meet<T: Ends>(server: String, role: Role) {
    let (to_peer, from_us) = T::channel();
    let (to_us, from_peer) = T::channel();
    let server = IpcSender::connect(server).expect("it waits");
    server.send(Met(to_peer, from_peer)).expect("it is there");
    serve(role, || T::receive(&from_us), |item| T::send(&to_us, item));
}

/// Uses the blocking methods; a sender has no others.
pub(crate) struct Ipc<T: Ends> {
    ends: Option<(T::Sender, T::Receiver)>,
    peer: Option<Child>,
}

impl<T: Ends> Channel<T> for Ipc<T> {
    const NAME: &'static str = NAME;

    fn start(role: Role) -> Self {
        let work = match role {
            Role::Nobody => {
                let ends = Some(T::channel());
                return Self { ends, peer: None };
            }
            Role::Echo => "echo",
            Role::Sink => "sink",
        };
        let (server, name) =
            IpcOneShotServer::<Met<T::Sender, T::Receiver>>::new().expect("a server");
        let program = env::current_exe().expect("the system tells");
        let peer = Command::new(program)
            .env(SERVER, name)
            .env(WORK, format!("{} {work}", T::KIND))
            .stdout(Stdio::null())
            .spawn()
            .expect("the executable starts");
        let (_, Met(to, from)) = server.accept().expect("the peer comes");
        Self {
            ends: Some((to, from)),
            peer: Some(peer),
        }
    }

    fn send(&mut self, item: T) {
        let (to, _) = self.ends.as_ref().expect("open until the drop");
        T::send(to, item).expect("the peer is there");
    }

    fn receive(&mut self) -> T {
        let (_, from) = self.ends.as_ref().expect("open until the drop");
        T::receive(from).expect("the peer is there")
    }
}

impl<T: Ends> Drop for Ipc<T> {
    fn drop(&mut self) {
        self.ends = None; // Ends the peer's input, and so the peer.
        if let Some(mut peer) = self.peer.take() {
            let _ = peer.wait();
        }
    }
}
