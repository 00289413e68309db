//! A filter of system calls that an initializer installs: which calls a worker needs from then on.

#![cfg(feature = "isolation")]
#![cfg(target_os = "linux")]

#[path = "common/again.rs"]
mod again;
mod common;
#[path = "common/methods.rs"]
mod methods;

use std::io::Write as _;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use concurrent_futures::{ExecutorExt as _, Output, StartMethod, TaskError, TaskOptions, worker};
use futures::StreamExt as _;
use libc::c_long;
use seccompiler::{BpfProgram, SeccompAction, SeccompFilter, apply_filter};

use self::common::within;
use self::methods::{builder, held_by_every_start_method};

concurrent_futures::init_before_main!();

held_by_every_start_method! { 1;
    a_worker_needs_only_the_documented_calls_after_its_initializer,
}

/// All that a ready worker calls, as the documentation of `ProcessPoolBuilder::initializer` lists it. What the tasks
/// below call themselves is among it.
const NEEDED: &[c_long] = &[
    libc::SYS_recvmsg,
    libc::SYS_read,
    libc::SYS_write,
    libc::SYS_writev,
    libc::SYS_pread64,
    libc::SYS_ppoll,
    libc::SYS_poll,
    libc::SYS_ioctl,
    libc::SYS_fcntl,
    libc::SYS_close,
    libc::SYS_futex,
    libc::SYS_mmap,
    libc::SYS_munmap,
    libc::SYS_mremap,
    libc::SYS_mprotect,
    libc::SYS_madvise,
    libc::SYS_brk,
    libc::SYS_newfstatat,
    libc::SYS_gettid,
    libc::SYS_getpid,
    libc::SYS_sigaltstack,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_exit_group,
];

fn allow_only_what_is_needed() {
    let calls = NEEDED.iter().map(|call| (*call, Vec::new())).collect();
    let processor = std::env::consts::ARCH.try_into().expect("it is known");
    let (other, needed) = (SeccompAction::KillProcess, SeccompAction::Allow);
    let filter = SeccompFilter::new(calls, other, needed, processor);
    let filter: BpfProgram = filter.and_then(TryInto::try_into).expect("a filter");
    apply_filter(&filter).expect("seccomp");
}

/// Held back by C's library, which writes it when the process ends in an orderly way.
#[expect(unsafe_code, reason = "prints by C's library")]
fn print_without_an_end() {
    // SAFETY: the format is a text without arguments, and ends with a NUL.
    unsafe { libc::printf(c"the worker has ended".as_ptr()) };
}

async fn a_worker_needs_only_the_documented_calls_after_its_initializer(method: StartMethod) {
    let printed = Arc::new(Mutex::new(String::new()));
    let lines = printed.clone();
    let output = Output::lines(move |line| {
        lines.lock().expect("no panic").push_str(&line.to_string());
    });
    let pool = builder(method)
        .max_workers(1)
        .max_memory_per_child(1 << 40)
        .env("RUST_BACKTRACE", "0")
        .initializer(allow_only_what_is_needed, ())
        .stdout(output)
        .build()
        .expect("a pool");
    let small = async || within(pool.submit(u64::pow, (2, 8))).await;
    assert_eq!(small().await.expect("the first task"), 256);
    let reverse = |mut bytes: Vec<u8>| {
        bytes.reverse();
        bytes
    };
    let payload: Vec<u8> = (0..4 << 20)
        .map(|number: u32| (number % 251) as u8)
        .collect();
    for _ in 0..3 {
        let reversed = within(pool.submit(reverse, payload.clone())).await;
        assert!(reversed.expect("a large one").iter().rev().eq(&payload));
    }
    let report = || worker::current().expect("a task").report_progress(3, 4);
    within(pool.submit(report, ())).await.expect("progress");
    let results = pool.map(|number: u64| number + 1, 0..1000);
    let results: Vec<Result<u64, TaskError>> = within(results.collect()).await;
    assert!(results.iter().all(Result::is_ok));
    let panic = || -> u32 { panic!("under a filter") };
    let error = within(pool.submit(panic, ())).await.expect_err("it panics");
    assert!(error.is_panic(), "{error}");
    let options = TaskOptions::new().timeout(Duration::from_secs(3600));
    let timed = within(pool.submit_with(&options, u64::pow, (2, 8))).await;
    assert_eq!(timed.expect("a timed one"), 256);
    let print = || {
        println!("a line");
        std::io::stdout().flush().is_ok()
    };
    assert!(within(pool.submit(print, ())).await.expect("output"));
    let slow = |until: u64| (0..until).map(std::hint::black_box).max();
    within(pool.submit(slow, 10_000_000))
        .await
        .expect("a slow one");
    assert_eq!(small().await.expect("the last task"), 256);
    assert_eq!(pool.workers()[0].id(), 1, "no worker died");
    within(pool.submit(print_without_an_end, ()))
        .await
        .expect("output");
    within(pool.shutdown()).await;
    let printed = printed.lock().expect("no panic").clone();
    assert!(printed.contains("the worker has ended"), "{printed}");
}
