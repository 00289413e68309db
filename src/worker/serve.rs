//! A worker process, from the first line of `main` to the last frame.

use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;

use super::desk::{CallDesk, InitializerDesk, Parent};
use super::marks::Marks;
use super::outbox::Outbox;
use crate::function::{Desk, Entry, FunctionOffset};
use crate::panic::PanicReport;
use crate::sys;
use crate::wire::Reader;
use crate::wire::frame::{self, Frames};
use crate::wire::message::{self, Identity, MARKER, Setup, ToWorker};
use crate::wire::page::Page;

/// The most that a `Hello` may have.
const HELLO_LIMIT: usize = 4096;

/// In a worker, serves and never returns. Elsewhere, does nothing.
pub(crate) fn serve_if_worker() {
    let Some(prepared) = sys::become_worker(MARKER) else {
        return;
    };
    match prepared.and_then(Worker::greet).and_then(Worker::run) {
        Ok(()) => std::process::exit(0),
        Err(error) if error.kind() == io::ErrorKind::OutOfMemory => {
            // Said as the allocator says it, by which the parent knows what it was.
            eprintln!("memory allocation of a frame failed");
            std::process::abort();
        }
        Err(error) => {
            eprintln!("concurrent-futures: a worker process ends: {error}");
            std::process::exit(1);
        }
    }
}

/// A worker that has met its parent.
struct Worker {
    socket: UnixStream,
    frames: Frames,
    page: Arc<Page>,
    outbox: Arc<Outbox>,
}

impl Worker {
    /// Learns who the parent is and says who this is. The parent decides whether they get along.
    fn greet(socket: UnixStream) -> io::Result<Self> {
        let (first, memory) = receive_hello(&socket)?;
        let mut frames = Frames::new(&first, HELLO_LIMIT);
        match next_message(&mut frames, &socket)? {
            Some(ToWorker::Hello) => {}
            _ => return Err(invalid("the parent did not say hello")),
        }
        let page = Arc::new(Page::open(memory)?);
        let outbox = Outbox::open(socket.try_clone()?, page.clone(), frame::LARGEST)?;
        outbox.send(|out| message::put_greeting(out, &Identity::own()))?;
        frames.set_limit(frame::LARGEST);
        Ok(Self {
            socket,
            frames,
            page,
            outbox,
        })
    }

    fn run(mut self) -> io::Result<()> {
        let (setup, args) = match next_message(&mut self.frames, &self.socket)? {
            Some(ToWorker::Setup(setup, args)) => (setup, args),
            // A parent of another build hangs up.
            None | Some(ToWorker::Exit) => return Ok(()),
            Some(other) => return Err(invalid(&format!("{other:?} came before the setup"))),
        };
        self.outbox
            .set_limit(usize::try_from(setup.max_frame).unwrap_or(frame::LARGEST));
        let marks = setup.captured.as_ref().map(Marks::open).transpose()?;
        if let Err(failure) = limit(&setup).and_then(|()| initialize(&setup, args)) {
            return self.outbox.send(|out| message::put_failed(out, &failure));
        }
        let parent = Parent::new(self.page.clone(), self.outbox.clone());
        self.outbox.send(message::put_ready)?;
        loop {
            if !self.frames.has_next() {
                self.outbox.flush()?; // It is about to wait.
            }
            match next_message(&mut self.frames, &self.socket)? {
                Some(ToWorker::Call(head, input)) => {
                    let function = find(head.function)?;
                    function(&mut CallDesk::new(
                        head,
                        input,
                        setup.worker_id,
                        &parent,
                        marks.as_ref(),
                    ));
                }
                None | Some(ToWorker::Exit) => return self.outbox.flush(),
                Some(other) => return Err(invalid(&format!("{other:?} came instead of a call"))),
            }
        }
    }
}

/// The first bytes, with the shared memory beside them.
fn receive_hello(socket: &UnixStream) -> io::Result<(Vec<u8>, OwnedFd)> {
    let mut bytes = vec![0; HELLO_LIMIT];
    let (len, memory) = sys::receive_with_fd(socket.as_fd(), &mut bytes)?;
    bytes.truncate(len);
    let memory = memory.ok_or_else(|| invalid("no memory came with the hello"))?;
    Ok((bytes, memory))
}

fn next_message(frames: &mut Frames, mut socket: &UnixStream) -> io::Result<Option<ToWorker>> {
    match frames.next(&mut socket)? {
        None => Ok(None),
        Some(frame) => match ToWorker::parse(Reader(frame)) {
            Some(message) => Ok(Some(message)),
            None => Err(invalid("the parent sent a frame that makes no sense")),
        },
    }
}

/// Holds this process to its limits, before any code of the user's runs.
fn limit(setup: &Setup) -> Result<(), Result<String, PanicReport>> {
    for (limit, value) in &setup.limits {
        let refused = |error| {
            let name = limit.name();
            Ok(format!(
                "the system refused the limit {name} of {value}: {error}"
            ))
        };
        limit.set(*value).map_err(refused)?;
    }
    Ok(())
}

fn initialize(setup: &Setup, args: Reader) -> Result<(), Result<String, PanicReport>> {
    let Some(function) = setup.initializer else {
        return Ok(());
    };
    let function = find(function).map_err(|error| Ok(error.to_string()))?;
    let mut desk = InitializerDesk::new(args);
    function(&mut desk as &mut dyn Desk);
    desk.into_outcome()
}

fn find(function: FunctionOffset) -> io::Result<Entry> {
    let outside = || invalid("a function was asked for that lies outside the executable");
    function.entry().ok_or_else(outside)
}

fn invalid(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what.to_owned())
}
