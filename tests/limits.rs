//! The resource limits of a worker, and the errors when it exceeds one.

#![cfg(feature = "process")]
#![cfg(target_os = "linux")]

#[path = "common/again.rs"]
mod again;
#[cfg(feature = "cluster")]
#[path = "common/clusters.rs"]
mod clusters;
mod common;
#[path = "common/methods.rs"]
mod methods;

use std::fs::File;
use std::sync::Arc;
use std::time::Duration;

use concurrent_futures::{
    BuildError, Executor, ExecutorExt as _, JoinHandle, Limits, ProcessPoolBuilder,
    ProcessPoolExecutor, StartMethod,
};
use rustix::process::{Resource, Signal, getpriority_process, getrlimit};

use self::common::within;
use self::methods::{builder, held_by_every_start_method};

concurrent_futures::init_before_main!();

held_by_every_start_method! { 1;
    the_limits_hold_before_the_initializer_runs,
    a_limit_that_the_system_refuses_fails_the_start_for_good_and_says_which,
}

/// Turns each promise, an `async fn(Kind)`, into a test for each start method, and one on a cluster whose worker has a
/// limited pool. (Threads have no limits of their own. How the pool of a worker starts is the worker's affair: its
/// clients see neither an initializer nor a start that fails.)
macro_rules! held_by_pools_and_their_clusters {
    ($($promise:ident,)*) => {
        mod pools {
            $(
                async fn $promise(method: concurrent_futures::StartMethod) {
                    super::$promise(super::Kind::Processes(method)).await;
                }
            )*

            crate::methods::held_by_every_start_method! { 1; $($promise,)* }
        }

        #[cfg(feature = "cluster")]
        mod cluster {
            $(
                #[test]
                fn $promise() {
                    crate::clusters::with_cluster(super::named_tasks(), |kind| {
                        crate::methods::run(1, super::$promise(kind));
                    });
                }
            )*
        }
    };
}

held_by_pools_and_their_clusters! {
    a_task_past_its_address_space_is_out_of_memory_and_the_next_is_fine,
    a_task_past_its_processor_time_is_ended_by_sigxcpu_and_the_next_is_fine,
    a_task_that_ignores_sigxcpu_is_killed_a_second_later,
    a_worker_can_open_so_many_files_and_no_more,
    the_size_of_a_core_dump_is_limited,
    a_nice_worker_and_what_it_starts_are_nice,
    without_limits_a_worker_may_what_its_parent_may,
}

/// Where workers have limits.
#[derive(Clone, Copy)]
enum Kind {
    Processes(StartMethod),
    #[cfg(feature = "cluster")]
    Cluster(&'static clusters::Cluster),
}

/// A pool of one worker with these limits.
fn limited_builder(method: StartMethod, limits: Limits) -> ProcessPoolBuilder {
    builder(method).max_workers(1).limits(limits)
}

fn limited(kind: Kind, limits: Limits) -> Arc<dyn Executor> {
    match kind {
        Kind::Processes(method) => {
            Arc::new(limited_builder(method, limits).build().expect("a pool"))
        }
        #[cfg(feature = "cluster")]
        Kind::Cluster(cluster) => {
            let pool = ProcessPoolExecutor::builder().max_workers(1);
            cluster.pool_on(pool.limits(limits), None)
        }
    }
}

/// The functions that a cluster knows.
#[cfg(feature = "cluster")]
fn named_tasks() -> concurrent_futures::cluster::Functions {
    concurrent_futures::functions![take, burn, cpu, burn_on, open, core, niceness, all]
}

fn take(bytes: usize) -> usize {
    let memory: Vec<u8> = Vec::with_capacity(bytes);
    std::hint::black_box(memory).capacity()
}

fn burn() {
    loop {
        std::hint::black_box(0);
    }
}

fn cpu() -> (Option<u64>, Option<u64>) {
    let cpu = getrlimit(Resource::Cpu);
    (cpu.current, cpu.maximum)
}

#[expect(unsafe_code, reason = "ignores a signal")]
fn burn_on() {
    // SAFETY: to ignore a signal installs no handler.
    unsafe { libc::signal(libc::SIGXCPU, libc::SIG_IGN) };
    burn();
}

fn open(count: usize) -> Result<(), String> {
    let open = |_| File::open("/dev/null").map_err(|error| error.to_string());
    (0..count)
        .map(open)
        .collect::<Result<Vec<_>, _>>()
        .map(drop)
}

fn core() -> (Option<u64>, Option<u64>) {
    let core = getrlimit(Resource::Core);
    (core.current, core.maximum)
}

fn niceness() -> (i32, i32) {
    let own = || getpriority_process(None).expect("a niceness");
    let helper = std::thread::spawn(own);
    (own(), helper.join().expect("no panic"))
}

fn all() -> Vec<(Option<u64>, Option<u64>)> {
    use Resource::{As, Core, Cpu, Nofile};
    let limits = [As, Core, Cpu, Nofile].map(getrlimit);
    limits.map(|limit| (limit.current, limit.maximum)).to_vec()
}

async fn done<T>(handle: JoinHandle<T>) -> T {
    within(handle).await.expect("it ran")
}

async fn a_task_past_its_address_space_is_out_of_memory_and_the_next_is_fine(kind: Kind) {
    const GIB: usize = 1 << 30;
    let pool = limited(kind, Limits::new().address_space(2 * GIB as u64));
    let unlimited = limited(kind, Limits::new());
    assert!(done(pool.submit(take, GIB / 2)).await >= GIB / 2);
    let error = within(pool.submit(take, 3 * GIB)).await;
    let error = error.expect_err("that is too much");
    assert!(
        error.is_worker_lost() && error.is_out_of_memory(),
        "{error}"
    );
    assert!(error.was_started(), "{error}");
    assert_eq!(error.signal(), Some(Signal::ABORT.as_raw()), "{error}");
    assert!(done(pool.submit(take, GIB / 2)).await >= GIB / 2);
    // The limit refuses, not the machine.
    assert!(done(unlimited.submit(take, 3 * GIB)).await >= 3 * GIB);
}

async fn a_task_past_its_processor_time_is_ended_by_sigxcpu_and_the_next_is_fine(kind: Kind) {
    let limits = Limits::new()
        .cpu_time(Duration::from_millis(1))
        .core_size(0);
    let pool = limited(kind, limits); // Rounded up to a second.
    let error = within(pool.submit(burn, ())).await.expect_err("killed");
    assert!(error.is_worker_lost() && error.was_started(), "{error}");
    assert_eq!(error.signal(), Some(Signal::XCPU.as_raw()), "{error}");
    assert!(error.to_string().contains("SIGXCPU"), "{error}");
    assert_eq!(done(pool.submit(cpu, ())).await, (Some(1), Some(2)));
}

async fn a_task_that_ignores_sigxcpu_is_killed_a_second_later(kind: Kind) {
    let pool = limited(kind, Limits::new().cpu_time(Duration::from_secs(1)));
    let error = within(pool.submit(burn_on, ())).await.expect_err("killed");
    assert!(error.is_worker_lost(), "{error}");
    assert_eq!(error.signal(), Some(Signal::KILL.as_raw()), "{error}");
}

async fn a_worker_can_open_so_many_files_and_no_more(kind: Kind) {
    let pool = limited(kind, Limits::new().open_files(64));
    assert_eq!(done(pool.submit(open, 40)).await, Ok(()));
    let error = done(pool.submit(open, 64)).await.expect_err("too many");
    assert!(error.contains("Too many open files"), "{error}");
    assert_eq!(done(pool.submit(open, 40)).await, Ok(()));
}

async fn the_size_of_a_core_dump_is_limited(kind: Kind) {
    for size in [0, 4096] {
        let pool = limited(kind, Limits::new().core_size(size));
        let limit = done(pool.submit(core, ())).await;
        assert_eq!(limit, (Some(size), Some(size)));
        within(pool.shutdown()).await;
    }
}

async fn a_nice_worker_and_what_it_starts_are_nice(kind: Kind) {
    let own = getpriority_process(None).expect("a niceness");
    let pool = limited(kind, Limits::new().nice(own + 7));
    assert_eq!(done(pool.submit(niceness, ())).await, (own + 7, own + 7));
}

async fn the_limits_hold_before_the_initializer_runs(method: StartMethod) {
    fn look(expected: u64) -> Result<(), String> {
        match getrlimit(Resource::Nofile).current {
            Some(limit) if limit == expected => Ok(()),
            other => Err(format!("it may have {other:?}")),
        }
    }
    let builder = limited_builder(method, Limits::new().open_files(77));
    let pool = builder.initializer(look, 77).build().expect("a pool");
    within(pool.warm_up()).await.expect("the limit was there");
}

async fn without_limits_a_worker_may_what_its_parent_may(kind: Kind) {
    let pool = limited(kind, Limits::new());
    assert_eq!(done(pool.submit(all, ())).await, all());
}

async fn a_limit_that_the_system_refuses_fails_the_start_for_good_and_says_which(
    method: StartMethod,
) {
    let too_many = 1 << 40; // More than any kernel allows a process to open.
    let limits = Limits::new().core_size(0).open_files(too_many);
    let pool = limited_builder(method, limits).build().expect("a pool");
    let error = within(pool.warm_up()).await.expect_err("no worker");
    assert!(error.is_init_failed() && !error.was_started(), "{error}");
    let text = error.to_string();
    for part in [
        "open_files",
        &too_many.to_string(),
        "Operation not permitted",
        "the pool is broken",
    ] {
        assert!(text.contains(part), "no {part} in: {text}");
    }
    let error = within(pool.submit(burn, ())).await.expect_err("no worker");
    assert!(error.is_init_failed(), "{error}");
}

#[test]
fn a_limit_that_cannot_be_meant_is_refused() {
    fn refused(limits: Limits, words: &[&str]) {
        let builder = ProcessPoolExecutor::builder().limits(limits);
        let error: BuildError = builder.build().expect_err("it cannot be");
        assert!(error.is_invalid_setting(), "{error}");
        let text = error.to_string();
        assert!(words.iter().all(|word| text.contains(word)), "{text}");
    }
    let limits = Limits::new;
    refused(limits().address_space(0), &["address_space", "0"]);
    refused(limits().cpu_time(Duration::ZERO), &["cpu_time", "0"]);
    refused(limits().open_files(0), &["open_files", "0"]);
    refused(limits().nice(20), &["nice", "20", "19"]);
    refused(limits().nice(-21), &["nice", "-21", "-20"]);
    let builder = ProcessPoolExecutor::builder().limits(limits().core_size(0).nice(0));
    builder.build().expect("a pool");
}
