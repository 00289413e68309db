//! What workers write to stdout and stderr. Reading order:
//!
//! - this file: the options and the lines; [`outlets`]: the pipes of one worker, and [`pipe`]: one of them;
//! - [`outputs`]: the output of one worker, and when its outcomes wait for it;
//! - [`relay`]: a stream that is copied, to [`parent_stream`]; [`lines`]: a stream that is split into lines;
//! - [`tail`]: the last output of a worker.

mod lines;
mod outlets;
mod outputs;
mod parent_stream;
mod pipe;
mod relay;
mod tail;

use std::fmt;
use std::sync::Arc;

pub(super) use self::outlets::Outlets;
pub(super) use self::outputs::{OutputWriter, Outputs};
use crate::executor::options::TaskName;

/// The most bytes that are read from an ended worker: as much as an ordinary user's pipe can hold.
const MOST_REST: usize = 1024 * 1024;

/// Where the stdout or stderr of workers goes. Set by
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
    /// As `Inherit`, for a process whose output no task can relay.
    #[cfg(feature = "multiprocessing")]
    Share,
    Relay,
    Null,
    Lines(LineCallback),
}

/// The user's function that receives each line.
type LineCallback = Arc<dyn Fn(OutputLine) + Send + Sync>;

impl Output {
    /// The worker writes directly to this process's own stream. The pool does not see the output: there is no
    /// [`stderr_tail`](crate::TaskError::stderr_tail), and `is_out_of_memory()` is set only if the kernel
    /// killed the worker for lack of memory.
    ///
    /// The worker gets an open file description of its own for the stream. So a worker that makes its stream
    /// non-blocking does not make this process's prints fail. (Files that were not opened for appending are shared, and
    /// never block.) If the system opens none, for a socket or a terminal of another user, the pool relays the output
    /// as [`relay`](Self::relay) does.
    pub fn inherit() -> Self {
        Self(OutputKind::Inherit)
    }

    /// As `inherit`. If the system opens no file description for the process, both share that of this process.
    #[cfg(feature = "multiprocessing")]
    pub(super) fn share() -> Self {
        Self(OutputKind::Share)
    }

    /// The pool reads the output and writes it to the same stream of this process. It keeps the end of stderr
    /// for [`stderr_tail`](crate::TaskError::stderr_tail). This is the default for stderr.
    ///
    /// A task's output is written before its handle has the outcome. So it precedes whatever the caller prints next,
    /// and it is not lost if `main` then returns. Text that the task left in Rust's or C's buffer of stdout is
    /// included; for items of a `map` that travel together, at the end of the last one.
    ///
    /// ```no_run
    /// # use concurrent_futures::{ExecutorExt as _, ProcessPoolExecutor};
    /// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let pool = ProcessPoolExecutor::new()?;
    /// pool.submit(|| println!("first"), ()).await?;
    /// eprintln!("second"); // By default a worker's stdout is relayed to stderr.
    /// # Ok(()) }
    /// ```
    ///
    /// The text of one worker stays in order. A line of at most 4 KiB is written as a whole, so lines of other workers
    /// do not split it. A line without an end is written after 50 ms. The pool writes to the descriptor, not through
    /// [`std::io::stdout`], so text in that buffer of this program follows later.
    ///
    /// No thread of a runtime blocks in these writes. If this process's stream accepts nothing, for example because it
    /// is a pipe that is not read:
    ///
    /// - A worker that writes much blocks, as on any pipe. Its pipe and the pool hold about 128 KiB, and the pool at
    ///   most 1 MiB for all workers.
    /// - The outcome of a task that has written something waits until the stream has accepted nothing for a second.
    ///   After that no outcome waits until the stream accepts text again. If a stream accepts text slowly, an outcome
    ///   waits for at most ten seconds. An outcome of a worker that writes nothing never waits.
    /// - The rest of an ended worker's output waits too. The pool drops these rests while more than 1 MiB waits,
    ///   and writes how much it has dropped when the stream accepts text again.
    pub fn relay() -> Self {
        Self(OutputKind::Relay)
    }

    /// The output goes to `/dev/null`. As with [`inherit`](Self::inherit), the pool does not see it.
    pub fn null() -> Self {
        Self(OutputKind::Null)
    }

    /// Calls `callback` with each line and the task that wrote it. The pool keeps the end of stderr for
    /// [`stderr_tail`](crate::TaskError::stderr_tail), and writes nothing itself.
    ///
    /// The lines of one stream of one worker arrive in order, one at a time; those of several workers arrive
    /// concurrently. All lines of a task arrive before its handle has the outcome, unless the task is
    /// cancelled. A line belongs to the task that runs when it is written, even if a helper thread, or a
    /// process that a task has started, writes it. A line that a task leaves unfinished ends with the task.
    /// Lines before the first task, such as those of an initializer, and between two tasks belong to no task.
    ///
    /// A line has at most 64 KiB; a longer one arrives in several pieces. Bytes that are not UTF-8 are replaced
    /// by `U+FFFD`. No line is lost while the worker lives: if `callback` is slow, the worker blocks, as on any
    /// pipe. When the worker ends, the rest of its output still arrives, unless the runtime ends first. Output
    /// of a process that it leaves behind is discarded.
    ///
    /// The task that drives the worker calls `callback`. While it blocks, that worker's results wait, and so does a
    /// thread of the runtime; if several runtimes use the pool, a thread of the pool waits instead. So send lines that
    /// take long to handle through a channel. Streams that are not split into lines cost nothing. For those that are,
    /// each task costs two more small writes for each stream.
    ///
    /// # Panics
    /// A panic of `callback` is caught; only its line is lost.
    pub fn lines(callback: impl Fn(OutputLine) + Send + Sync + 'static) -> Self {
        Self(OutputKind::Lines(Arc::new(callback)))
    }
}

impl fmt::Debug for Output {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            OutputKind::Inherit => "Output::inherit",
            #[cfg(feature = "multiprocessing")]
            OutputKind::Share => "Output::share",
            OutputKind::Relay => "Output::relay",
            OutputKind::Null => "Output::null",
            OutputKind::Lines(_) => "Output::lines",
        })
    }
}

/// A line that a worker has written; see [`Output::lines`]. It displays as its text.
#[derive(Clone, Debug)]
pub struct OutputLine {
    text: String,
    stream: OutputStream,
    worker: OutputOrigin,
    task: Option<TaskIdentity>,
}

/// The stream that a worker writes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum OutputStream {
    /// Descriptor 1.
    Stdout,
    /// Descriptor 2, and stdout too unless [`ProcessPoolBuilder::stdout`](crate::ProcessPoolBuilder::stdout) is
    /// set.
    Stderr,
}

/// The worker that writes.
#[derive(Clone, Copy, Debug)]
struct OutputOrigin {
    id: u64,
    pid: u32,
}

/// The task that runs while the worker writes.
#[derive(Clone, Debug)]
struct TaskIdentity {
    id: u64,
    /// Unknown for a task that was cancelled before its output was read.
    name: Option<TaskName>,
}

impl OutputLine {
    /// The line, without its line ending.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Like [`text`](Self::text), but returns the `String`.
    pub fn into_text(self) -> String {
        self.text
    }

    /// The stream that it was written to.
    pub fn stream(&self) -> OutputStream {
        self.stream
    }

    /// The number of the worker: its [`WorkerInfo::id`](crate::WorkerInfo::id).
    pub fn worker_id(&self) -> u64 {
        self.worker.id
    }

    /// The process id of the worker.
    pub fn worker_pid(&self) -> u32 {
        self.worker.pid
    }

    /// The number of the task that wrote it, equal to its handle's [`id`](crate::JoinHandle::id), if a task
    /// ran. Items of a `map` that travel together share one.
    pub fn task_id(&self) -> Option<u64> {
        self.task.as_ref().map(|task| task.id)
    }

    /// The [`name`](crate::TaskOptions::name) of the task, or the path of its function, if a task ran. It may
    /// be `None` for a `map` that was cancelled before the line was read.
    pub fn task_name(&self) -> Option<&str> {
        Some(self.task.as_ref()?.name.as_ref()?.as_str())
    }
}

impl fmt::Display for OutputLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}
