//! Attempts to read the memory of other processes of the same user, as a debugger does.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::ErrorKind;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::FileExt as _;
use std::process::Command;

use concurrent_futures::multiprocessing::{Lock, Process, SharedMemory};
use concurrent_futures::{
    ExecutorExt as _, Limits, ProcessPoolBuilder, ProcessPoolExecutor, StartMethod,
};
use rustix::process::{DumpableBehavior, dumpable_behavior};

use super::again::run;
use super::alone::{children, descriptors};
use super::common::{eventually, within};
use super::methods::{builder, held_by_every_start_method, test_of};
use super::nobody::alone_as_nobody;

held_by_every_start_method! { 1;
    no_worker_is_dumpable_unless_the_builder_says_so,
    a_cleared_environment_is_in_no_memory_of_a_worker_or_a_process,
}

const METHODS: [StartMethod; 2] = [StartMethod::Spawn, StartMethod::ForkServer];

fn is_dumpable() -> bool {
    dumpable_behavior() == Ok(DumpableBehavior::Dumpable)
}

async fn no_worker_is_dumpable_unless_the_builder_says_so(method: StartMethod) {
    let core = |bytes| Limits::new().core_size(bytes);
    for (builder, expected) in [
        (builder(method), false),
        (builder(method).limits(core(0)), false),
        (builder(method).dumpable(true), true),
        (builder(method).limits(core(1)), true),
    ] {
        let pool = builder.max_workers(1).build().expect("a pool");
        let found = within(pool.submit(is_dumpable, ())).await;
        assert_eq!(found.expect("it ran"), expected);
        within(pool.shutdown()).await;
    }
    for dumpable in [false, true] {
        let process = Process::builder().start_method(method).dumpable(dumpable);
        let process = within(process.spawn(is_dumpable, ())).await;
        let found = within(process.expect("it starts").join()).await;
        assert_eq!(found.expect("it ran"), dumpable);
    }
    assert!(is_dumpable(), "this process stays as it was");
}

/// Those of these processes, and of this one's parent if it is among them, whose memory this process may read.
fn readable(pids: Vec<u32>) -> Vec<u32> {
    let own = std::process::id();
    let may_read = |pid: &u32| {
        let opened =
            ["environ", "maps", "mem"].map(|name| File::open(format!("/proc/{pid}/{name}")));
        let refused = |opened: &Result<File, std::io::Error>| matches!(opened, Err(error) if error.kind() == ErrorKind::PermissionDenied);
        !opened.iter().all(refused)
    };
    let others = pids.into_iter().filter(|pid| *pid != own);
    others.filter(may_read).collect()
}

fn parent_of(pid: u32) -> u32 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).expect("it is there");
    let (_, rest) = stat.rsplit_once(") ").expect("a name");
    rest.split(' ')
        .nth(1)
        .expect("a parent")
        .parse()
        .expect("an id")
}

/// A hostile task cannot read the memory of another worker or of the fork server.
#[test]
fn a_worker_cannot_read_the_memory_of_another_one() {
    alone_as_nobody(
        "memory::a_worker_cannot_read_the_memory_of_another_one",
        || async {
            for method in METHODS {
                let look = async |builder: ProcessPoolBuilder| {
                    let pool = builder.max_workers(2).build().expect("a pool");
                    within(pool.warm_up()).await.expect("two workers");
                    let workers = pool.workers();
                    let mut pids: Vec<u32> = workers.iter().map(|worker| worker.pid()).collect();
                    if method == StartMethod::ForkServer {
                        pids.push(parent_of(pids[0]));
                    }
                    let found = within(pool.submit(readable, pids.clone())).await;
                    within(pool.shutdown()).await;
                    (found.expect("it ran"), pids.len() - 1)
                };
                let (readable, _) = look(builder(method)).await;
                assert_eq!(readable, [0_u32; 0], "{method:?}");
                let (readable, others) = look(builder(method).dumpable(true)).await;
                assert_eq!(readable.len(), others, "{method:?}: a debugger reads each");
            }
        },
    );
}

/// The operations of an ordinary user's task on `/proc` and the objects of this crate.
fn use_everything(lock: Lock) -> Result<(), String> {
    let text = |error: std::io::Error| error.to_string();
    fs::read_to_string("/proc/self/statm").map_err(text)?;
    assert!(descriptors().len() > 3, "it finds its own");
    let name = format!("concurrent-futures-memory-{}", std::process::id());
    let named = SharedMemory::create_named(&name, 4096).map_err(text)?;
    SharedMemory::open(&name).map_err(text)?.write(0, b"shared");
    assert_eq!(&named.to_vec()[..6], b"shared");
    let echo = Command::new("sh")
        .args(["-c", "cat /proc/self/environ >/dev/null"])
        .status();
    assert!(
        echo.map_err(text)?.success(),
        "its own programs are as usual"
    );
    drop(lock.blocking_lock());
    let pool = ProcessPoolExecutor::with_workers(1).map_err(|error| error.to_string())?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let inner = runtime
        .map_err(text)?
        .block_on(pool.submit(u32::pow, (2, 5)));
    assert_eq!(inner.map_err(|error| error.to_string())?, 32);
    Ok(())
}

/// Ends while it holds the lock.
fn die_with(lock: Lock) {
    let _guard = lock.blocking_lock();
    std::process::abort();
}

#[test]
fn a_worker_of_an_ordinary_user_misses_nothing_that_it_needs() {
    let test = "memory::a_worker_of_an_ordinary_user_misses_nothing_that_it_needs";
    alone_as_nobody(test, || async {
        for method in METHODS {
            let lock = Lock::new().expect("a lock");
            let pool = builder(method).max_workers(1).max_memory_per_child(1);
            let pool = pool.build().expect("a pool");
            let used = within(pool.submit(use_everything, lock.clone())).await;
            assert_eq!(used.expect("it ran"), Ok(()), "{method:?}");
            // The task reads its own memory size, and the worker is replaced because of it.
            let first = pool.workers().first().map(|worker| worker.pid());
            eventually(|| {
                let worker = pool.workers().first().map(|worker| worker.pid());
                worker.is_some() && worker != first || pool.workers().is_empty()
            })
            .await;
            let died = within(pool.submit(die_with, lock.clone())).await;
            assert_eq!(died.expect_err("it aborts").signal(), Some(6));
            let guard = within(lock.lock()).await;
            assert!(
                guard.abandoned_by().is_some(),
                "{method:?}: the holder is known to be dead"
            );
            within(pool.shutdown()).await;
            assert_eq!(children(), [0_u32; 0], "{method:?}");
        }
    });
}

const SECRET: &str = "CONCURRENT_FUTURES_TEST_SECRET";
/// The value of the secret, with each bit inverted. Memory that holds this text holds no secret.
const HIDDEN: &[u8] = b"\xb7\x9a\x9d\x9a\x92\x9a\x8c\x8c\xbc\x90\x9b\x9a";

fn is_secret(bytes: &[u8]) -> bool {
    bytes
        .iter()
        .zip(HIDDEN)
        .all(|(byte, hidden)| *byte == !hidden)
}

/// Where the secret is in this process's writable memory, and whether its parent's environment shows it.
fn find_secret() -> (Vec<String>, bool) {
    const MOST: usize = 16 << 20;
    let maps = fs::read_to_string("/proc/self/maps").expect("/proc");
    let memory = File::open("/proc/self/mem").expect("it is dumpable");
    let mut found = Vec::new();
    for line in maps.lines().filter(|line| line.contains(" rw-p ")) {
        let (range, _) = line.split_once(' ').expect("a range");
        let (start, end) = range.split_once('-').expect("a range");
        let [start, end] =
            [start, end].map(|at| usize::from_str_radix(at, 16).expect("an address"));
        let mut bytes = vec![0; (end - start).min(MOST)];
        let Ok(len) = memory.read_at(&mut bytes, start as u64) else {
            continue;
        };
        let windows = bytes[..len].windows(HIDDEN.len());
        let mut secrets = windows.filter(|window| window[0] == !HIDDEN[0] && is_secret(window));
        found.extend(secrets.next().map(|_| line.to_owned()));
        bytes.fill(0); // Otherwise the search would find this copy.
    }
    let parent = rustix::process::getppid()
        .expect("a parent")
        .as_raw_nonzero();
    // The environment of an ordinary user's process that is not dumpable cannot be read.
    let environ = fs::read(format!("/proc/{parent}/environ")).unwrap_or_default();
    (found, environ.windows(HIDDEN.len()).any(is_secret))
}

async fn a_cleared_environment_is_in_no_memory_of_a_worker_or_a_process(method: StartMethod) {
    let promise = "a_cleared_environment_is_in_no_memory_of_a_worker_or_a_process";
    let test = format!("memory::{}", test_of(method, promise));
    if std::env::var_os(SECRET).is_none() {
        let secret: Vec<u8> = HIDDEN.iter().map(|byte| !byte).collect();
        let mut command = Command::new(std::env::current_exe().expect("this executable"));
        return run(command.env(SECRET, OsStr::from_bytes(&secret)), &test);
    }
    for clear in [false, true] {
        let pool = builder(method).max_workers(1).dumpable(true);
        let process = Process::builder().start_method(method).dumpable(true);
        let (pool, process) = match clear {
            true => (pool.env_clear(), process.env_clear()),
            false => (pool, process),
        };
        // Forked first, while there is one thread.
        let process = within(process.spawn(find_secret, ())).await;
        let process = within(process.expect("it starts").join()).await;
        let pool = pool.build().expect("a pool");
        let worker = within(pool.submit(find_secret, ())).await;
        within(pool.shutdown()).await;
        for (what, found) in [("process", process), ("worker", worker)] {
            let (places, at_parent) = found.expect("it ran");
            assert_eq!(places.is_empty(), clear, "{what}: {places:?}");
            // A worker without a fork server has the program as its parent.
            let is_server = method == StartMethod::ForkServer;
            assert!(
                !clear || !is_server || !at_parent,
                "{what}: its fork server shows it"
            );
        }
    }
}
