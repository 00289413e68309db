//! One value for many calls: decoded once in each worker, and freed after the last handle.

#![cfg(feature = "multiprocessing")]
#![cfg(target_os = "linux")]

#[path = "common/again.rs"]
mod again;
#[path = "common/alone.rs"]
mod alone;
mod common;
#[path = "common/kinds.rs"]
mod kinds;
#[path = "common/methods.rs"]
mod methods;

use std::collections::BTreeMap;
use std::fs;
use std::sync::atomic::{AtomicUsize, Ordering};

use concurrent_futures::multiprocessing::{Lock, Process, Queue, Value};
use concurrent_futures::{
    ExecutorExt as _, ProcessPoolExecutor, SharedArg, StartMethod, TaskOptions, ThreadPoolExecutor,
};
use futures::StreamExt as _;
use rustix::process::{Pid, Signal, kill_process};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use self::alone::{alone, children, descriptors};
use self::common::{Gate, Key, eventually, within};
use self::kinds::{Kind, held_by_every_executor};
use self::methods::{builder, held_by_every_start_method, processes};

concurrent_futures::init_before_main!();

held_by_every_executor! { 2;
    a_shared_argument_goes_wherever_an_argument_does,
}

held_by_every_start_method! { 1;
    a_worker_decodes_a_shared_argument_once,
    a_worker_frees_a_shared_argument_after_the_last_handle,
    calls_that_wait_keep_a_shared_argument_for_their_worker,
    a_worker_that_replaces_another_decodes_a_shared_argument_again,
    a_kill_in_the_middle_of_a_chunk_leaves_its_shared_argument_to_the_other_items,
    an_item_that_runs_once_more_has_its_shared_argument,
    a_shared_argument_that_cannot_be_decoded_fails_its_tasks_and_no_other,
    items_of_a_chunk_may_have_many_shared_arguments_and_objects_beside_them,
    a_shared_argument_may_hold_shared_objects,
    an_initializer_gets_a_shared_argument_that_its_worker_keeps,
    a_task_may_pass_a_shared_argument_on,
}

/// How many tables this process has decoded, and dropped.
static DECODED: AtomicUsize = AtomicUsize::new(0);
static DROPPED: AtomicUsize = AtomicUsize::new(0);

/// Counts its decodings.
#[derive(Debug, Serialize)]
struct Table(Vec<u64>);

impl<'de> Deserialize<'de> for Table {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        DECODED.fetch_add(1, Ordering::Relaxed);
        Vec::deserialize(deserializer).map(Table)
    }
}

fn table(len: u64) -> SharedArg<Table> {
    SharedArg::new(Table((0..len).map(|n| n * n).collect()))
}

impl Drop for Table {
    fn drop(&mut self) {
        DROPPED.fetch_add(1, Ordering::Relaxed);
    }
}

/// The square of a number, the worker's id, and how many tables it has decoded.
fn look_up(table: SharedArg<Table>, n: usize) -> (u64, u32, usize) {
    let decoded = DECODED.load(Ordering::Relaxed);
    (table.0[n], std::process::id(), decoded)
}

fn shout(text: SharedArg<String>) -> String {
    text.to_uppercase()
}

type Both = (SharedArg<String>, Option<SharedArg<Vec<f64>>>);

fn inside(both: Vec<Both>) -> (usize, f64) {
    let (text, numbers) = &both[0];
    let sum = |numbers: &SharedArg<Vec<f64>>| numbers.iter().sum();
    (text.len(), numbers.as_ref().map_or(0.0, sum))
}

/// The functions that a cluster knows.
#[cfg(all(feature = "cluster", target_os = "linux"))]
fn named_tasks() -> concurrent_futures::cluster::Functions {
    concurrent_futures::functions![shout, inside, look_up]
}

async fn a_shared_argument_goes_wherever_an_argument_does(kind: Kind) {
    let pool = kind.pool(2);
    let text = SharedArg::new("text".to_owned());
    if kind.asks_a_server() {
        // Machines share no memory.
        let error = within(pool.submit(shout, text)).await.expect_err("refused");
        assert!(error.is_codec() && !error.was_started(), "{error}");
        assert!(error.to_string().contains("`SharedArg`"), "{error}");
        return;
    }
    let numbers = SharedArg::new(vec![0.5; 1000]);
    assert_eq!(
        within(pool.submit(shout, text.clone()))
            .await
            .expect("text"),
        "TEXT"
    );
    let both = vec![(text.clone(), Some(numbers.clone()))];
    let one = within(pool.submit(inside, both));
    assert_eq!(one.await.expect("both"), (4, 500.0));
    let squares = table(1000);
    let items = (0..1000).map(move |n| (squares.clone(), n));
    let found: Vec<_> = within(pool.map(look_up, items).collect()).await;
    for (n, found) in (0..).zip(found) {
        assert_eq!(found.expect("it is there").0, n * n);
    }
    within(pool.shutdown()).await;
}

#[tokio::test]
async fn on_threads_a_shared_argument_is_the_value_itself_and_needs_no_serde() {
    struct Opaque(u32);
    let pool = ThreadPoolExecutor::with_workers(2).expect("threads");
    let shared = SharedArg::new(Opaque(7));
    let address = std::ptr::from_ref(&*shared).addr();
    let look = |shared: SharedArg<Opaque>| (shared.0, std::ptr::from_ref(&*shared).addr());
    let handle = pool.submit(look, shared.clone());
    assert_eq!(within(handle).await.expect("a result"), (7, address));
    let texts = SharedArg::new("by any executor".to_owned());
    let address = texts.as_ptr().addr();
    let executor: std::sync::Arc<dyn concurrent_futures::Executor> = std::sync::Arc::new(pool);
    let look = |text: SharedArg<String>| text.as_ptr().addr();
    assert_eq!(
        within(executor.submit(look, texts))
            .await
            .expect("a result"),
        address
    );
}

async fn a_worker_decodes_a_shared_argument_once(method: StartMethod) {
    let pool = processes(method, 2);
    for (round, chunk_size) in [(1, 1), (2, 7), (3, 500)] {
        let squares = table(100);
        let items = (0..1000).map({
            let squares = squares.clone();
            move |n| (squares.clone(), n % 100)
        });
        let mut found = pool.map(look_up, items).chunk_size(chunk_size);
        while let Some(found) = within(found.next()).await {
            let (_, _, decoded) = found.expect("it is there");
            assert!(decoded <= round, "{decoded} in round {round}");
        }
        let singles = (0..50).map(|n| pool.submit(look_up, (squares.clone(), n)));
        for single in singles.collect::<Vec<_>>() {
            assert!(within(single).await.expect("it is there").2 <= round);
        }
    }
}

/// How many descriptors a process has.
fn open_files(pid: u32) -> usize {
    let open = fs::read_dir(format!("/proc/{pid}/fd"));
    open.expect("it is there").count()
}

/// How many descriptors a worker has for a value that it keeps.
const KEPT: usize = 2;

async fn a_worker_frees_a_shared_argument_after_the_last_handle(method: StartMethod) {
    let pool = processes(method, 1);
    let pid = within(pool.submit(std::process::id, ())).await;
    let pid = pid.expect("a worker");
    let before = open_files(pid);
    for round in 1..4 {
        let (squares, cubes) = (table(100), table(200));
        for n in [1, 2] {
            for table in [&squares, &cubes] {
                let found = within(pool.submit(look_up, (table.clone(), n))).await;
                assert_eq!(found.expect("it is there").1, pid);
            }
        }
        assert_eq!(open_files(pid), before + 2 * KEPT);
        let other = squares.clone();
        drop((squares, cubes));
        eventually(|| open_files(pid) == before + KEPT).await; // The worker waits for a call.
        let found = within(pool.submit(look_up, (other.clone(), 3))).await;
        assert_eq!(found.expect("it is kept").2, 2 * round);
        drop(other);
        eventually(|| open_files(pid) == before).await;
        let dropped = within(pool.submit(|| DROPPED.load(Ordering::Relaxed), ())).await;
        assert_eq!(dropped.expect("a number"), 2 * round);
    }
}

#[test]
fn the_sender_frees_a_shared_argument_with_the_last_handle_and_call() {
    const NAME: &str = "the_sender_frees_a_shared_argument_with_the_last_handle_and_call";
    alone(NAME, async || {
        let pool = ProcessPoolExecutor::with_workers(1).expect("processes");
        within(pool.submit(u64::pow, (2, 8)))
            .await
            .expect("a worker");
        let before = descriptors().len();
        let squares = table(100);
        assert_eq!(descriptors().len(), before, "it is not encoded yet");
        let items = (0..100).map(move |n| (squares.clone(), n));
        let mut found = pool.map(look_up, items).chunk_size(10);
        within(found.next())
            .await
            .expect("a result")
            .expect("it is there");
        assert!(descriptors().len() > before);
        while let Some(found) = within(found.next()).await {
            found.expect("it is there");
        }
        drop(found);
        eventually(|| descriptors().len() == before).await;
    });
}

/// The caller drops its handle while the calls wait.
async fn calls_that_wait_keep_a_shared_argument_for_their_worker(method: StartMethod) {
    let pool = processes(method, 1);
    let gate = Gate::new();
    let busy = pool.submit(|key: Key| key.wait(), gate.key());
    let guest = gate.guest().await;
    let squares = table(100);
    let handles: Vec<_> = (0..100)
        .map(|n| pool.submit(look_up, (squares.clone(), n)))
        .collect();
    drop(squares);
    guest.let_in().await;
    within(busy).await.expect("it was let in");
    let mut most = 0;
    for handle in handles {
        most = most.max(within(handle).await.expect("it is there").2);
    }
    assert_eq!(most, 1);
}

fn kill(pid: u32) {
    let pid = Pid::from_raw(pid.cast_signed()).expect("an id");
    kill_process(pid, Signal::KILL).expect("it is there");
}

async fn a_worker_that_replaces_another_decodes_a_shared_argument_again(method: StartMethod) {
    let pool = processes(method, 1);
    let squares = table(100);
    let mut last = 0;
    for _ in 0..3 {
        let found = within(pool.submit(look_up, (squares.clone(), 9))).await;
        let (square, pid, decoded) = found.expect("it is there");
        assert_eq!((square, decoded), (81, 1));
        assert_ne!(pid, last);
        last = pid;
        kill(pid);
        eventually(|| !children().contains(&pid) || method != StartMethod::Spawn).await;
        eventually(|| pool.workers().iter().all(|worker| worker.pid() != pid)).await;
    }
}

/// As `look_up`, but one item kills its worker.
fn look_up_or_die(table: SharedArg<Table>, n: usize) -> u64 {
    if n == 33 {
        std::process::abort();
    }
    table.0[n]
}

async fn a_kill_in_the_middle_of_a_chunk_leaves_its_shared_argument_to_the_other_items(
    method: StartMethod,
) {
    let pool = processes(method, 2);
    let squares = table(100);
    let items = (0..100).map(move |n| (squares.clone(), n));
    let found: Vec<_> = within(pool.map(look_up_or_die, items).chunk_size(50).collect()).await;
    for (n, found) in (0..).zip(found) {
        match found {
            Ok(found) => assert_eq!(found, n * n),
            Err(error) => assert!(n == 33 && error.is_worker_lost(), "{n}: {error}"),
        }
    }
}

/// The first run of an item kills its worker.
fn look_up_in_the_second_run(table: SharedArg<Table>, (n, runs): (usize, Value<u64>)) -> u64 {
    let mut runs = runs.blocking_lock();
    *runs += 1;
    let is_first = *runs == 1;
    drop(runs);
    if is_first {
        std::process::abort();
    }
    table.0[n]
}

async fn an_item_that_runs_once_more_has_its_shared_argument(method: StartMethod) {
    let pool = processes(method, 1);
    let squares = table(100);
    let runs = Value::new(0).expect("memory");
    let options = TaskOptions::new().retries(1);
    let args = (squares.clone(), (8, runs));
    let found = within(pool.submit_with(&options, look_up_in_the_second_run, args)).await;
    assert_eq!(found.expect("the second run"), 64);
    let dies_once = |table: SharedArg<Table>, folder: String, n: usize| {
        let first = fs::File::create_new(format!("{folder}/{n}")).is_ok();
        if n == 5 && first {
            std::process::abort();
        }
        table.0[n]
    };
    let folder = common::folder::Folder::new();
    let path = folder.path().to_str().expect("text").to_owned();
    let items = (0..10).map(move |n| (squares.clone(), path.clone(), n));
    let found = pool.map(dies_once, items).options(options).chunk_size(10);
    for (n, found) in (0..).zip(within(found.collect::<Vec<_>>()).await) {
        assert_eq!(found.expect("each has a value"), n * n);
    }
}

#[derive(Serialize)]
struct Unreadable(u32);

impl<'de> Deserialize<'de> for Unreadable {
    fn deserialize<D: Deserializer<'de>>(_: D) -> Result<Self, D::Error> {
        Err(serde::de::Error::custom("it never was readable"))
    }
}

async fn a_shared_argument_that_cannot_be_decoded_fails_its_tasks_and_no_other(
    method: StartMethod,
) {
    fn read(_: Option<SharedArg<Unreadable>>, n: u32) -> u32 {
        n
    }
    let pool = processes(method, 1);
    let unreadable = SharedArg::new(Unreadable(1));
    let items = (0..100).map(move |n| ((n % 2 == 1).then(|| unreadable.clone()), n));
    let found: Vec<_> = within(pool.map(read, items).chunk_size(20).collect()).await;
    for (n, found) in (0..).zip(found) {
        match found {
            Ok(found) => assert!(found == n && n % 2 == 0),
            Err(error) => {
                assert!(n % 2 == 1 && error.is_codec(), "{n}: {error}");
                assert!(
                    error.to_string().contains("it never was readable"),
                    "{error}"
                );
            }
        }
    }
}

/// Counts how often encoding it is tried.
struct Unwritable;

static TRIED: AtomicUsize = AtomicUsize::new(0);

impl Serialize for Unwritable {
    fn serialize<S: Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
        TRIED.fetch_add(1, Ordering::Relaxed);
        Err(serde::ser::Error::custom("it never was writable"))
    }
}

impl<'de> Deserialize<'de> for Unwritable {
    fn deserialize<D: Deserializer<'de>>(_: D) -> Result<Self, D::Error> {
        Ok(Self)
    }
}

#[tokio::test]
async fn a_shared_argument_that_cannot_be_encoded_is_tried_once_and_fails_its_tasks() {
    let pool = ProcessPoolExecutor::with_workers(1).expect("processes");
    let unwritable = SharedArg::new(Unwritable);
    let items = vec![unwritable.clone(); 10];
    for found in within(
        pool.map(|_: SharedArg<Unwritable>| (), items)
            .collect::<Vec<_>>(),
    )
    .await
    {
        let error = found.expect_err("it cannot be sent");
        assert!(
            error.is_codec() && error.to_string().contains("it never was writable"),
            "{error}"
        );
    }
    assert_eq!(TRIED.load(Ordering::Relaxed), 1);
    let error = unwritable.prepare().expect_err("it cannot be encoded");
    assert_eq!(error.kind(), std::io::ErrorKind::InvalidData);
}

#[test]
fn a_shared_argument_without_room_fails_its_tasks_and_may_find_room_later() {
    const NAME: &str = "a_shared_argument_without_room_fails_its_tasks_and_may_find_room_later";
    alone(NAME, async || {
        use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
        let pool = ProcessPoolExecutor::with_workers(1).expect("processes");
        within(pool.submit(u64::pow, (2, 8)))
            .await
            .expect("a worker");
        let squares = table(1 << 20);
        let before = getrlimit(Resource::Fsize);
        let current = Some(1 << 20);
        setrlimit(Resource::Fsize, Rlimit { current, ..before }).expect("a lower limit");
        let error = squares.prepare().expect_err("no file may be as large");
        assert_eq!(error.kind(), std::io::ErrorKind::OutOfMemory, "{error}");
        let error = within(pool.submit(look_up, (squares.clone(), 3))).await;
        let error = error.expect_err("it cannot be sent");
        assert!(error.is_codec(), "{error}");
        setrlimit(Resource::Fsize, before).expect("the limit as it was");
        squares.prepare().expect("there is room");
        let found = within(pool.submit(look_up, (squares, 3))).await;
        assert_eq!(found.expect("it is there").0, 9);
    });
}

async fn items_of_a_chunk_may_have_many_shared_arguments_and_objects_beside_them(
    method: StartMethod,
) {
    fn sum(
        one: SharedArg<u64>,
        same: SharedArg<u64>,
        all: SharedArg<Vec<u64>>,
        lock: Option<Lock>,
    ) -> u64 {
        let _held = lock.as_ref().map(Lock::blocking_lock);
        *one + *same + all.len() as u64
    }
    let pool = processes(method, 1);
    let all = SharedArg::new(vec![0; 1000]);
    let lock = Lock::new().expect("a lock");
    let items = (0..300).map(|n| {
        let one = SharedArg::new(n);
        let lock = (n % 10 == 7).then(|| lock.clone());
        (one.clone(), one, all.clone(), lock)
    });
    let items: Vec<_> = items.collect();
    let found = pool.map(sum, items).chunk_size(300);
    for (n, found) in (0..).zip(within(found.collect::<Vec<_>>()).await) {
        assert_eq!(found.expect("a sum"), 2 * n + 1000);
    }
}

async fn a_shared_argument_may_hold_shared_objects(method: StartMethod) {
    fn add(both: SharedArg<(Value<u64>, Vec<u64>)>, n: usize) {
        *both.0.blocking_lock() += both.1[n];
    }
    let pool = processes(method, 2);
    let sum = Value::new(0).expect("memory");
    let both = SharedArg::new((sum.clone(), (0..100).collect()));
    let items = (0..100).map(|n| (both.clone(), n));
    let found = pool.map(add, items.collect::<Vec<_>>());
    for found in within(found.collect::<Vec<_>>()).await {
        found.expect("it was added");
    }
    assert_eq!(sum.get().await, 99 * 100 / 2);
}

async fn an_initializer_gets_a_shared_argument_that_its_worker_keeps(method: StartMethod) {
    let squares = table(100);
    let initialize = |table: SharedArg<Table>| assert_eq!(table.0[3], 9);
    let pool = builder(method)
        .max_workers(1)
        .initializer(initialize, squares.clone());
    let pool = pool.build().expect("a pool");
    let found = within(pool.submit(look_up, (squares, 4))).await;
    let (square, _, decoded) = found.expect("it is there");
    assert_eq!((square, decoded), (16, 1));
}

async fn a_task_may_pass_a_shared_argument_on(method: StartMethod) {
    fn pass_on(table: SharedArg<Table>) -> (u64, u32, usize) {
        let pool = ProcessPoolExecutor::with_workers(1).expect("a pool in a worker");
        let handle = pool.submit(look_up, (table, 5));
        handle.blocking_join().expect("it is there")
    }
    let pool = processes(method, 1);
    let (square, pid, decoded) = within(pool.submit(pass_on, table(100)))
        .await
        .expect("a result");
    assert_eq!((square, decoded), (25, 1));
    assert_ne!(pid, pool.workers()[0].pid());
}

#[tokio::test]
async fn a_shared_argument_travels_to_a_process_and_through_a_queue() {
    fn put_on(
        queue: Queue<SharedArg<BTreeMap<u32, String>>>,
        names: SharedArg<BTreeMap<u32, String>>,
    ) {
        queue.blocking_put(names).expect("it is taken");
    }
    let names: BTreeMap<u32, String> = (0..1000).map(|n| (n, n.to_string())).collect();
    let queue = Queue::unbounded().expect("a queue");
    let shared = SharedArg::new(names.clone());
    let process = within(Process::spawn(put_on, (queue.clone(), shared))).await;
    let process = process.expect("a process");
    within(process.join()).await.expect("it ends well");
    let received = within(queue.get()).await.expect("it was put");
    assert_eq!(*received, names);
}

#[test]
fn a_shared_argument_is_serialized_for_processes_only() {
    let shared = SharedArg::new(7_u32);
    let error = rmp_serde::to_vec(&shared).expect_err("MessagePack carries no memory");
    assert!(error.to_string().contains("argument of a task"), "{error}");
}
