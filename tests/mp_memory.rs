//! Shared memory: which process owns it and for how long, and what happens if there is no space.

#![cfg(feature = "multiprocessing")]
#![cfg(target_os = "linux")]

#[path = "common/again.rs"]
mod again;
#[path = "common/alone.rs"]
mod alone;
mod common;
#[path = "common/methods.rs"]
mod methods;

use std::error::Error as _;
use std::fs;
use std::io::{Error, ErrorKind};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

use concurrent_futures::multiprocessing::{
    Array, Barrier, Condition, Lock, Process, Queue, RLock, RwLock, Semaphore, SharedMemory, Value,
    pipe,
};
use concurrent_futures::{Executor as _, ExecutorExt as _, Shutdown, StartMethod};
use rustix::fs::{FlockOperation, flock};
use rustix::process::{Pid, Resource, Rlimit, Signal, kill_process, setrlimit};

use self::alone::{alone, children, descriptors};
use self::common::{Gate, Guest, Key, eventually, within};
use self::methods::{held_by_every_start_method, processes};

concurrent_futures::init_before_main!();

held_by_every_start_method! { 2;
    all_workers_read_the_bytes_that_one_wrote,
    a_readers_end_takes_nothing_from_the_others,
    a_name_goes_with_the_last_owner_wherever_that_is,
    a_killed_owner_leaves_no_name_when_the_others_go,
    a_name_whose_owners_were_all_killed_stands_for_nothing,
}

/// A unique name for a test, for this process and all processes that it starts.
fn name(of: &str) -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0); // A test runs by several start methods.
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    format!("test.{}.{number}.{of}", std::process::id())
}

/// The file behind a name.
fn file(name: &str) -> PathBuf {
    let user = rustix::process::geteuid().as_raw();
    format!("/dev/shm/concurrent-futures.{user}.{name}").into()
}

/// Whether the name is removed, or another process is removing it because it found it without owners.
fn is_gone(name: &str) -> bool {
    let path = file(name);
    let Ok(left) = fs::File::open(&path) else {
        return true;
    };
    let same = || {
        fs::metadata(&path).is_ok_and(|named| named.ino() == left.metadata().expect("a file").ino())
    };
    let exclusive = FlockOperation::NonBlockingLockExclusive;
    flock(&left, exclusive).is_err() || !same()
}

/// A process that is being started has everything open that its parent has, until it executes its program. So memory
/// may have one more owner when the last one drops it. Other tests start processes in this one; this happens by chance,
/// and not again and again.
async fn goes_in_the_end(attempt: impl AsyncFn() -> bool) {
    for _ in 0..10 {
        if attempt().await {
            return;
        }
    }
    panic!("it has no owner and is still there, ten times");
}

fn kill(guest: &Guest) {
    let pid = Pid::from_raw(guest.pid().cast_signed()).expect("a pid");
    kill_process(pid, Signal::KILL).expect("it is there");
}

/// A task: holds memory until the gate opens.
fn hold(memory: SharedMemory, gate: Key) -> usize {
    gate.wait();
    memory.len()
}

/// A task: opens memory, and holds it until the gate opens.
fn open_and_hold(name: String, gate: Key) -> usize {
    let memory = SharedMemory::open(&name).expect("it is there");
    gate.wait();
    memory.len()
}

fn fill(memory: SharedMemory, byte: u8) {
    memory.write(0, &vec![byte; memory.len()]);
}

fn sum(memory: SharedMemory) -> u64 {
    memory.to_vec().into_iter().map(u64::from).sum()
}

async fn all_workers_read_the_bytes_that_one_wrote(method: StartMethod) {
    goes_in_the_end(async || {
        const LEN: usize = 100_003;
        let pool = processes(method, 2);
        let name = name("all-read");
        for memory in [
            SharedMemory::create(LEN).expect("memory"),
            SharedMemory::create_named(&name, LEN).expect("memory"),
        ] {
            for byte in 0..4_u8 {
                within(pool.submit(fill, (memory.clone(), byte)))
                    .await
                    .expect("it ran");
                assert_eq!(memory.to_vec(), vec![byte; LEN]);
                let sums = [(); 4].map(|()| pool.submit(sum, memory.clone()));
                for sum in sums {
                    let sum = within(sum).await.expect("it ran");
                    assert_eq!(sum, LEN as u64 * u64::from(byte));
                }
            }
        }
        within(pool.shutdown()).await;
        is_gone(&name)
    })
    .await;
}

async fn a_readers_end_takes_nothing_from_the_others(method: StartMethod) {
    goes_in_the_end(async || {
        let name = name("reader");
        let memory = SharedMemory::create_named(&name, 5000).expect("memory");
        memory.write(0, &[1; 5000]);
        let pool = processes(method, 1);
        let read = within(pool.submit(sum, memory.clone())).await;
        assert_eq!(read.expect("it ran"), 5000);
        let gate = Gate::new();
        let reader = pool.submit(open_and_hold, (name.clone(), gate.key()));
        let guest = gate.guest().await;
        kill(&guest);
        guest.gone().await;
        assert!(within(reader).await.is_err());
        within(pool.shutdown()).await;
        assert_eq!(sum(memory.clone()), 5000);
        assert_eq!(sum(SharedMemory::open(&name).expect("it is there")), 5000);
        drop(memory);
        is_gone(&name)
    })
    .await;
}

async fn a_name_goes_with_the_last_owner_wherever_that_is(method: StartMethod) {
    goes_in_the_end(async || {
        let mut are_gone = true;
        let pool = processes(method, 1);
        // Sent once and opened once, and in both cases dropped here before it arrives.
        for (sent, name) in [(true, name("sent")), (false, name("opened"))] {
            let memory = SharedMemory::create_named(&name, 5000).expect("memory");
            let gate = Gate::new();
            let holder = match sent {
                true => pool.submit(hold, (memory.clone(), gate.key())),
                false => pool.submit(open_and_hold, (name.clone(), gate.key())),
            };
            let guest = gate.guest().await;
            drop(memory);
            assert_eq!(
                SharedMemory::open(&name).expect("the other has it").len(),
                5000
            );
            let exists = SharedMemory::create_named(&name, 1).expect_err("the other has it");
            assert_eq!(exists.kind(), ErrorKind::AlreadyExists);
            guest.let_in().await;
            assert_eq!(within(holder).await.expect("it ran"), 5000);
            are_gone &= is_gone(&name);
        }
        within(pool.shutdown()).await;
        are_gone
    })
    .await;
}

async fn a_killed_owner_leaves_no_name_when_the_others_go(method: StartMethod) {
    goes_in_the_end(async || {
        let name = name("killed");
        let pool = processes(method, 2); // With `Fork`, all workers inherit what exists before.
        let memory = SharedMemory::create_named(&name, 5000).expect("memory");
        let gate = Gate::new();
        let holders = [
            pool.submit(hold, (memory.clone(), gate.key())),
            pool.submit(open_and_hold, (name.clone(), gate.key())),
        ];
        let guests = [gate.guest().await, gate.guest().await];
        guests.iter().for_each(kill);
        for guest in guests {
            guest.gone().await;
        }
        for holder in holders {
            assert!(
                within(holder)
                    .await
                    .expect_err("it was killed")
                    .is_worker_lost()
            );
        }
        assert_eq!(SharedMemory::open(&name).expect("we have it").len(), 5000);
        drop(memory);
        let is_gone = is_gone(&name);
        within(pool.shutdown()).await;
        is_gone
    })
    .await;
}

async fn a_name_whose_owners_were_all_killed_stands_for_nothing(method: StartMethod) {
    let name = name("all-killed");
    let pool = processes(method, 1);
    for again in ["open", "create", "create another"] {
        let memory = SharedMemory::create_named(&name, 5000).expect("memory");
        let gate = Gate::new();
        let holder = pool.submit(hold, (memory.clone(), gate.key()));
        let guest = gate.guest().await;
        drop(memory);
        kill(&guest);
        guest.gone().await;
        assert!(within(holder).await.is_err());
        // Its file exists, unless another test has created something meanwhile. And a process that another test is
        // starting has all descriptors of this one until it executes its program.
        if again == "open" {
            let is_missing = |error: Error| error.kind() == ErrorKind::NotFound;
            eventually(|| SharedMemory::open(&name).is_err_and(is_missing)).await;
        } else if again == "create" {
            let mut new = None;
            eventually(|| {
                new = SharedMemory::create_named(&name, 10).ok();
                new.is_some()
            })
            .await;
            assert_eq!(new.expect("it is free").to_vec(), [0; 10]);
        } else {
            let another = format!("{name}.other");
            eventually(|| {
                drop(SharedMemory::create_named(&another, 1));
                is_gone(&name)
            })
            .await;
        }
        assert!(is_gone(&name));
    }
    within(pool.shutdown()).await;
}

/// Neither a cancelled task, nor one whose arguments cannot be decoded, leaves a name.
#[tokio::test]
async fn a_memory_sent_and_never_received_leaves_no_name() {
    goes_in_the_end(async || {
        let name = name("unread");
        let pool = processes(StartMethod::default(), 1);
        let gate = Gate::new();
        let busy = pool.submit(|gate: Key| gate.wait(), gate.key());
        let guest = gate.guest().await;
        let memory = SharedMemory::create_named(&name, 5000).expect("memory");
        let queued = [(); 100].map(|()| pool.submit(sum, memory.clone()));
        drop(memory);
        assert!(SharedMemory::open(&name).is_ok(), "it is on its way");
        queued.iter().for_each(|queued| queued.abort());
        for queued in queued {
            assert!(within(queued).await.expect_err("aborted").is_cancelled());
        }
        guest.let_in().await;
        within(busy).await.expect("it was let in");
        within(pool.shutdown()).await;
        is_gone(&name)
    })
    .await;
}

/// Threads and processes that create, open and drop memory of the same name, some of them by being killed.
#[tokio::test]
async fn concurrent_creating_opening_and_closing_finds_one_whole_memory_or_none() {
    let name = name("race");
    let pool = processes(StartMethod::default(), 2);
    let threads: Vec<_> = (0..2)
        .map(|_| {
            let name = name.clone();
            tokio::task::spawn_blocking(move || take_turns(name, 300))
        })
        .collect();
    let mut ended = 0;
    for _ in 0..10 {
        let tasks = [(); 2].map(|()| pool.submit(take_turns, (name.clone(), 60)));
        let victim = pool.submit(take_turns, (name.clone(), u32::MAX));
        for task in tasks {
            ended += within(task).await.expect("it ran");
        }
        victim.abort(); // The task is killed at any point.
        assert!(within(victim).await.is_err());
    }
    for thread in threads {
        ended += within(thread).await.expect("no panic");
    }
    assert!(ended > 0, "some found it, or made it");
    within(pool.shutdown()).await;
    // A process that was killed as the last owner may have left the name.
    let is_missing = |error: Error| error.kind() == ErrorKind::NotFound;
    eventually(|| SharedMemory::open(&name).is_err_and(is_missing)).await;
    assert!(is_gone(&name));
}

/// A task. Returns how often it held the memory.
fn take_turns(name: String, turns: u32) -> u32 {
    let mut had = 0;
    for turn in 0..turns {
        let memory = match turn % 2 {
            0 => SharedMemory::create_named(&name, 64),
            _ => SharedMemory::open(&name),
        };
        let memory = match memory {
            Ok(memory) => memory,
            Err(error) => {
                let kinds = [ErrorKind::AlreadyExists, ErrorKind::NotFound];
                assert!(kinds.contains(&error.kind()), "{error}");
                continue;
            }
        };
        had += 1;
        assert_eq!(memory.len(), 64);
        // While this process holds it, it has the name, and no other memory has.
        let error = SharedMemory::create_named(&name, 64).expect_err("we have it");
        assert_eq!(error.kind(), ErrorKind::AlreadyExists);
        let place = std::process::id() as usize % 8 * 8;
        let number = u64::from(turn) + 1;
        memory.write(place, &number.to_ne_bytes());
        let same = SharedMemory::open(&name).expect("we have it");
        drop(memory);
        let mut found = [0; 8];
        same.read(place, &mut found);
        assert_ne!(u64::from_ne_bytes(found), 0, "it is another one");
    }
    had
}

#[test]
fn no_space_is_an_error_at_creation() {
    let name = name("no-space");
    for len in [1 << 40, 1 << 50, usize::MAX / 2, usize::MAX - 8, usize::MAX] {
        for memory in [
            SharedMemory::create(len),
            SharedMemory::create_named(&name, len),
        ] {
            let error = memory.expect_err("more than any has");
            assert_eq!(error.kind(), ErrorKind::OutOfMemory, "{error}");
            assert!(error.to_string().contains(&len.to_string()), "{error}");
        }
    }
    assert!(is_gone(&name));
}

/// The limits of a process. The limit of files would also send a signal.
#[test]
fn a_limit_of_the_process_is_an_error_at_creation_and_no_signal() {
    let test = "a_limit_of_the_process_is_an_error_at_creation_and_no_signal";
    alone(test, || async {
        let limit = |resource, bytes| {
            let limit = Rlimit {
                current: bytes,
                maximum: None,
            };
            setrlimit(resource, limit).expect("a limit");
        };
        limit(Resource::Fsize, Some(1 << 20));
        let name = name("limit");
        for len in [(1 << 20) + 1, 1 << 30] {
            for memory in [
                SharedMemory::create(len),
                SharedMemory::create_named(&name, len),
            ] {
                let error = memory.expect_err("the limit is less");
                assert_eq!(error.kind(), ErrorKind::OutOfMemory, "{error}");
            }
        }
        SharedMemory::create(1 << 20).expect("it is within the limit");
        limit(Resource::Fsize, None);
        let statm = fs::read_to_string("/proc/self/statm").expect("/proc");
        let pages = statm.split(' ').next().map(str::parse::<u64>);
        let pages = pages.expect("a field").expect("a number");
        let mapped = pages * rustix::param::page_size() as u64;
        limit(Resource::As, Some(mapped + (8 << 20))); // Some is left for the test itself.
        let error = SharedMemory::create(16 << 20).expect_err("the limit is less");
        assert_eq!(error.kind(), ErrorKind::OutOfMemory, "{error}");
        // Memory with a name takes no addresses.
        drop(SharedMemory::create_named(&name, 16 << 20).expect("memory"));
        assert!(is_gone(&name));
    });
}

#[test]
fn under_a_limit_of_file_sizes_no_object_and_no_process_raises_a_signal() {
    let test = "under_a_limit_of_file_sizes_no_object_and_no_process_raises_a_signal";
    alone(test, || async {
        let limit = |bytes| {
            let limit = Rlimit {
                current: Some(bytes),
                maximum: None,
            };
            setrlimit(Resource::Fsize, limit).expect("a limit");
        };
        limit(1 << 20); // A fork server keeps its limit from its start.
        for method in [StartMethod::Spawn, StartMethod::ForkServer] {
            for (len, fits) in [(1 << 19, true), (1 << 21, false)] {
                let process = Process::builder().start_method(method);
                let result = |len: usize| vec![1_u8; len];
                let process = within(process.spawn(result, len)).await.expect("it starts");
                match within(process.join()).await {
                    Ok(result) => assert!(fits && result.len() == len),
                    Err(error) => {
                        assert!(
                            !fits && error.to_string().contains("RLIMIT_FSIZE"),
                            "{error}"
                        );
                    }
                }
            }
        }
        // A large value waits in a file, which this process may not create, or is sent in parts.
        let (one, other) = pipe::<Vec<u8>, u8>().expect("a pipe");
        let large = vec![1_u8; 1 << 21];
        assert!(one.try_send(large.clone()).is_err(), "the limit is less");
        let travels = futures::future::join(one.send(large.clone()), other.recv());
        let (sent, received) = within(travels).await;
        sent.expect("it is sent");
        assert!(received.expect("it arrives") == large);
        limit(0);
        let errors = [
            Lock::new().err(),
            RLock::new().err(),
            RwLock::new().err(),
            Semaphore::new(1).err(),
            Barrier::new(2).err(),
            Condition::new().err(),
            Value::new(1_u64).err(),
            Array::new(&[1_u64]).err(),
            SharedMemory::create(1).err(),
            SharedMemory::create_named(&name("none"), 1).err(),
        ];
        for error in errors {
            let text = error.expect("no byte is allowed").to_string();
            assert!(
                text.contains("RLIMIT_FSIZE") && text.contains("ulimit -f"),
                "{text}"
            );
        }
        let error = Queue::<u64>::unbounded().expect_err("as above");
        let text = error.source().expect("the system's error").to_string();
        assert!(
            error.is_no_space() && text.contains("RLIMIT_FSIZE"),
            "{error}: {text}"
        );
        // A process could leave neither its result nor an error. So it does not start.
        for method in [StartMethod::Spawn, StartMethod::ForkServer] {
            let process = Process::builder().start_method(method);
            let error = within(process.spawn(|| 1, ())).await;
            let text = error.expect_err("no byte is allowed").to_string();
            assert!(
                text.contains("RLIMIT_FSIZE") && text.contains("ulimit -f"),
                "{text}"
            );
        }
    });
}

#[test]
fn new_shared_memory_is_allocated_in_full() {
    const LEN: usize = 8 << 20;
    let name = name("has");
    let memory = SharedMemory::create_named(&name, LEN).expect("memory");
    let blocks = fs::metadata(file(&name)).expect("a file").blocks();
    assert!(blocks * 512 >= LEN as u64);
    drop(memory);
}

#[test]
fn memory_of_a_name_is_its_users_alone() {
    let name = name("alone");
    let memory = SharedMemory::create_named(&name, 1).expect("memory");
    let mode = fs::metadata(file(&name))
        .expect("a file")
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);
    drop(memory);
    // A foreign link or pipe of that name is not followed, opened or removed.
    let name = format!("{name}.other");
    std::os::unix::fs::symlink("/etc/passwd", file(&name)).expect("a link");
    assert!(SharedMemory::open(&name).is_err());
    assert!(SharedMemory::create_named(&name, 1).is_err());
    fs::remove_file(file(&name)).expect("it is still there");
    let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
    let kind = rustix::fs::FileType::Fifo;
    rustix::fs::mknodat(rustix::fs::CWD, file(&name), kind, mode, 0).expect("a pipe");
    for error in [
        SharedMemory::open(&name).expect_err("it is a pipe"),
        SharedMemory::create_named(&name, 1).expect_err("it is a pipe"),
    ] {
        assert_eq!(error.kind(), ErrorKind::PermissionDenied, "{error}");
    }
    fs::remove_file(file(&name)).expect("it is still there");
}

#[test]
fn an_invalid_name_is_refused() {
    let long = "x".repeat(201);
    for name in ["", "a/b", "../x", "a\0b", "a b", "a\n", &long] {
        for memory in [
            SharedMemory::open(name),
            SharedMemory::create_named(name, 1),
        ] {
            let error = memory.expect_err("it cannot be a name");
            assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error}");
        }
    }
    let longest = &name(&long)[..200];
    drop(SharedMemory::create_named(longest, 1).expect("it is a name"));
    assert!(is_gone(longest));
}

#[test]
fn an_access_beyond_the_end_is_a_panic_and_changes_nothing() {
    let memory = SharedMemory::create(12).expect("memory");
    for (offset, len) in [(0, 13), (12, 1), (13, 0), (8, 5), (usize::MAX, 2)] {
        let write = || memory.write(offset, &vec![1; len]);
        let read = || memory.read(offset, &mut vec![0; len]);
        for access in [&write as &dyn Fn(), &read] {
            let access = std::panic::AssertUnwindSafe(access);
            assert!(std::panic::catch_unwind(access).is_err());
        }
    }
    assert_eq!(memory.to_vec(), [0; 12]);
    memory.write(12, &[]);
    let none = SharedMemory::create(0).expect("memory");
    assert!(none.is_empty() && none.to_vec().is_empty());
}

#[test]
fn sent_anywhere_else_it_is_a_clear_error() {
    let memory = SharedMemory::create(12).expect("memory");
    let error = rmp_serde::to_vec(&memory).expect_err("MessagePack carries no memory");
    assert!(error.to_string().contains("argument of a task"), "{error}");
    let error = rmp_serde::from_slice::<SharedMemory>(&[0x93, 0, 12, 0xc0]).expect_err("nor back");
    assert!(error.to_string().contains("argument of a task"), "{error}");
}

#[test]
fn no_descriptor_and_no_mapping_is_left() {
    alone("no_descriptor_and_no_mapping_is_left", || async {
        let mappings = || {
            let maps = fs::read_to_string("/proc/self/maps").expect("/proc");
            let ours = maps
                .lines()
                .filter(|line| line.contains("concurrent-futures"));
            ours.filter(|line| line.contains("memfd") || line.contains("/dev/shm"))
                .count()
        };
        let name = name("left");
        let round = async || {
            let pool = processes(StartMethod::default(), 2);
            let gate = Gate::new();
            let memories = [
                SharedMemory::create(5000).expect("memory"),
                SharedMemory::create_named(&name, 5000).expect("memory"),
            ];
            let held = memories
                .clone()
                .map(|memory| pool.submit(hold, (memory, gate.key())));
            let guests = [gate.guest().await, gate.guest().await];
            kill(&guests[0]);
            let [one, other] = guests;
            one.gone().await;
            other.let_in().await;
            let held = held.map(within);
            let mut outcomes = Vec::new();
            for held in held {
                outcomes.push(held.await.is_ok());
            }
            assert_eq!(outcomes.iter().filter(|ok| **ok).count(), 1);
            within(pool.shutdown_with(Shutdown::new())).await;
        };
        round().await;
        let is_over = || children().is_empty() && mappings() == 0;
        eventually(is_over).await;
        let before = descriptors().len(); // Some descriptors may be about to close.
        for _ in 0..5 {
            round().await;
        }
        eventually(|| is_over() && descriptors().len() <= before).await;
        assert!(is_gone(&name));
    });
}
