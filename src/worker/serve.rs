//! A worker process, from the first line of `main` to the last frame.

use std::ffi::CString;
use std::io;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use super::desk::{CallDesk, Parent, Preface, Station, find, run_initializer};
use super::forkserver;
use super::inlet::{Dock, Inlet, Met, invalid, invalid_frame};
use super::isolate::{self, HalfIsolated};
use super::limits::limit;
use super::log::Log;
use super::marks::Marks;
use super::memory::MemoryWatch;
use super::outbox::WorkerOutbox;
use super::output_count::OutputCount;
use super::run_process;
use super::stdout_flush::StdoutFlush;
use crate::executor::context::process::become_child;
use crate::panic::PanicReport;
use crate::sys::{self, OneWay, OwnedFd, Socket};
use crate::wire::frame;
use crate::wire::kept;
use crate::wire::message::{
    self, FirstMessage as _, FromWorker, MARKER, ParentFrame, Role, Setup, ToWorker,
};
use crate::wire::page::Page;

/// Serves in the role that the environment names, and never returns. Does nothing in a process without a
/// role.
pub(crate) fn serve_if_child() {
    let is_late = tokio::runtime::Handle::try_current().is_ok();
    let Some(prepared) = sys::become_child(MARKER, is_late) else {
        sys::reap_left_children(MARKER);
        return;
    };
    let parent = sys::parent();
    let (role, socket) = match prepared {
        Ok((role, socket)) => (Role::of_name(&role), socket),
        Err(error) => std::process::exit(exit_code(Err(error))),
    };
    if role == Some(Role::ForkServer) {
        sys::end_after(|way| serve_forked(Role::ForkServer, Ok(socket), parent, way));
    }
    let serve = || match role {
        Some(role) => serve(role, socket, parent, None),
        None => Err(invalid("`CONCURRENT_FUTURES_ROLE` names no role: unset it")),
    };
    // After a panic, the code of the program after `init` must not run.
    let served = std::panic::catch_unwind(AssertUnwindSafe(serve));
    std::process::exit(served.map_or_else(
        |payload| {
            std::mem::forget(payload); // The panic has been printed.
            sys::PANICKED
        },
        exit_code,
    ))
}

/// Serves as the fork server, or in a process that it forked. Returns the exit code.
pub(crate) fn serve_forked(
    role: Role,
    socket: io::Result<Socket>,
    parent: Option<OwnedFd>,
    way: &OneWay,
) -> i32 {
    let serve = || {
        if role != Role::ForkServer {
            return serve(role, socket?, parent, None);
        }
        match forkserver::serve(socket?, parent, way)? {
            Some(forked) if forked.role == Role::Worker && forked.has_run_user_code => {
                let Some(worker) = WorkerLoop::open(forked.socket, forked.parent)? else {
                    return Ok(0);
                };
                sys::go_on_in_another_thread(move || {
                    sys::end_after(|_| exit_code(worker.run(forked.name).map(|()| 0)))
                })
            }
            Some(forked) => serve(forked.role, forked.socket, forked.parent, forked.name),
            None => Ok(0),
        }
    };
    exit_code(serve())
}

/// Serves in its role, with this name once the parent knows this process. Returns the exit code.
fn serve(
    role: Role,
    socket: Socket,
    parent: Option<OwnedFd>,
    name: Option<CString>,
) -> io::Result<i32> {
    if role == Role::Runner {
        let inlet = Inlet::open(socket)?;
        return inlet.map_or(Ok(0), |inlet| {
            run_process::run(inlet.out_of_reach(), parent, name)
        });
    }
    let worker = WorkerLoop::open(socket, parent)?;
    worker.map_or(Ok(()), |worker| worker.run(name)).map(|()| 0)
}

/// The exit code. Prints the error, if there is one.
fn exit_code(served: io::Result<i32>) -> i32 {
    match served {
        Ok(code) => code,
        // The parent has exited, so no process would read an error.
        Err(error) if sys::is_hangup(&error) => 0,
        Err(error) if error.kind() == io::ErrorKind::OutOfMemory => {
            // The parent recognizes this text of the allocator.
            eprintln!("memory allocation of a frame failed");
            std::process::abort();
        }
        Err(error) => {
            eprintln!("concurrent-futures: a worker process exits after an error: {error}");
            1
        }
    }
}

/// Gives this process its name, once.
fn rename(name: &mut Option<CString>) {
    if let Some(name) = name.take() {
        sys::name_process(&name);
    }
}

/// A worker with its parent's page and pipe, its limits, and the first half of its isolation.
struct WorkerLoop {
    inlet: Inlet,
    watched: WatchedParent,
    page: Arc<Page>,
    outbox: Arc<WorkerOutbox>,
    met: Met<Setup>,
    isolating: Option<HalfIsolated>,
}

impl WorkerLoop {
    /// Does everything that must be done while this process has only one thread. `None` if it must not serve.
    fn open(socket: Socket, parent: Option<OwnedFd>) -> io::Result<Option<Self>> {
        // With a second thread, the system takes milliseconds to enlarge the table of descriptors.
        let Some(inlet) = Inlet::open(socket)? else {
            return Ok(None);
        };
        let mut inlet = inlet.out_of_reach();
        let memory = inlet.fds.pop_front();
        let memory = memory.ok_or_else(|| invalid("the hello came without the shared memory"))?;
        let page = Arc::new(Page::open(memory)?);
        let answers = inlet.fds.pop_front();
        let answers = answers.ok_or_else(|| invalid("the hello came without the pipe"))?;
        let socket = sys::out_of_reach(sys::own_descriptor(&inlet.socket)?).into();
        let outbox = WorkerOutbox::open(sys::out_of_reach(answers).into(), page.clone())?;
        let watched = (socket, parent.map(sys::out_of_reach));
        let Some(mut met) = inlet.meet::<Setup>()? else {
            return Ok(None);
        };
        become_child(std::mem::take(&mut met.setup.identity));
        sys::ask_once(!met.setup.is_plain());
        let confinement = met.setup.confinement.take();
        let begun = limit(&met.setup.limits)
            .and_then(|()| confinement.map(isolate::begin).transpose().map_err(Ok));
        sys::set_dumpable(met.setup.is_dumpable); // Becoming another user has reset it.
        match begun {
            Ok(isolating) => Ok(Some(Self {
                inlet,
                watched,
                page,
                outbox,
                met,
                isolating,
            })),
            Err(failure) => {
                message::put(&mut met.greeting, &FromWorker::failed(failure));
                inlet.say(&mut met.greeting)?;
                Ok(None)
            }
        }
    }

    fn run(self, mut name: Option<CString>) -> io::Result<()> {
        let Self {
            mut inlet,
            watched,
            page,
            outbox,
            met,
            isolating,
        } = self;
        let Met {
            setup,
            args,
            greeting: mut words,
        } = met;
        let own_threads = sys::thread_count().map(|count| count + 1); // One more: the attendant.
        if setup.initializer.is_some() {
            rename(&mut name); // The initializer may forbid the system call for this.
        }
        let marks = setup.captured.as_ref().map(Marks::open).transpose()?;
        let memory = MemoryWatch::open(&page);
        let output_count = OutputCount::open(&page)?;
        let beside = inlet.take_descriptors(setup.descriptors)?;
        kept::begin();
        let initialize = || run_initializer("initializer", setup.initializer, args, beside);
        if let Err(failure) = settle(initialize, isolating, &outbox, watched)? {
            message::put(&mut words, &FromWorker::failed(failure));
            return inlet.say(&mut words);
        }
        if let Some(count) = &output_count {
            count.begin();
        }
        #[cfg(feature = "tracing")]
        if let Some(level) = setup.events {
            super::relay::listen(level, &outbox);
        }
        let station = Station {
            worker_id: setup.worker_id,
            parent: Parent::new(page.clone(), outbox.clone()),
            marks,
            output_count,
            memory,
            stdout: StdoutFlush::new(own_threads),
        };
        let max_frame = usize::try_from(setup.max_frame).unwrap_or(frame::LARGEST);
        let mut log = Log::new(page.clone(), outbox.clone(), max_frame);
        let mut dock = Dock::new(page.clone(), outbox.clone());
        message::put(&mut words, &FromWorker::Ready);
        inlet.say(&mut words)?;
        let mut preface = Preface::default();
        loop {
            if !inlet.frames.has_next() {
                log.flush()?; // The worker is about to wait.
                kept::await_input(&inlet.socket);
            }
            let Some(frame) = inlet.next_frame()? else {
                return log.flush();
            };
            match ParentFrame::parse(frame).ok_or_else(invalid_frame)? {
                ParentFrame::Message(ToWorker::Bulk(parts)) => dock.announce(parts),
                ParentFrame::Message(ToWorker::Descriptors(count)) => {
                    preface.beside = inlet.take_descriptors(count)?;
                }
                ParentFrame::Message(ToWorker::Trace(parent)) => {
                    preface.traceparent = Some(parent.into());
                }
                ParentFrame::Message(ToWorker::Attempt(number)) => preface.attempt = Some(number),
                ParentFrame::Message(ToWorker::Rest) => drop(log.take_spare()),
                ParentFrame::Message(ToWorker::Exit) => return log.flush(),
                ParentFrame::Message(ToWorker::Probe) => {
                    outbox.send(|out| message::put(out, &FromWorker::Alive))?;
                }
                ParentFrame::Call(head, input) => {
                    rename(&mut name);
                    let input = dock.complete(input, &mut log)?;
                    let function = find(head.function)?;
                    function(&mut CallDesk::new(
                        head,
                        input,
                        std::mem::take(&mut preface),
                        &station,
                        &mut log,
                    ));
                    if head.end - head.first > 1 {
                        log.flush()?; // The caller waits for all items of the call.
                    }
                }
            }
        }
    }
}

/// Runs the initializer, isolates this process, and starts the attendant. An isolated worker starts the attendant last,
/// because a restriction of a thread also applies to the threads that it starts later.
fn settle(
    initialize: impl FnOnce() -> Settled,
    isolating: Option<HalfIsolated>,
    outbox: &Arc<WorkerOutbox>,
    (socket, parent): WatchedParent,
) -> io::Result<Settled> {
    let Some(isolating) = isolating else {
        outbox.start_attendant(socket, parent)?;
        return Ok(initialize());
    };
    let initialized = sys::watched(&socket, parent.as_ref(), initialize)?;
    let isolated = initialized.and_then(|()| isolating.complete().map_err(Ok));
    outbox.start_attendant(socket, parent)?;
    Ok(isolated)
}

/// Whether a worker is ready, or why not.
type Settled = Result<(), Result<String, PanicReport>>;

/// The socket and the pidfd that say when the parent has ended.
type WatchedParent = (Socket, Option<OwnedFd>);
