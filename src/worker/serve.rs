//! A worker process, from the first line of `main` to the last frame.

use std::ffi::CString;
use std::io;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use super::bulk::Dock;
use super::desk::{CallDesk, Parent, Station, find, run_initializer};
use super::forkserver;
use super::inlet::{Inlet, Met, invalid, invalid_frame};
use super::limits::limit;
use super::log::Log;
use super::marks::Marks;
use super::memory::MemoryWatch;
use super::outbox::WorkerOutbox;
use super::output_count::OutputCount;
use super::run_process;
use super::stdout_flush::StdoutFlush;
use crate::sys::{self, OneWay, OwnedFd, Socket};
use crate::wire::frame;
use crate::wire::message::{self, FromWorker, MARKER, ParentFrame, Role, Setup, ToWorker};
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
    // A panic must not lead to what the program does after `init`.
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
                // Before there are two threads: from then on the system would take milliseconds to enlarge the
                // table of descriptors.
                let socket = sys::out_of_reach(forked.socket.into()).into();
                sys::go_on_in_another_thread(move || {
                    sys::end_after(|_| {
                        exit_code(serve(forked.role, socket, forked.parent, forked.name))
                    })
                })
            }
            Some(forked) => serve(forked.role, forked.socket, forked.parent, forked.name),
            None => Ok(0),
        }
    };
    exit_code(serve())
}

/// Serves in its role, and under this name once the parent knows this process. Returns the exit code.
fn serve(
    role: Role,
    socket: Socket,
    parent: Option<OwnedFd>,
    name: Option<CString>,
) -> io::Result<i32> {
    let Some(inlet) = Inlet::open(socket)? else {
        return Ok(0);
    };
    match role {
        Role::Runner => run_process::run(inlet.out_of_reach(), parent, name),
        _ => WorkerLoop::open(inlet.out_of_reach(), parent)?
            .run(name)
            .map(|()| 0),
    }
}

/// The exit code. Prints the error, if there is one.
fn exit_code(served: io::Result<i32>) -> i32 {
    match served {
        Ok(code) => code,
        // The parent has exited, so no process would read an error.
        Err(error) if sys::is_hangup(&error) => 0,
        Err(error) if error.kind() == io::ErrorKind::OutOfMemory => {
            // The allocator's words, which the parent recognizes.
            eprintln!("memory allocation of a frame failed");
            std::process::abort();
        }
        Err(error) => {
            eprintln!("concurrent-futures: a worker process exits after an error: {error}");
            1
        }
    }
}

/// A worker that has its parent's page and pipe.
struct WorkerLoop {
    inlet: Inlet,
    page: Arc<Page>,
    outbox: Arc<WorkerOutbox>,
}

impl WorkerLoop {
    fn open(mut inlet: Inlet, parent: Option<OwnedFd>) -> io::Result<Self> {
        let memory = inlet.fds.pop_front();
        let memory = memory.ok_or_else(|| invalid("the hello came without the shared memory"))?;
        let page = Arc::new(Page::open(memory)?);
        let answers = inlet.fds.pop_front();
        let answers = answers.ok_or_else(|| invalid("the hello came without the pipe"))?;
        let socket = sys::out_of_reach(sys::own_descriptor(&inlet.socket)?).into();
        let outbox = WorkerOutbox::open(
            sys::out_of_reach(answers).into(),
            socket,
            parent.map(sys::out_of_reach),
            page.clone(),
        )?;
        Ok(Self {
            inlet,
            page,
            outbox,
        })
    }

    fn run(mut self, mut name: Option<CString>) -> io::Result<()> {
        let Some(met) = self.inlet.meet::<Setup>()? else {
            return Ok(());
        };
        let Met {
            setup,
            args,
            greeting: mut words,
        } = met;
        let own_threads = sys::thread_count();
        sys::set_dumpable(setup.is_dumpable);
        let marks = setup.captured.as_ref().map(Marks::open).transpose()?;
        let beside = self.inlet.take_descriptors(setup.descriptors)?;
        let opened = limit(&setup.limits)
            .and_then(|()| run_initializer("initializer", setup.initializer, args, beside));
        if let Err(failure) = opened {
            message::put(&mut words, &FromWorker::failed(failure));
            return self.inlet.say(&mut words);
        }
        #[cfg(feature = "tracing")]
        if let Some(level) = setup.events {
            super::relay::listen(level, &self.outbox);
        }
        let station = Station {
            worker_id: setup.worker_id,
            parent: Parent::new(self.page.clone(), self.outbox.clone()),
            marks,
            output_count: OutputCount::open(&self.page)?,
            memory: MemoryWatch::new(&self.page),
            stdout: StdoutFlush::new(own_threads),
        };
        let max_frame = usize::try_from(setup.max_frame).unwrap_or(frame::LARGEST);
        let mut log = Log::new(self.page.clone(), self.outbox.clone(), max_frame);
        let mut dock = Dock::new(self.page.clone(), self.outbox.clone());
        message::put(&mut words, &FromWorker::Ready);
        self.inlet.say(&mut words)?;
        let mut inlet = self.inlet;
        let mut beside = Vec::new();
        let mut traceparent = None;
        loop {
            if !inlet.frames.has_next() {
                log.flush()?; // The worker is about to wait.
            }
            let Some(frame) = inlet.next_frame()? else {
                return log.flush();
            };
            match ParentFrame::parse(frame).ok_or_else(invalid_frame)? {
                ParentFrame::Message(ToWorker::Bulk(parts)) => dock.announce(parts),
                ParentFrame::Message(ToWorker::Descriptors(count)) => {
                    beside = inlet.take_descriptors(count)?;
                }
                ParentFrame::Message(ToWorker::Trace(parent)) => traceparent = Some(parent.into()),
                ParentFrame::Message(ToWorker::Rest) => drop(log.take_spare()),
                ParentFrame::Message(ToWorker::Exit) => return log.flush(),
                ParentFrame::Call(head, input) => {
                    if let Some(name) = name.take() {
                        sys::name_process(&name);
                    }
                    let input = dock.complete(input, &mut log)?;
                    let function = find(head.function)?;
                    function(&mut CallDesk::new(
                        head,
                        input,
                        std::mem::take(&mut beside),
                        traceparent.take(),
                        &station,
                        &mut log,
                    ));
                    if head.end - head.first > 1 {
                        log.flush()?; // The caller waits for all of its items.
                    }
                }
            }
        }
    }
}
