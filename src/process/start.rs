//! From nothing to a worker that is ready: the executable of this process is started again, and
//! the two make sure that they speak the same protocol and are the same build.

use std::borrow::Cow;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use bytes::BytesMut;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, Interest};
use tokio::net::UnixStream;
use tokio_util::codec::{Decoder as _, LengthDelimitedCodec};

use super::output::{Outlets, Pipes};
use crate::function::FunctionOffset;
use crate::panic::PanicReport;
use crate::sys::{self, ChildProcess, Limit};
use crate::wire::frame;
use crate::wire::message::{self, Captured, FromWorker, Identity, Setup};
use crate::wire::{Chain, Reader};

/// What every worker of a pool is started with.
#[derive(Debug)]
pub(super) struct Recipe {
    pub(super) env: Vec<(OsString, OsString)>,
    pub(super) env_clear: bool,
    pub(super) current_dir: Option<PathBuf>,
    pub(super) initializer: Option<(FunctionOffset, Chain)>,
    pub(super) limits: Vec<(Limit, i64)>,
    pub(super) outlets: Outlets,
    pub(super) max_frame_length: usize,
    pub(super) spawn_timeout: Duration,
}

/// A process that was started and is yet to become a worker.
pub(super) struct Newborn {
    pub(super) child: ChildProcess,
    pub(super) socket: OwnedFd,
    pub(super) pipes: Pipes,
    /// How often the kernel had killed for memory before.
    pub(super) oom_kills: u64,
}

/// The two ends of a connection with a worker that is ready.
pub(super) struct Connection {
    pub(super) stream: UnixStream,
    pub(super) codec: LengthDelimitedCodec,
    pub(super) buffer: BytesMut,
}

/// Why a process did not become a worker.
#[derive(Debug)]
pub(super) enum StartError {
    System {
        doing: Cow<'static, str>,
        error: io::Error,
    },
    TimedOut(Duration),
    /// It ended, or hung up, before it was ready.
    Gone,
    Garbage(String),
    OtherVersion(u16),
    OtherBuild,
    Initializer(Result<String, PanicReport>),
}

impl Recipe {
    /// Starts the process. Blocks for about a millisecond.
    pub(super) fn spawn(&self) -> Result<Newborn, StartError> {
        let failed = StartError::system;
        let oom_kills = sys::oom_kills();
        let (ours, theirs) = sys::socket_pair().map_err(failed("make a socket pair"))?;
        let (ends, pipes) = self
            .outlets
            .open()
            .map_err(failed("open a stdout and a stderr for a worker"))?;
        // The running executable itself, also when another file has taken its name since.
        let mut command = Command::new("/proc/self/exe");
        command.arg0(
            std::env::args_os()
                .next()
                .as_deref()
                .unwrap_or(OsStr::new("worker")),
        );
        if self.env_clear {
            command.env_clear();
        }
        command
            .envs(self.env.iter().map(|(name, value)| (name, value)))
            .env(message::MARKER, "1");
        if let Some(folder) = &self.current_dir {
            command.current_dir(folder);
        }
        command
            .stdin(Stdio::from(theirs))
            .stdout(Stdio::from(ends.stdout))
            .stderr(Stdio::from(ends.stderr));
        let child = ChildProcess::spawn(&mut command).map_err(|error| {
            let doing = match &self.current_dir {
                Some(folder) => format!("start a process in {}", folder.display()).into(),
                None => Cow::Borrowed("start a process"),
            };
            StartError::System { doing, error }
        })?;
        Ok(Newborn {
            child,
            socket: ours,
            pipes,
            oom_kills,
        })
    }

    /// What the worker is told to be.
    pub(super) fn setup(&self, worker_id: u64, captured: Option<Captured>) -> Chain {
        let setup = Setup {
            worker_id,
            max_frame: self.max_frame_length as u64,
            limits: self.limits.clone(),
            captured,
            initializer: self.initializer.as_ref().map(|(function, _)| *function),
        };
        let mut out = Chain::new();
        let none = Chain::new();
        message::put_setup(
            &mut out,
            &setup,
            self.initializer.as_ref().map_or(&none, |(_, args)| args),
        );
        out
    }
}

impl Connection {
    /// The greeting is small; whatever announces more is no worker.
    const GREETING: usize = 4096;

    pub(super) fn new(socket: OwnedFd) -> io::Result<Self> {
        let socket = std::os::unix::net::UnixStream::from(socket);
        socket.set_nonblocking(true)?;
        let stream = UnixStream::from_std(socket)?;
        Ok(Self {
            stream,
            codec: frame::codec(Self::GREETING),
            buffer: BytesMut::new(),
        })
    }

    /// Makes a worker of the process at the other end.
    pub(super) async fn establish(
        &mut self,
        own: &Identity,
        page: OwnedFd,
        mut setup: Chain,
        max_frame_length: usize,
    ) -> Result<(), StartError> {
        let mut hello = Chain::new();
        message::put_hello(&mut hello, own);
        self.send_hello(hello, page).await?;
        match self.receive().await? {
            FromWorker::Greeting(theirs) if theirs.version != own.version => {
                return Err(StartError::OtherVersion(theirs.version));
            }
            FromWorker::Greeting(theirs) if theirs.build != own.build => {
                return Err(StartError::OtherBuild);
            }
            FromWorker::Greeting(_) => {}
            other => return Err(StartError::Garbage(format!("{other:?}"))),
        }
        self.codec.set_max_frame_length(
            max_frame_length
                .saturating_add(message::REPORT)
                .min(frame::LARGEST),
        );
        for piece in std::mem::take(&mut setup).pieces() {
            self.stream
                .write_all(piece)
                .await
                .map_err(|_| StartError::Gone)?;
        }
        match self.receive().await? {
            FromWorker::Ready => Ok(()),
            FromWorker::Failed(failure) => Err(StartError::Initializer(failure)),
            other => Err(StartError::Garbage(format!("{other:?}"))),
        }
    }

    async fn send_hello(&mut self, hello: Chain, page: OwnedFd) -> Result<(), StartError> {
        let hello = hello.into_reader().0;
        let send = || sys::send_with_fd(self.stream.as_fd(), &hello, page.as_fd());
        match self.stream.async_io(Interest::WRITABLE, send).await {
            // A new socket has room for so little.
            Ok(sent) if sent == hello.len() => Ok(()),
            _ => Err(StartError::Gone),
        }
    }

    async fn receive(&mut self) -> Result<FromWorker, StartError> {
        loop {
            let garbage =
                |bytes: &[u8]| StartError::Garbage(String::from_utf8_lossy(bytes).into_owned());
            let seen = self.buffer.clone();
            match self.codec.decode(&mut self.buffer) {
                Ok(Some(frame)) => {
                    let frame = frame.freeze();
                    return FromWorker::parse(Reader(frame)).ok_or_else(|| garbage(&seen));
                }
                Ok(None) => {}
                Err(_) => return Err(garbage(&seen)),
            }
            match self.stream.read_buf(&mut self.buffer).await {
                Ok(0) | Err(_) if self.buffer.is_empty() => return Err(StartError::Gone),
                Ok(0) | Err(_) => return Err(garbage(&self.buffer)),
                Ok(_) => {}
            }
        }
    }
}

impl StartError {
    pub(super) fn system(doing: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |error| Self::System {
            doing: doing.into(),
            error,
        }
    }
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::System { doing, error } => write!(f, "the system refused to {doing}: {error}"),
            Self::TimedOut(limit) => write!(
                f,
                "a process was not ready within {limit:?} and was killed; raise `spawn_timeout` if its initializer needs longer"
            ),
            Self::Gone => f.write_str("a process ended before it was ready"),
            Self::Garbage(text) => {
                let start: String = text.chars().take(200).collect();
                write!(
                    f,
                    "a process wrote {start:?} where a worker says hello; call concurrent_futures::init() \
                     before anything that prints"
                )
            }
            Self::OtherVersion(version) => write!(
                f,
                "a process speaks version {version} of the protocol and this one version {}; they must be the same build",
                message::VERSION
            ),
            Self::OtherBuild => {
                f.write_str("a process runs another build of the executable than this one")
            }
            Self::Initializer(Ok(reason)) => f.write_str(reason),
            Self::Initializer(Err(_)) => f.write_str("the initializer"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::os::unix::net::UnixStream as Blocking;

    use super::*;
    use crate::wire::page::Page;

    /// What the parent makes of a process that sends `bytes` after it has read the hello.
    async fn meet(bytes: Vec<u8>) -> Result<(), StartError> {
        let (ours, theirs) = sys::socket_pair().expect("a socket pair");
        let (_page, fd) = Page::create().expect("memory");
        let worker = tokio::task::spawn_blocking(move || {
            let mut socket = Blocking::from(theirs);
            let _hello = socket.read(&mut [0; 4096]);
            let _ = socket.write_all(&bytes);
            let _ = socket.shutdown(std::net::Shutdown::Write);
            let _ = socket.read_to_end(&mut Vec::new()); // Until the parent hangs up.
        });
        let mut connection = Connection::new(ours).expect("a connection");
        let outcome = connection
            .establish(&Identity::own(), fd, Chain::new(), 1 << 20)
            .await;
        drop(connection);
        worker.await.expect("no panic");
        outcome
    }

    fn frames(put: impl FnOnce(&mut Chain)) -> Vec<u8> {
        let mut chain = Chain::new();
        put(&mut chain);
        chain.into_reader().0.to_vec()
    }

    fn greeting(identity: &Identity) -> Vec<u8> {
        frames(|out| message::put_greeting(out, identity))
    }

    #[tokio::test]
    async fn a_worker_that_speaks_another_version_is_told_apart() {
        let theirs = Identity {
            version: 99,
            ..Identity::own()
        };
        let error = meet(greeting(&theirs)).await.expect_err("another version");
        assert!(matches!(error, StartError::OtherVersion(99)), "{error:?}");
        assert!(error.to_string().contains("version 99"));
    }

    #[tokio::test]
    async fn a_worker_of_another_build_is_told_apart() {
        let theirs = Identity {
            build: b"another".to_vec(),
            ..Identity::own()
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
        let mut torn = greeting(&Identity::own());
        torn.pop();
        let error = meet(torn).await.expect_err("half a greeting");
        assert!(matches!(error, StartError::Garbage(_)), "{error:?}");
        let unknown = frames(|out| {
            let start = frame::begin(out);
            out.tail().extend_from_slice(&[200, 1, 2, 3]);
            frame::finish(out, start, &Chain::new());
        });
        let error = meet(unknown).await.expect_err("an unknown message");
        assert!(matches!(error, StartError::Garbage(_)), "{error:?}");
    }

    #[tokio::test]
    async fn a_worker_that_hangs_up_before_it_is_ready_is_gone() {
        let error = meet(Vec::new()).await.expect_err("nothing came");
        assert!(matches!(error, StartError::Gone), "{error:?}");
        let error = meet(greeting(&Identity::own()))
            .await
            .expect_err("never ready");
        assert!(matches!(error, StartError::Gone), "{error:?}");
    }

    #[tokio::test]
    async fn a_worker_of_the_same_build_becomes_ready() {
        let mut bytes = greeting(&Identity::own());
        bytes.extend(frames(message::put_ready));
        meet(bytes).await.expect("ready");
    }
}
