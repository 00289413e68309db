//! Faults that no kill brings about: the system has nothing left to give, or a process goes mad.

#![cfg(target_os = "linux")]

#[path = "common/again.rs"]
mod again;
#[path = "common/alone.rs"]
mod alone;
mod common;
#[path = "common/methods.rs"]
mod methods;
#[path = "common/nobody.rs"]
mod nobody;

use std::fs;
use std::time::Duration;

use concurrent_futures::{ExecutorExt as _, ProcessPoolExecutor, StartMethod, TaskOptions};
use rustix::process::{Pid, Resource, Rlimit, Signal, getrlimit, kill_process, prlimit, setrlimit};

use self::alone::{alone, children, descriptors};
use self::common::{Gate, Key, eventually, within};
use self::methods::{held_by_every_start_method, processes};
use self::nobody::alone_as_nobody;

concurrent_futures::init_before_main!();

held_by_every_start_method! { 2;
    a_worker_that_writes_garbage_is_ended_and_that_is_told,
    a_stopped_worker_is_ended_by_its_time_out,
}

fn double(x: u64) -> u64 {
    x * 2
}

fn wait_at(gate: Key) {
    gate.wait();
}

fn pid(id: u32) -> Pid {
    Pid::from_raw(id.cast_signed()).expect("a pid")
}

/// Kills the only worker of a pool, and gives the text of why there is no other.
async fn no_other(pool: &ProcessPoolExecutor) -> String {
    let worker = pool.workers()[0].pid();
    kill_process(pid(worker), Signal::KILL).expect("it is there");
    eventually(|| pool.workers().is_empty()).await;
    let error = within(pool.submit(double, 1)).await.expect_err("no worker");
    assert!(error.is_init_failed() && !error.was_started(), "{error}");
    error.to_string()
}

#[test]
fn without_a_process_left_starts_are_a_typed_error_and_the_pool_lives_on() {
    let test = "without_a_process_left_starts_are_a_typed_error_and_the_pool_lives_on";
    // Root may have as many processes as it likes.
    alone_as_nobody(test, || async {
        for method in [StartMethod::Spawn, StartMethod::ForkServer] {
            let pool = processes(method, 1);
            within(pool.warm_up()).await.expect("a worker");
            // The one who forks: this process, or the zygote, its only child.
            let forks = match method {
                StartMethod::ForkServer => Some(pid(children()[0])),
                _ => None,
            };
            let before = getrlimit(Resource::Nproc);
            let none = Rlimit {
                current: Some(1),
                ..before
            };
            prlimit(forks, Resource::Nproc, none).expect("it may have fewer");
            let text = no_other(&pool).await;
            prlimit(forks, Resource::Nproc, before).expect("it may have that many");
            assert!(text.contains("Resource temporarily unavailable"), "{text}");
            assert_eq!(within(pool.submit(double, 4)).await.expect("it ran"), 8);
            within(pool.shutdown()).await;
            assert_eq!(children(), []);
        }
    });
}

#[test]
fn without_a_descriptor_left_starts_are_a_typed_error_and_the_pool_lives_on() {
    let test = "without_a_descriptor_left_starts_are_a_typed_error_and_the_pool_lives_on";
    alone(test, || async {
        for method in [StartMethod::Spawn, StartMethod::ForkServer] {
            let pool = processes(method, 1);
            within(pool.warm_up()).await.expect("a worker");
            let before = getrlimit(Resource::Nofile);
            // From none to all but one that a start needs.
            for spare in 0..6 {
                let none = Rlimit {
                    current: Some(descriptors().len() as u64 + spare),
                    ..before
                };
                setrlimit(Resource::Nofile, none).expect("it may have fewer");
                let worker = pool.workers()[0].pid();
                kill_process(pid(worker), Signal::KILL).expect("it is there");
                eventually(|| pool.workers().is_empty()).await;
                // Whether there were enough is not the question: it is said if not.
                if let Err(error) = within(pool.submit(double, 1)).await {
                    assert!(error.is_init_failed() && !error.was_started(), "{error}");
                    assert!(error.to_string().contains("Too many open files"), "{error}");
                }
                setrlimit(Resource::Nofile, before).expect("it may have that many");
                within(pool.warm_up()).await.expect("a worker");
                assert_eq!(within(pool.submit(double, 4)).await.expect("it ran"), 8);
                eventually(|| pool.workers().len() == 1).await;
            }
            within(pool.shutdown()).await;
            assert_eq!(children(), []);
        }
    });
}

async fn a_worker_that_writes_garbage_is_ended_and_that_is_told(method: StartMethod) {
    #[expect(unsafe_code, reason = "writes to a descriptor that is not its own")]
    fn write_garbage() {
        for entry in fs::read_dir("/proc/self/fd").expect("/proc").flatten() {
            let target = fs::read_link(entry.path()).unwrap_or_default();
            let fd = entry.file_name().to_str().and_then(|fd| fd.parse().ok());
            if let Some(fd) = fd.filter(|_| target.to_string_lossy().starts_with("socket:")) {
                // SAFETY: to write there harms nobody but the protocol.
                let fd = unsafe { std::os::fd::BorrowedFd::borrow_raw(fd) };
                rustix::io::write(fd, &[0xff; 64]).expect("it is the socket");
            }
        }
        std::thread::park(); // It will be ended.
    }
    let pool = processes(method, 1);
    let error = within(pool.submit(write_garbage, ())).await;
    let error = error.expect_err("it made no sense");
    assert!(error.is_worker_lost() && error.was_started(), "{error}");
    assert!(
        error.to_string().contains("was ended by the pool"),
        "{error}"
    );
    assert_eq!(within(pool.submit(double, 4)).await.expect("it ran"), 8);
}

async fn a_stopped_worker_is_ended_by_its_time_out(method: StartMethod) {
    let pool = processes(method, 1);
    let gate = Gate::new();
    for grace in [0, 20] {
        let options = TaskOptions::new().timeout(Duration::from_millis(300));
        let options = options.grace_period(Duration::from_millis(grace));
        let handle = pool.submit_with(&options, wait_at, gate.key());
        let guest = gate.guest().await;
        kill_process(pid(guest.pid()), Signal::STOP).expect("it is there");
        let error = within(handle).await.expect_err("it does nothing");
        assert!(error.is_timeout(), "{error}");
        guest.gone().await;
        assert_eq!(within(pool.submit(double, 4)).await.expect("it ran"), 8);
    }
}
