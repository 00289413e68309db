//! Cases that failed once, or that could easily fail.

#![cfg(feature = "process")]
#![cfg(target_os = "linux")]

#[path = "common/again.rs"]
mod again;
mod common;
#[path = "common/methods.rs"]
mod methods;

use std::fs::File;
use std::path::PathBuf;
use std::pin::pin;
use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use concurrent_futures::{
    Executor as _, ExecutorExt as _, Output, ProcessPoolExecutor, Shutdown, StartMethod,
    TaskOptions, ThreadPoolExecutor,
};
use futures::{StreamExt as _, poll};
use rustix::process::{Resource, Rlimit, setrlimit};
use serde::{Deserialize, Serialize};

use self::common::folder::Folder;
use self::common::{Gate, Key, within};
use self::methods::{builder, held_by_every_start_method, processes};

concurrent_futures::init_before_main!();

/// The longest wait for one thing.
const TIME_LIMIT: Duration = Duration::from_secs(10);

held_by_every_start_method! { 1;
    an_item_that_cannot_be_decoded_leaves_its_neighbours_their_arguments,
    a_shutdown_returns_by_its_deadline_in_the_middle_of_a_chunk,
    a_deadline_beyond_all_clocks_is_none,
    an_initializer_that_fails_beside_a_ready_worker_starts_no_storm,
    a_pool_is_not_broken_as_long_as_a_worker_may_get_ready,
    a_call_that_no_worker_survives_reading_is_blamed_in_the_end,
    kept_workers_that_cannot_start_leave_no_task_waiting,
    a_worker_that_has_left_its_process_group_is_ended_all_the_same,
    a_task_that_closes_every_descriptor_has_its_outcome_and_spoils_no_file,
    an_initializer_or_a_preload_that_closes_every_descriptor_is_reported_and_corrupts_no_file,
}

fn double(x: u64) -> u64 {
    x * 2
}

fn wait_at(gate: Key) {
    gate.wait();
}

/// A number that is not 0; a worker refuses to decode that.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(try_from = "u32")]
struct Positive(u32);

impl TryFrom<u32> for Positive {
    type Error = &'static str;

    fn try_from(n: u32) -> Result<Self, Self::Error> {
        if n == 0 { Err("zero") } else { Ok(Self(n)) }
    }
}

// serde writes a struct of one field as that field.
fn pair(a: Positive, b: u32) -> (u32, u32) {
    (a.0, b)
}

async fn an_item_that_cannot_be_decoded_leaves_its_neighbours_their_arguments(method: StartMethod) {
    let pool = processes(method, 1);
    let pairs = [(1, 2), (0, 9), (3, 4), (5, 6)].map(|(a, b)| (Positive(a), b));
    let results = within(pool.map(pair, pairs).chunk_size(4).collect::<Vec<_>>()).await;
    let results: Vec<_> = results.into_iter().map(Result::ok).collect();
    assert_eq!(results, [Some((1, 2)), None, Some((3, 4)), Some((5, 6))]);
    within(pool.shutdown()).await;
}

async fn a_shutdown_returns_by_its_deadline_in_the_middle_of_a_chunk(method: StartMethod) {
    let pool = processes(method, 1);
    let gate = Gate::new();
    let mut results = pool
        .map(wait_at, [(); 3].map(|()| gate.key()))
        .chunk_size(3);
    assert!(poll!(results.next()).is_pending());
    let guest = gate.guest().await;
    let how = Shutdown::new().deadline(Duration::from_millis(10));
    let report = within(pool.shutdown_with(how)).await;
    assert_eq!(
        (report.finished, report.cancelled, report.killed),
        (0, 2, 1)
    );
    guest.gone().await;
    assert_eq!(pool.stats().workers, 0);
}

async fn a_deadline_beyond_all_clocks_is_none(method: StartMethod) {
    let how = Shutdown::new().deadline(Duration::MAX);
    let processes = processes(method, 1);
    within(processes.shutdown_with(how)).await;
    let threads = ThreadPoolExecutor::with_workers(1).expect("a pool");
    within(threads.shutdown_with(how)).await;
}

/// Succeeds in one process only.
fn be_the_only_one(file: PathBuf) -> Result<(), std::io::Error> {
    File::create_new(file).map(drop)
}

async fn an_initializer_that_fails_beside_a_ready_worker_starts_no_storm(method: StartMethod) {
    let directory = Folder::new();
    let pool = builder(method)
        .max_workers(2)
        .initializer(be_the_only_one, directory.path().join("one"))
        .build()
        .expect("a pool");
    let tasks: Vec<_> = (0..2000).map(|n| pool.submit(double, n)).collect();
    for (n, task) in (0..).zip(tasks) {
        assert_eq!(within(task).await.expect("one worker does it all"), n * 2);
    }
    // Each failure is an occasion to try again; the pauses between tries grow.
    let failed = pool.stats().restarts.failed_to_start;
    assert!(failed < 20, "{failed} starts failed");
    within(pool.shutdown()).await;
}

/// Fails in the first three processes.
fn be_the_fourth(directory: PathBuf) -> Result<(), &'static str> {
    match (0..3).any(|n| File::create_new(directory.join(n.to_string())).is_ok()) {
        true => Err("not yet"),
        false => Ok(()),
    }
}

async fn a_pool_is_not_broken_as_long_as_a_worker_may_get_ready(method: StartMethod) {
    let directory = Folder::new();
    let pool = builder(method)
        .max_workers(4)
        .initializer(be_the_fourth, directory.path().to_owned())
        .build()
        .expect("a pool");
    let tasks: Vec<_> = (0..4).map(|n| pool.submit(double, n)).collect();
    for (n, task) in (0..).zip(tasks) {
        assert_eq!(within(task).await.expect("the fourth does it"), n * 2);
    }
    assert_eq!(within(pool.submit(double, 4)).await.expect("it goes on"), 8);
    within(pool.shutdown()).await;
}

/// Each of the two may wait for the other to become ready.
async fn kept_workers_that_cannot_start_leave_no_task_waiting(method: StartMethod) {
    let pool = builder(method)
        .max_workers(3)
        .min_workers(2)
        .initializer(|| Err::<(), _>("never"), ())
        .build()
        .expect("a pool");
    for _ in 0..2 {
        let error = within(pool.submit(double, 1)).await.expect_err("no worker");
        assert!(error.is_init_failed(), "{error}");
    }
    assert!(pool.stats().restarts.failed_to_start <= 24);
}

async fn a_worker_that_has_left_its_process_group_is_ended_all_the_same(method: StartMethod) {
    fn join_group(gate: Key, group: i32) {
        let group = rustix::process::Pid::from_raw(group);
        rustix::process::setpgid(None, group).expect("it is of the same session");
        gate.wait();
    }
    let pool = processes(method, 1);
    let gate = Gate::new();
    let own = rustix::process::getpgrp().as_raw_nonzero().get();
    let handle = pool.submit(join_group, (gate.key(), own));
    let guest = gate.guest().await;
    handle.abort();
    guest.gone().await;
    assert_eq!(within(pool.submit(double, 4)).await.expect("it ran"), 8);
    within(pool.shutdown()).await;
}

fn take_little_memory() {
    let limit = Some(200 << 20);
    let limit = Rlimit {
        current: limit,
        maximum: limit,
    };
    setrlimit(Resource::As, limit).expect("less is always granted");
}

fn size(bytes: Vec<u8>) -> usize {
    bytes.len()
}

async fn a_call_that_no_worker_survives_reading_is_blamed_in_the_end(method: StartMethod) {
    let pool = builder(method)
        .max_workers(1)
        .initializer(take_little_memory, ())
        .build()
        .expect("a pool");
    let error = within(pool.submit(size, vec![1; 300 << 20])).await;
    let error = error.expect_err("it does not fit a worker");
    assert!(
        error.is_worker_lost() && error.is_out_of_memory(),
        "{error}"
    );
    assert_eq!(pool.stats().restarts.crashed, 3);
    assert_eq!(
        within(pool.submit(size, vec![1; 100]))
            .await
            .expect("it fits"),
        100
    );
    within(pool.shutdown()).await;
}

/// A waker that queries the state of the pool, as the waker of a foreign executor may do.
struct AsksThePool {
    pool: Arc<ProcessPoolExecutor>,
    asked: Sender<Result<usize, RecvTimeoutError>>,
}

impl Wake for AsksThePool {
    fn wake(self: Arc<Self>) {
        let (pool, asked) = (self.pool.clone(), self.asked.clone());
        // On another thread, so that a lock that is held here causes a failure and not a hang.
        let (answer, answered) = channel();
        std::thread::spawn(move || answer.send(pool.stats().workers));
        let _ = asked.send(answered.recv_timeout(TIME_LIMIT));
    }
}

#[tokio::test]
async fn a_waker_may_ask_the_pool_that_wakes_it() {
    let pool = ProcessPoolExecutor::builder()
        .max_workers(1)
        .queue_capacity(1);
    let pool = Arc::new(pool.build().expect("a pool"));
    let (asked, answers) = channel();
    let waker = AsksThePool {
        pool: pool.clone(),
        asked,
    };
    let waker = Waker::from(Arc::new(waker));
    let mut context = Context::from_waker(&waker);
    let gate = Gate::new();
    let busy = pool.submit(wait_at, gate.key());
    let guest = gate.guest().await;
    // A caller that waits for room is woken when a worker takes the waiting task, and when that task expires.
    let waits = pool.submit(wait_at, gate.key());
    let mut room = pin!(pool.reserve());
    assert!(room.as_mut().poll(&mut context).is_pending());
    guest.let_in().await;
    let guest = gate.guest().await;
    let answer = answers.recv_timeout(TIME_LIMIT).expect("it was woken");
    answer.expect("the pool answers");
    let Poll::Ready(permit) = room.as_mut().poll(&mut context) else {
        panic!("there is room");
    };
    drop(permit);
    let options = TaskOptions::new().queue_timeout(Duration::from_millis(50));
    let expires = pool.submit_with(&options, double, 1);
    let mut room = pin!(pool.reserve());
    assert!(room.as_mut().poll(&mut context).is_pending());
    let error = within(expires).await.expect_err("it waited too long");
    assert!(error.is_rejected(), "{error}");
    let answer = answers.recv_timeout(TIME_LIMIT).expect("it was woken");
    answer.expect("the pool answers");
    guest.let_in().await;
    within(busy).await.expect("it ran");
    within(waits).await.expect("it ran");
}

/// Closes every descriptor from 3 on, and opens files, which get the numbers of the closed ones.
fn close_all_and_open_files(folder: PathBuf) -> usize {
    #[expect(
        unsafe_code,
        reason = "closes what it does not own, as some libraries do"
    )]
    // SAFETY: no code of this test uses any of them later.
    unsafe {
        libc::close_range(3, libc::c_uint::MAX, 0);
    }
    let files = (0..64).map(|number| File::create(folder.join(number.to_string())));
    // The files stay open.
    files
        .map(|file| std::mem::forget(file.expect("a file")))
        .count()
}

/// The folder has all those files, and they are empty.
fn assert_unspoilt(folder: &Folder) {
    let files: Vec<_> = std::fs::read_dir(folder.path())
        .expect("it is there")
        .collect();
    assert_eq!(files.len(), 64);
    for file in files {
        let file = file.expect("a file");
        let bytes = std::fs::read(file.path()).expect("a file");
        assert_eq!(bytes, b"", "{:?}", file.path());
    }
}

async fn a_task_that_closes_every_descriptor_has_its_outcome_and_spoils_no_file(
    method: StartMethod,
) {
    // Built before the runtime has more threads, as `Fork` needs it.
    let lines = || Output::lines(|_| ());
    let by_line = builder(method).stdout(lines()).stderr(lines());
    let pools =
        [builder(method), by_line].map(|builder| builder.max_workers(1).build().expect("a pool"));
    for pool in pools {
        let folder = Folder::new();
        let closes = pool.submit(close_all_and_open_files, folder.path().to_owned());
        assert_eq!(within(closes).await.expect("it ran"), 64);
        assert_eq!(within(pool.submit(double, 4)).await.expect("it ran"), 8);
        within(pool.shutdown()).await;
        assert_unspoilt(&folder);
    }
}

async fn an_initializer_or_a_preload_that_closes_every_descriptor_is_reported_and_corrupts_no_file(
    method: StartMethod,
) {
    fn close_and_open(folder: PathBuf) {
        close_all_and_open_files(folder);
    }
    let folders = [Folder::new(), Folder::new()];
    let [first, second] = folders.each_ref().map(|folder| folder.path().to_owned());
    let mut builders = vec![builder(method).initializer(close_and_open, first)];
    if method != StartMethod::Spawn {
        builders.push(builder(method).preload(close_and_open, second));
    }
    let pools = builders
        .into_iter()
        .map(|builder| builder.max_workers(1).build());
    let pools: Vec<_> = pools.map(|pool| pool.expect("a pool")).collect();
    for (number, (pool, folder)) in pools.iter().zip(&folders).enumerate() {
        let error = within(pool.submit(double, 4))
            .await
            .expect_err("its socket is closed");
        assert!(error.is_init_failed(), "{error}");
        let is_preload_of_a_fork = method == StartMethod::Fork && number == 1;
        let text = error.to_string(); // A fork writes to the program's own stderr.
        assert!(
            is_preload_of_a_fork || text.contains("descriptors of its worker"),
            "{text}"
        );
        within(pool.shutdown()).await;
        assert_unspoilt(folder);
    }
}
