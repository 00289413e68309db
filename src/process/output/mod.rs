//! What workers write to stdout and stderr. Reading order: this file, what a user says and gets;
//! [`outlets`], the pipes of one worker; [`relay`], which passes on what comes; [`lines`], which
//! tells it line by line.

mod lines;
mod outlets;
mod relay;

use std::fmt;
use std::sync::Arc;

pub(super) use self::outlets::{Outlets, Outputs, Pipes};
use crate::executor::options::TaskName;

/// What becomes of what workers write to their stdout or stderr; given to
/// [`ProcessPoolBuilder::stdout`](crate::ProcessPoolBuilder::stdout) and
/// [`stderr`](crate::ProcessPoolBuilder::stderr).
///
/// ```no_run
/// use concurrent_futures::{Output, ProcessPoolExecutor};
///
/// # fn main() -> Result<(), concurrent_futures::BuildError> {
/// let pool = ProcessPoolExecutor::builder()
///     .stdout(Output::null())
///     .stderr(Output::lines(|line| {
///         let task = line.task_name().unwrap_or("no task");
///         eprintln!("[worker {}, {task}] {line}", line.worker_id());
///     }))
///     .build()?;
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct Output(OutputKind);

#[derive(Clone)]
enum OutputKind {
    Inherit,
    Relay,
    Null,
    Lines(Tell),
}

/// Who is told of each line.
type Tell = Arc<dyn Fn(OutputLine) + Send + Sync>;

impl Output {
    /// The worker has this process's own descriptor and writes to it itself. The pool sees nothing
    /// of it: of stderr there is no [`stderr_tail`](crate::TaskError::stderr_tail), and a lack of
    /// memory is told as such only if the kernel killed the worker for it.
    pub fn inherit() -> Self {
        Self(OutputKind::Inherit)
    }

    /// The pool reads it and writes it to the same stream of this process; the end of stderr is kept
    /// for [`stderr_tail`](crate::TaskError::stderr_tail). While this process's own stream takes
    /// nothing, a worker that writes much has to wait. This is the default for stderr.
    pub fn relay() -> Self {
        Self(OutputKind::Relay)
    }

    /// It goes to `/dev/null`, and as with [`inherit`](Self::inherit) the pool sees nothing of it.
    pub fn null() -> Self {
        Self(OutputKind::Null)
    }

    /// Each line is given to `tell`, with the task that wrote it. The end of stderr is kept for
    /// [`stderr_tail`](crate::TaskError::stderr_tail), and nothing is written anywhere.
    ///
    /// Lines of one stream of one worker come in order, one at a time, those of several workers at the
    /// same time. All that a task has written is told before its handle has its outcome, unless the
    /// task is cancelled. A line is told of the task that runs when
    /// it is written, also if a helper thread, or a process that a task has started, writes it; a
    /// line that a task leaves unfinished ends with the task. What comes before the first task, by an
    /// initializer, or between two is told of no task.
    ///
    /// A line has at most 64 KiB, a longer one comes in several pieces; what is not UTF-8 is replaced by
    /// `U+FFFD`. No line is lost while the worker lives: when `tell` is slow, the worker has to wait,
    /// as at any pipe. When the worker ends, what it has written is still told, unless the runtime
    /// ends first; a process that it leaves behind then writes to nobody.
    ///
    /// `tell` is called by the task that drives the worker: while it blocks, so do that worker's
    /// results and a thread of the runtime. Send lines that take long to handle elsewhere, by a
    /// channel. Nothing of it is paid by streams that are not told by lines; where they are, a
    /// task costs two small writes more for each.
    ///
    /// # Panics
    /// A panic of `tell` is caught and costs only that line.
    pub fn lines(tell: impl Fn(OutputLine) + Send + Sync + 'static) -> Self {
        Self(OutputKind::Lines(Arc::new(tell)))
    }
}

impl fmt::Debug for Output {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            OutputKind::Inherit => "Output::inherit",
            OutputKind::Relay => "Output::relay",
            OutputKind::Null => "Output::null",
            OutputKind::Lines(_) => "Output::lines",
        })
    }
}

/// A line that a worker has written; see [`Output::lines`]. It prints as its text.
#[derive(Clone, Debug)]
pub struct OutputLine {
    text: String,
    stream: OutputStream,
    worker: OutputOrigin,
    task: Option<TaskIdentity>,
}

/// Where a worker writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum OutputStream {
    /// Descriptor 1.
    Stdout,
    /// Descriptor 2, and stdout too where nothing else is asked for that.
    Stderr,
}

/// The worker that writes.
#[derive(Clone, Copy, Debug)]
struct OutputOrigin {
    id: u64,
    pid: u32,
}

/// The task that runs as something is written.
#[derive(Clone, Debug)]
struct TaskIdentity {
    id: u64,
    /// Not known of one that was cancelled before its output was read.
    name: Option<TaskName>,
}

impl OutputLine {
    /// The line, without what ends it.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// As [`text`](Self::text), to keep.
    pub fn into_text(self) -> String {
        self.text
    }

    /// Where it was written to.
    pub fn stream(&self) -> OutputStream {
        self.stream
    }

    /// The number of the worker, as [`WorkerInfo::id`](crate::WorkerInfo::id) tells it.
    pub fn worker_id(&self) -> u64 {
        self.worker.id
    }

    /// The process id of the worker.
    pub fn worker_pid(&self) -> u32 {
        self.worker.pid
    }

    /// The number of the task that wrote it, the same as its handle's
    /// [`id`](crate::JoinHandle::id), if one ran. Items of a `map` that travel together have one.
    pub fn task_id(&self) -> Option<u64> {
        self.task.as_ref().map(|task| task.id)
    }

    /// The task's [`name`](crate::TaskOptions::name), or else the path of its function, if one ran.
    /// (The name of a `map` that was cancelled while this was on its way may be forgotten by then.)
    pub fn task_name(&self) -> Option<&str> {
        Some(self.task.as_ref()?.name.as_ref()?.as_str())
    }
}

impl fmt::Display for OutputLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}
