//! The client's side of a handshake.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::task::coop;

use super::error::ConnectError;
use super::handshake::{self, Challenge, Challenges, DEFAULT_TIMEOUT, Key, LONGEST};
use super::reception::say;
use crate::multiprocessing::pipe::Connection;
use crate::multiprocessing::pipe::step::{
    OtherReason, Reasons, Step, Transfer, in_task, in_thread,
};
use crate::multiprocessing::pipe::watch::{Lasts, SocketWatch};
use crate::multiprocessing::waiting::driver::{end_of, may_block};
use crate::multiprocessing::waiting::pause::CHECK_INTERVAL;
use crate::sys::{self, AsFd as _, Direction};
use crate::wire::descriptors::Descriptor;

/// Connects to the [`Listener`](super::Listener) of another program of the same user. It can connect any number of
/// times.
///
/// ```no_run
/// use concurrent_futures::multiprocessing::{Client, Connection};
/// use std::time::Duration;
///
/// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let key = std::fs::read("/run/user/1000/service.key")?;
/// let client = Client::new("/run/user/1000/service.sock", key).timeout(Duration::from_secs(1));
/// let connection: Connection<String, u64> = client.connect().await?;
/// connection.send("how many?".to_owned()).await?;
/// println!("{}", connection.recv().await?);
/// # Ok(()) }
/// ```
///
/// # Platform
/// Linux.
#[derive(Clone)]
pub struct Client {
    path: PathBuf,
    key: Vec<u8>,
    timeout: Duration,
}

impl Client {
    /// Creates a client of the program that listens at `path` and has the same key. It does not connect.
    pub fn new(path: impl AsRef<Path>, key: impl AsRef<[u8]>) -> Self {
        Self {
            path: path.as_ref().to_owned(),
            key: key.as_ref().to_owned(),
            timeout: DEFAULT_TIMEOUT,
        }
    }

    /// How long to wait until the other program has accepted the connection. Default: 10 seconds.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Connects, and waits until the other program accepts. For an example see [`Listener`](super::Listener).
    ///
    /// # Errors
    /// `is_not_listening()` if no program listens at the path; `is_wrong_key()`, `is_other_user()` or
    /// `is_other_version()` if one program refuses the other; `is_timed_out()` if the other program does not answer in
    /// time; `is_closed()` if it ends; `is_invalid()` if the path or the key cannot be used; `is_no_space()`;
    /// `is_unsupported()`. Otherwise the system's error is the source.
    ///
    /// # Panics
    /// Outside of a tokio runtime, or in one without an I/O driver and a timer (`enable_all`).
    ///
    /// # Cancel safety
    /// If the future is dropped, there is no connection.
    pub async fn connect<S, R>(&self) -> Result<Connection<S, R>, ConnectError> {
        coop::consume_budget().await;
        let connecting = in_task(Connecting::new(self)?);
        let connected = tokio::time::timeout(self.timeout, connecting).await;
        let socket = connected.unwrap_or(Err(ConnectError::TIMED_OUT))?;
        Ok(Connection::new(socket))
    }

    /// Like [`connect`](Self::connect), for a thread that may block. For an example see
    /// [`Listener::blocking_accept`](super::Listener::blocking_accept).
    ///
    /// # Errors
    /// Like [`connect`](Self::connect).
    ///
    /// # Panics
    /// On a thread that drives async code.
    pub fn blocking_connect<S, R>(&self) -> Result<Connection<S, R>, ConnectError> {
        may_block();
        let connected = in_thread(Connecting::new(self)?, end_of(Some(self.timeout)));
        let socket = connected.unwrap_or(Err(ConnectError::TIMED_OUT))?;
        Ok(Connection::new(socket))
    }
}

/// Does not show the key.
impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client")
            .field("path", &self.path)
            .field("timeout", &self.timeout)
            .finish_non_exhaustive()
    }
}

/// A connection in progress.
struct Connecting<'a> {
    path: &'a Path,
    key: Key,
    socket: Descriptor,
    news: Arc<SocketWatch>,
    stage: ConnectStage,
}

/// What a client waits for.
#[derive(Clone, Copy, Debug)]
enum ConnectStage {
    /// Room among the clients that wait to be accepted.
    Room,
    Greeting,
    Decision(Challenges),
}

impl<'a> Connecting<'a> {
    fn new(client: &'a Client) -> Result<Self, ConnectError> {
        let key = Key::new(&client.key)?;
        let socket = Descriptor::from(sys::local_socket()?);
        let news = SocketWatch::new(socket.clone(), Direction::In, Lasts::WhileWaiting);
        Ok(Self {
            path: &client.path,
            key,
            socket,
            news: Arc::new(news),
            stage: ConnectStage::Room,
        })
    }

    /// Takes the steps that are possible now. Returns true once the connection is complete.
    fn advance(&mut self) -> Option<Result<bool, ConnectError>> {
        Some(match self.stage {
            ConnectStage::Room => match sys::connect_local(self.socket.as_fd(), self.path) {
                Ok(true) => self.meet().map(|()| false),
                Ok(false) => return None,
                Err(error) => Err(ConnectError::at(self.path, error)),
            },
            ConnectStage::Greeting => {
                let answered = self.receive()?.and_then(|greeting| self.answer(&greeting));
                answered.map(|challenges| {
                    self.stage = ConnectStage::Decision(challenges);
                    false
                })
            }
            ConnectStage::Decision(challenges) => self.receive()?.and_then(|decision| {
                handshake::check_decision(&self.key, &challenges, &decision)?;
                Ok(true)
            }),
        })
    }

    fn receive(&self) -> Option<Result<Vec<u8>, ConnectError>> {
        let mut buffer = [0; LONGEST];
        loop {
            return match sys::receive(self.socket.as_fd(), &mut buffer) {
                Ok(0) => Some(Err(ConnectError::CLOSED)),
                Ok(len) => Some(Ok(buffer[..len].to_vec())),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => None,
                // The listener has not read everything, but its own messages are still there.
                Err(error) if sys::is_hangup(&error) => continue,
                Err(error) => Some(Err(error.into())),
            };
        }
    }

    /// Checks the user of the listening program, before anything is sent.
    fn meet(&mut self) -> Result<(), ConnectError> {
        if !sys::is_own_user(self.socket.as_fd())? {
            return Err(ConnectError::OTHER_USER);
        }
        self.stage = ConnectStage::Greeting;
        Ok(())
    }

    fn answer(&self, greeting: &[u8]) -> Result<Challenges, ConnectError> {
        let listener = handshake::check_greeting(greeting)?;
        let mut client = Challenge::default();
        sys::fill_random(&mut client)?;
        let challenges = Challenges { listener, client };
        let answer = handshake::answer(&self.key, &challenges);
        if say(self.socket.as_fd(), &answer) {
            Ok(challenges)
        } else {
            Err(ConnectError::CLOSED)
        }
    }
}

impl Transfer for Connecting<'_> {
    type Done = Result<Descriptor, ConnectError>;

    fn step(&mut self) -> Option<Step<Self::Done>> {
        Some(match self.advance()? {
            Ok(true) => Step::Done(Ok(self.socket.clone())),
            Ok(false) => Step::Part,
            Err(error) => Step::Done(Err(error)),
        })
    }

    fn waits_for(&self) -> Reasons {
        match self.stage {
            // The system does not report when there is room, so the client tries again.
            ConnectStage::Room => Reasons {
                socket: None,
                other: OtherReason::At(Instant::now() + CHECK_INTERVAL),
            },
            _ => Reasons {
                socket: Some(self.news.clone()),
                other: OtherReason::Nothing,
            },
        }
    }
}
