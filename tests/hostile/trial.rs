//! A pool with honest tasks and one hostile task.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;

use concurrent_futures::multiprocessing::Lock;
use concurrent_futures::{
    Executor as _, ExecutorExt as _, JoinHandle, ProcessPoolBuilder, ProcessPoolExecutor, TaskError,
};
use futures::StreamExt as _;

use super::common::folder::Folder;
use super::common::{Gate, Guest, Key, eventually, within};

/// A test that takes this long hangs, with the locks that it holds.
const TIME_LIMIT: Duration = Duration::from_secs(240);

/// A pool, its honest tasks, and the records that they left.
pub(crate) struct Trial {
    pub(crate) pool: Arc<ProcessPoolExecutor>,
    /// The gate at which hostile tasks wait once they have done their work.
    pub(crate) gate: Gate,
    honest: Vec<JoinHandle<u32>>,
    /// The number of honest tasks whose success was checked.
    checked: u32,
    runs: Folder,
    _watchdog: mpsc::Sender<()>,
}

/// An honest task: returns its number, and records that it ran.
fn honest(runs: PathBuf, number: u32) -> u32 {
    let run = runs.join(number.to_string());
    let file = File::options().append(true).create(true).open(run);
    let noted = file.and_then(|mut file| file.write_all(b"."));
    noted.expect("the test's folder is there");
    number
}

fn honest_with_object(lock: Lock, runs: PathBuf, number: u32) -> u32 {
    let _held = lock.blocking_lock();
    honest(runs, number)
}

pub(crate) fn double(number: u64) -> u64 {
    number * 2
}

impl Trial {
    pub(crate) fn new(builder: ProcessPoolBuilder) -> Self {
        let pool = builder.build().expect("a pool");
        Self {
            pool: Arc::new(pool),
            gate: Gate::new(),
            honest: Vec::new(),
            checked: 0,
            runs: Folder::new(),
            _watchdog: watchdog(), // After the pool: `Fork` needs a process with one thread.
        }
    }

    /// Submits honest tasks.
    pub(crate) fn submit_honest(&mut self, count: u32) {
        let first = self.checked + self.honest.len() as u32;
        for number in first..first + count {
            let runs = self.runs.path().to_owned();
            self.honest.push(self.pool.submit(honest, (runs, number)));
        }
    }

    /// As `submit_honest`, with an object that processes share.
    pub(crate) fn submit_with_objects(&mut self, count: u32) {
        let first = self.checked + self.honest.len() as u32;
        for number in first..first + count {
            let lock = Lock::new().expect("a lock");
            let runs = self.runs.path().to_owned();
            let args = (lock, runs, number);
            self.honest.push(self.pool.submit(honest_with_object, args));
        }
    }

    /// Checks that each honest task so far has run once and returned its number.
    pub(crate) async fn all_honest(&mut self) {
        for handle in self.honest.drain(..) {
            let number = within(handle).await.expect("an honest task");
            assert_eq!(number, self.checked);
            let run = fs::read(self.runs.path().join(number.to_string()));
            assert_eq!(run.expect("it ran").len(), 1, "{number} ran once");
            self.checked += 1;
        }
    }

    /// Waits until everything that was submitted has an outcome. Workers then have no outcomes to write, which could
    /// mix with what a hostile task writes.
    pub(crate) async fn is_quiet(&self) {
        eventually(|| {
            let stats = self.pool.stats();
            (stats.queued, stats.running) == (0, 0)
        })
        .await;
    }

    /// The gate's key.
    pub(crate) fn key(&self) -> Key {
        self.gate.key()
    }

    /// Waits until a hostile task has done its work.
    #[track_caller]
    pub(crate) fn hostile(&self) -> impl Future<Output = Guest> {
        self.gate.guest()
    }

    /// Checks that each honest task has run once and returned its number, that the pool works and is empty, and that it
    /// ends.
    pub(crate) async fn harms_no_other(mut self) {
        self.all_honest().await;
        let numbers: Vec<u64> = (0..200).collect();
        let doubled = self.pool.map(double, numbers);
        let doubled: Vec<Result<u64, TaskError>> = within(doubled.collect()).await;
        for (number, doubled) in (0..).zip(doubled) {
            assert_eq!(doubled.expect("the pool works"), 2 * number);
        }
        self.is_quiet().await;
        within(self.pool.shutdown()).await;
        assert_eq!(self.pool.stats().workers, 0);
    }
}

/// Ends the process if the result is not dropped in time. A thread that spins in a lock would otherwise hang the test
/// even while it fails.
fn watchdog() -> mpsc::Sender<()> {
    let (alive, ends) = mpsc::channel();
    std::thread::spawn(move || {
        if ends.recv_timeout(TIME_LIMIT) == Err(RecvTimeoutError::Timeout) {
            eprintln!("a trial hangs");
            std::process::abort();
        }
    });
    alive
}

/// Whether the worker was ended because it broke the protocol.
#[allow(dead_code, reason = "for trials of what a worker sends")]
#[track_caller]
pub(crate) fn is_breach(error: &TaskError, words: &str) {
    assert!(error.is_worker_lost(), "{error}");
    assert!(error.to_string().contains(words), "{error}");
}
