//! The attempts: pools and processes by each start method, and each shared object.

use std::error::Error;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use concurrent_futures::multiprocessing::{
    Array, Barrier, Condition, Event, JoinableQueue, Lock, Process, Queue, RLock, RwLock,
    Semaphore, SharedMemory, Value, pipe,
};
use concurrent_futures::{
    Executor as _, ExecutorExt as _, ProcessPoolExecutor, Shutdown, StartMethod, TaskOptions,
};
use tokio::runtime::Runtime;

use super::filter::{self, Answer};
use super::report::Report;

/// Too short for a task that never ends.
const SHORT: Duration = Duration::from_millis(50);

type Outcome = Result<(), String>;

/// An error with its sources.
fn text(error: impl Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text += &format!(": {error}");
        source = error.source();
    }
    text
}

/// An outcome that is neither a value nor an error that explains itself.
fn ensure(condition: bool, what: &str) -> Outcome {
    condition.then_some(()).ok_or(format!("WRONG: {what}"))
}

fn runtime() -> Result<Runtime, String> {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.enable_all();
    // Tokio panics if it finds no descriptors for its signals.
    match catch_unwind(AssertUnwindSafe(|| runtime.build())) {
        Ok(built) => built.map_err(|error| format!("a runtime: {error}")),
        Err(_) => Err("a runtime: tokio panicked".to_owned()),
    }
}

fn double(x: u64) -> u64 {
    x * 2
}

fn length(bytes: Vec<u8>) -> usize {
    bytes.len()
}

/// A task that installs a filter, which kills it.
fn filter_and_call() {
    filter::deny("getpriority", Answer::Kill);
    // SAFETY: it only asks.
    unsafe { libc::getpriority(libc::PRIO_PROCESS, 0) };
}

fn never_end() {
    loop {
        std::thread::sleep(Duration::from_secs(3600));
    }
}

/// Whether no process has this id, or only a zombie has it.
fn has_ended(pid: u32) -> bool {
    // SAFETY: signal 0 checks whether there is a process, and changes nothing.
    let found = unsafe { libc::kill(pid.cast_signed(), 0) };
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    found != 0 || stat.contains(") Z ")
}

/// A pool with one worker: its tasks run, a timeout kills, and a shutdown keeps its deadline.
pub(crate) fn pool(report: &Report, method: StartMethod) {
    let mut built = None;
    let builder = ProcessPoolExecutor::builder().start_method(method);
    let builder = builder
        .max_workers(1)
        .spawn_timeout(Duration::from_secs(60));
    let is_built = report.attempt(&format!("{method:?} build"), || {
        built = Some(builder.build().map_err(text)?);
        Ok(())
    });
    let Some(pool) = built.filter(|_| is_built) else {
        return;
    };
    let mut found = None;
    report.attempt(&format!("{method:?} runtime"), || {
        found = Some(runtime()?);
        Ok(())
    });
    let Some(runtime) = found else {
        return;
    };
    let runs = |name: &str| {
        report.attempt(&format!("{method:?} {name}"), || {
            let value = runtime.block_on(async { pool.submit(double, 21).await });
            ensure(value.map_err(text)? == 42, "another value")
        })
    };
    if !runs("submit") {
        return report_shutdown(report, method, &pool, &runtime, None);
    }
    report.attempt(&format!("{method:?} large"), || {
        let bytes = vec![7; 9 << 20];
        let value = runtime.block_on(async { pool.submit(length, bytes).await });
        ensure(value.map_err(text)? == 9 << 20, "another length")
    });
    // The large value may have killed a worker.
    runs("submit after a large value");
    let mut pid = pool.workers().first().map(|worker| worker.pid());
    report.attempt(&format!("{method:?} timeout"), || {
        let options = TaskOptions::new().timeout(SHORT);
        let value = runtime.block_on(async { pool.submit_with(&options, never_end, ()).await });
        let error = value.expect_err("it never ends");
        ensure(error.is_timeout(), &text(error))
    });
    if runs("submit again") {
        report.attempt(&format!("{method:?} killed"), || {
            ensure(pid.is_some_and(has_ended), "the worker still runs")
        });
    }
    report.attempt(&format!("{method:?} filter in a task"), || {
        let value = runtime.block_on(async { pool.submit(filter_and_call, ()).await });
        let error = value.expect_err("it is killed");
        ensure(error.is_worker_lost(), &text(&error))?;
        if error.signal().is_none() && text(&error).contains("SIGCHLD") {
            return Err(text(error)); // The system has discarded the exit status.
        }
        for part in ["SIGSYS", "seccomp"] {
            ensure(error.to_string().contains(part), &text(&error))?;
        }
        Ok(())
    });
    runs("submit after a filter");
    pid = pool.workers().first().map(|worker| worker.pid());
    report_shutdown(report, method, &pool, &runtime, pid);
}

fn report_shutdown(
    report: &Report,
    method: StartMethod,
    pool: &ProcessPoolExecutor,
    runtime: &Runtime,
    worker: Option<u32>,
) {
    report.attempt(&format!("{method:?} shutdown"), || {
        runtime.block_on(async {
            let endless = worker.is_some().then(|| pool.submit(never_end, ()));
            let how = Shutdown::new().deadline(SHORT);
            pool.shutdown_with(how).await;
            drop(endless);
        });
        ensure(worker.is_none_or(has_ended), "the worker still runs")
    });
}

/// A process: its function runs, and a kill ends it.
pub(crate) fn process(report: &Report, method: StartMethod) {
    let start = || Process::builder().start_method(method);
    let runs = report.attempt(&format!("{method:?} process"), || {
        let process = start().blocking_spawn(double, 21).map_err(text)?;
        let value = process.blocking_join().map_err(text)?;
        ensure(value == 42, "another value")
    });
    if !runs {
        return;
    }
    report.attempt(&format!("{method:?} process killed"), || {
        let process = start().blocking_spawn(never_end, ()).map_err(text)?;
        let pid = process.pid();
        process.kill();
        let error = process.blocking_join().err().ok_or("WRONG: it ended")?;
        ensure(error.is_worker_lost(), &text(error))?;
        ensure(has_ended(pid), "it still runs")
    });
}

/// Each object, used only by this process and by blocking calls, which need no runtime.
pub(crate) fn objects(report: &Report) {
    let io = |error: io::Error| text(error);
    report.attempt("Lock", || {
        let lock = Lock::new().map_err(io)?;
        drop(lock.blocking_lock());
        Ok(())
    });
    report.attempt("RLock", || {
        let lock = RLock::new().map_err(io)?;
        drop(lock.blocking_lock());
        Ok(())
    });
    report.attempt("RwLock", || {
        let lock = RwLock::new().map_err(io)?;
        drop(lock.blocking_read());
        drop(lock.blocking_write());
        Ok(())
    });
    report.attempt("Semaphore", || {
        let semaphore = Semaphore::new(1).map_err(io)?;
        drop(semaphore.blocking_acquire());
        semaphore.add_permits(1).map_err(io)?;
        ensure(semaphore.available_permits() == 2, "another number")
    });
    report.attempt("Event", || {
        let event = Event::new().map_err(io)?;
        event.set();
        event.blocking_wait();
        Ok(())
    });
    report.attempt("Condition", || {
        let condition = Condition::new().map_err(io)?;
        let guard = condition.blocking_lock();
        condition.notify_all(&guard);
        drop(condition.blocking_wait_timeout(guard, Duration::from_millis(1)));
        Ok(())
    });
    report.attempt("Barrier", || {
        let barrier = Barrier::new(1).map_err(io)?;
        barrier.blocking_wait().map_err(text)?;
        Ok(())
    });
    report.attempt("Value", || {
        let value = Value::new(1_u64).map_err(io)?;
        value.blocking_set(2);
        ensure(value.blocking_get() == 2, "another value")
    });
    report.attempt("Array", || {
        let array = Array::<u64>::zeroed(100_000).map_err(io)?;
        array.blocking_set(99_999, 2);
        ensure(array.blocking_get(99_999) == Some(2), "another value")
    });
    report.attempt("SharedMemory", || {
        let memory = SharedMemory::create(100_000).map_err(io)?;
        memory.write(99_998, b"ab");
        ensure(memory.to_vec().ends_with(b"ab"), "other bytes")
    });
    report.attempt("named SharedMemory", || {
        let name = format!("environment.{}", std::process::id());
        let memory = SharedMemory::create_named(&name, 100_000).map_err(io)?;
        memory.write(99_998, b"ab");
        let same = SharedMemory::open(&name).map_err(io)?;
        ensure(same.to_vec().ends_with(b"ab"), "other bytes")
    });
    for (name, len) in [("small", 10), ("middle", 100_000), ("large", 3 << 20)] {
        report.attempt(&format!("Queue {name}"), || {
            let queue = Queue::<Vec<u8>>::unbounded().map_err(text)?;
            for _ in 0..3 {
                queue.blocking_put(vec![7; len]).map_err(text)?;
            }
            for _ in 0..3 {
                let item = queue.blocking_get().map_err(text)?;
                ensure(item == vec![7; len], "another item")?;
            }
            Ok(())
        });
        report.attempt(&format!("pipe {name}"), || {
            let (to, from) = pipe::<Vec<u8>, Vec<u8>>().map_err(text)?;
            // A value without a file of its own waits for its reader.
            std::thread::scope(|scope| {
                let reader = std::thread::Builder::new();
                let reader = reader.spawn_scoped(scope, || from.blocking_recv());
                let reader = reader.map_err(|error| format!("a thread: {error}"))?;
                let sent = to.blocking_send(vec![7; len]);
                if sent.is_err() {
                    drop(to); // The reader sees the end.
                }
                let value = reader.join().map_err(|_| "WRONG: a panic")?;
                sent.map_err(text)?;
                ensure(value.map_err(text)? == vec![7; len], "another value")
            })
        });
    }
    report.attempt("JoinableQueue", || {
        let queue = JoinableQueue::<u64>::bounded(2).map_err(text)?;
        queue.blocking_put(1).map_err(text)?;
        queue.blocking_get().map_err(text)?;
        queue.blocking_task_done().map_err(text)?;
        queue.blocking_join();
        Ok(())
    });
}

fn hold(lock: Lock, has_it: Event) {
    let _guard = lock.blocking_lock();
    has_it.set();
    never_end();
}

/// Takes a lock without the means to watch its holder.
fn take_blindly(lock: Lock) -> Option<u32> {
    filter::deny("pidfd_open", Answer::Error(libc::EPERM));
    lock.blocking_lock().abandoned_by()
}

/// A lock of a killed process becomes free for the next one, which sees a zombie and may be unable to open its pidfd.
pub(crate) fn dead_holders(report: &Report) {
    let start = || Process::builder().start_method(StartMethod::Spawn);
    for is_blind in [false, true] {
        let name = ["dead holder", "dead holder that cannot be watched"][usize::from(is_blind)];
        report.attempt(name, || {
            let lock = Lock::new().map_err(text)?;
            let has_it = Event::new().map_err(text)?;
            let holder = start().blocking_spawn(hold, (lock.clone(), has_it.clone()));
            let holder = holder.map_err(text)?;
            has_it.blocking_wait();
            holder.kill();
            let dead = match is_blind {
                true => {
                    let next = start().blocking_spawn(take_blindly, lock);
                    next.map_err(text)?.blocking_join().map_err(text)?
                }
                false => lock.blocking_lock().abandoned_by(),
            };
            ensure(dead == Some(holder.pid()), "nobody died")
        });
    }
}

/// Wakes a thread.
struct Unpark(std::thread::Thread);

impl std::task::Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// A pool whose caller is in no runtime, and which therefore has its own.
pub(crate) fn without_a_runtime(report: &Report) {
    report.attempt("without a runtime", || {
        let builder = ProcessPoolExecutor::builder().start_method(StartMethod::Spawn);
        let pool = builder.max_workers(1).build().map_err(text)?;
        let mut task = pin!(pool.submit(double, 21));
        let waker = Arc::new(Unpark(std::thread::current())).into();
        let mut context = Context::from_waker(&waker);
        let value = loop {
            match task.as_mut().poll(&mut context) {
                Poll::Ready(value) => break value,
                Poll::Pending => std::thread::park(),
            }
        };
        ensure(value.map_err(text)? == 42, "another value")
    });
}

/// In a program without standard streams, no file of the crate takes their numbers: the program's prints would go
/// there.
pub(crate) fn standard_streams(report: &Report) {
    report.attempt("standard streams", || {
        let runtime = runtime()?; // Its files are not of the crate.
        let saved = [0, 1, 2].map(|stream| {
            // SAFETY: it makes a copy, if the stream is open.
            unsafe { libc::fcntl(stream, libc::F_DUPFD_CLOEXEC, 10) }
        });
        for stream in 0..3 {
            // SAFETY: no code uses the standard streams until they are open again.
            unsafe { libc::close(stream) };
        }
        let outcome = runtime.block_on(async {
            let lock = Lock::new().map_err(text)?;
            let event = Event::new().map_err(text)?;
            let queue = Queue::unbounded().map_err(text)?;
            let memory = SharedMemory::create(10).map_err(text)?;
            let (to, from) = pipe::<(Lock, Vec<u8>), (Lock, Vec<u8>)>().map_err(text)?;
            let value = (lock.clone(), vec![7; 100]);
            to.send(value.clone()).await.map_err(text)?;
            let received = from.recv().await.map_err(text)?;
            queue.put(value).await.map_err(text)?;
            let taken = queue.get().await.map_err(text)?;
            let mut pools = Vec::new();
            for method in [StartMethod::Spawn, StartMethod::ForkServer] {
                let pool = ProcessPoolExecutor::builder().start_method(method);
                let pool = pool.max_workers(1).build().map_err(text)?;
                pool.submit(double, 21).await.map_err(text)?;
                pools.push(pool);
                let process = Process::builder().start_method(method);
                let process = process.spawn(double, 21).await.map_err(text)?;
                process.join().await.map_err(text)?;
            }
            for stream in 0..3 {
                // SAFETY: it only asks whether the descriptor is open.
                let flags = unsafe { libc::fcntl(stream, libc::F_GETFD) };
                let file = std::fs::read_link(format!("/proc/self/fd/{stream}"));
                ensure(flags == -1, &format!("{stream} is {file:?}"))?;
            }
            drop((lock, event, queue, memory, to, from, received, taken));
            for pool in pools {
                pool.shutdown().await;
            }
            Ok(())
        });
        for (stream, copy) in (0..).zip(saved) {
            // SAFETY: it puts the stream back in its place.
            unsafe { libc::dup2(copy, stream) };
        }
        outcome
    });
}

/// No process is left for which this one must wait.
pub(crate) fn nothing_left(report: &Report) {
    report.attempt("no child left", || {
        // A thread may not have taken an exit status yet. (The fork server of processes lives as long as this process.)
        let is_zombie = |child: &String| child.ends_with('Z');
        while programs::tasks::children().iter().any(is_zombie) {
            std::thread::yield_now();
        }
        Ok(())
    });
}
