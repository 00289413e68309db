//! The first messages with a new process. Both sides check that they use the same protocol and are the same build, and
//! the parent sends the setup.

use std::collections::VecDeque;

use super::error::StartError;
use super::recipe::Recipe;
use crate::home::{Watched, timeout};
use crate::sys::{self, AsFd as _, Direction, OwnedFd, Socket};
use crate::wire::frame_buffer::FrameBuffer;
use crate::wire::identity::BuildIdentity;
use crate::wire::message::{self, FromWorker};
use crate::wire::{Chain, Reader};

/// The parent's end of a connection to a process, from the first message on.
pub(in crate::process) struct ChildConnection {
    pub(in crate::process) stream: Watched<Socket>,
    pub(super) frames: FrameBuffer,
    /// The descriptors that came with the bytes in `frames`. `None` if the system closes them: only a fork server sends
    /// descriptors.
    pub(super) fds: Option<VecDeque<OwnedFd>>,
    own: BuildIdentity,
    /// What is left to send after its greeting.
    late: Chain,
}

impl ChildConnection {
    /// The longest greeting. A process that announces more is no worker.
    const GREETING: usize = 4096;
    /// The most bytes of an unknown message that an error quotes.
    const QUOTED: usize = 1024;
    /// A setup up to this size is sent with the hello: every new socket has room for it.
    const EARLY: usize = 4096;

    /// Sends the first messages through one end of a new socket pair: the hello, and `setup`. The process at the other
    /// end need not exist yet; the messages wait for it.
    pub(super) fn begin(socket: OwnedFd, mut setup: Chain) -> Result<Self, StartError> {
        let own = BuildIdentity::own();
        let mut words = Chain::new();
        own.put_hello(&mut words);
        words.attach(setup.detach());
        if setup.len() <= Self::EARLY {
            words.put_chain(&std::mem::take(&mut setup)); // A process of another build ignores it.
        }
        let socket = Socket::from(socket);
        let set = socket.set_nonblocking(true);
        set.map_err(StartError::system("use a socket"))?;
        let said = words.send_with(|bytes, fds| sys::send_with_fds(socket.as_fd(), bytes, fds));
        said.map_err(|_| StartError::SentNothing)?;
        Ok(Self {
            stream: Watched::new(socket, Direction::In),
            frames: FrameBuffer::new(Self::GREETING),
            fds: None,
            own,
            late: setup,
        })
    }

    /// Keeps the descriptors that a fork server sends.
    pub(super) fn keep_descriptors(&mut self) {
        self.fds = Some(VecDeque::new());
    }

    /// Waits until the process is ready, at most as long as its start may take.
    pub(super) async fn establish(&mut self, recipe: &Recipe) -> Result<(), StartError> {
        let limit = recipe.spawn_timeout;
        let met = timeout(limit, self.meet()).await;
        met.unwrap_or(Err(StartError::TimedOut(limit)))
    }

    /// Receives the two short messages of the process.
    async fn meet(&mut self) -> Result<(), StartError> {
        let theirs = self.receive(BuildIdentity::parse_greeting).await;
        let theirs = theirs.map_err(|error| match error {
            StartError::Ended => StartError::SentNothing,
            other => other,
        })?;
        if theirs.version != self.own.version {
            return Err(StartError::OtherVersion(theirs.version));
        }
        if theirs.build != self.own.build {
            return Err(StartError::OtherBuild);
        }
        self.frames.set_limit(message::LONGEST);
        if !self.late.is_empty() {
            self.stream.turn(Direction::Out);
            let late = &mut self.late;
            let sent = self.stream.io(|socket| {
                late.send_with(|bytes, fds| sys::send_with_fds(socket.as_fd(), bytes, fds))
            });
            sent.await.map_err(|_| StartError::Ended)?;
            self.stream.turn(Direction::In);
        }
        match self.receive(message::get).await? {
            FromWorker::Ready => Ok(()),
            FromWorker::Failed(failure) => Err(StartError::UserCode("initializer", failure)),
            other => Err(StartError::Garbage(format!("{other:?}"))),
        }
    }

    /// The next message of the process, as `parse` reads it.
    async fn receive<T>(&mut self, parse: fn(Reader) -> Option<T>) -> Result<T, StartError> {
        let garbage = |bytes: &[u8]| {
            let start = &bytes[..bytes.len().min(Self::QUOTED)];
            StartError::Garbage(String::from_utf8_lossy(start).into_owned())
        };
        loop {
            match self.frames.next() {
                Ok(Some(frame)) => {
                    let message = parse(Reader::from(frame.clone()));
                    return message.ok_or_else(|| garbage(&frame));
                }
                Ok(None) => {}
                Err(_) => return Err(garbage(self.frames.unread())),
            }
            let mut bytes = [0; 1024];
            let mut beside = None;
            let fds = self.fds.is_some();
            let received = self.stream.io(|socket| {
                if !fds {
                    return sys::receive(socket.as_fd(), &mut bytes);
                }
                let (len, fd) = sys::receive_with_fd(socket.as_fd(), &mut bytes)?;
                beside = fd;
                Ok(len)
            });
            let received = received.await;
            if let Some(fds) = &mut self.fds {
                fds.extend(beside);
                if fds.len() > 1 {
                    return Err(StartError::Garbage("too many descriptors".to_owned()));
                }
            }
            match received {
                Ok(0) | Err(_) if self.frames.len() == 0 => return Err(StartError::Ended),
                Ok(0) | Err(_) => return Err(garbage(self.frames.unread())),
                Ok(len) => self.frames.push(&bytes[..len]),
            }
        }
    }
}

#[cfg(all(test, target_os = "linux", properties))]
#[path = "../../../tests/properties/process/start/connection.rs"]
mod properties;

#[cfg(all(test, target_os = "linux", not(properties)))]
mod tests {
    use std::io::{Read as _, Write as _};

    use super::*;
    use crate::wire::frame;

    /// The parent's verdict on a process that sends `bytes` after it has read the hello.
    async fn meet(bytes: Vec<u8>) -> Result<(), StartError> {
        let (ours, theirs) = sys::socket_pair().expect("a socket pair");
        let worker = tokio::task::spawn_blocking(move || {
            let mut socket = Socket::from(theirs);
            let _hello = socket.read(&mut [0; 4096]);
            let _ = socket.write_all(&bytes);
            let _ = socket.shutdown(std::net::Shutdown::Write);
            let _ = socket.read_to_end(&mut Vec::new()); // Keeps the socket open until the parent hangs up.
        });
        let mut connection = ChildConnection::begin(ours, Chain::new()).expect("a connection");
        let outcome = connection.meet().await;
        drop(connection);
        worker.await.expect("no panic");
        outcome
    }

    fn frames(put: impl FnOnce(&mut Chain)) -> Vec<u8> {
        let mut chain = Chain::new();
        put(&mut chain);
        chain.into_bytes().to_vec()
    }

    fn greeting(identity: &BuildIdentity) -> Vec<u8> {
        frames(|out| identity.put_greeting(out))
    }

    #[tokio::test]
    async fn a_worker_of_another_version_is_recognised() {
        let theirs = BuildIdentity {
            version: 99,
            ..BuildIdentity::own()
        };
        let error = meet(greeting(&theirs)).await.expect_err("another version");
        assert!(matches!(error, StartError::OtherVersion(99)), "{error:?}");
        assert!(error.to_string().contains("version 99"));
    }

    #[tokio::test]
    async fn a_worker_of_another_build_is_recognised() {
        let theirs = BuildIdentity {
            build: b"another".to_vec(),
            ..BuildIdentity::own()
        };
        let error = meet(greeting(&theirs)).await.expect_err("another build");
        assert!(matches!(error, StartError::OtherBuild), "{error:?}");
    }

    #[tokio::test]
    async fn garbage_on_the_wire_is_quoted_and_a_torn_greeting_is_garbage() {
        let error = meet(b"Hello, world! Starting up...\n".to_vec())
            .await
            .expect_err("no greeting");
        assert!(matches!(error, StartError::Garbage(_)), "{error:?}");
        assert!(error.to_string().contains("Hello, world!"), "{error}");
        let mut torn = greeting(&BuildIdentity::own());
        torn.pop();
        let error = meet(torn).await.expect_err("half a greeting");
        assert!(matches!(error, StartError::Garbage(_)), "{error:?}");
        let unknown = frames(|out| {
            let start = frame::begin(out);
            out.tail().extend_from_slice(&[200, 1, 2, 3]);
            frame::finish(out, start, 0);
        });
        let error = meet(unknown).await.expect_err("an unknown message");
        assert!(matches!(error, StartError::Garbage(_)), "{error:?}");
    }

    #[tokio::test]
    async fn a_worker_that_closes_its_connection_before_it_is_ready_has_died() {
        let error = meet(Vec::new()).await.expect_err("nothing came");
        assert!(matches!(error, StartError::SentNothing), "{error:?}");
        let error = meet(greeting(&BuildIdentity::own()))
            .await
            .expect_err("never ready");
        assert!(matches!(error, StartError::Ended), "{error:?}");
    }

    #[tokio::test]
    async fn a_worker_of_the_same_build_becomes_ready() {
        let mut bytes = greeting(&BuildIdentity::own());
        bytes.extend(frames(|out| message::put(out, &FromWorker::Ready)));
        meet(bytes).await.expect("ready");
    }
}
