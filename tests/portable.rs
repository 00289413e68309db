//! A program that uses the crate without any `#[cfg]`, for any platform. On Linux its tasks run in processes, elsewhere
//! on threads.

#![cfg(feature = "multiprocessing")]

use std::error::Error;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use concurrent_futures::multiprocessing::{
    Array, Barrier, BoundedSemaphore, Condition, Event, JoinableQueue, Lock, Process, Queue, RLock,
    RwLock, Semaphore, SharedMemory, Value, active_children, pipe,
};
use concurrent_futures::{
    BuildError, Executor, ExecutorExt as _, ProcessPoolExecutor, StartMethod, ThreadPoolExecutor,
};
use futures::TryStreamExt as _;

concurrent_futures::init_before_main!();

fn double(n: u64) -> u64 {
    2 * n
}

fn executor() -> Result<Arc<dyn Executor>, BuildError> {
    let processes = ProcessPoolExecutor::builder()
        .max_workers(2)
        .spawn_timeout(Duration::from_secs(30))
        .build();
    match processes {
        Ok(processes) => Ok(Arc::new(processes)),
        Err(error) if error.is_unsupported() => Ok(Arc::new(ThreadPoolExecutor::with_workers(2)?)),
        Err(error) => Err(error),
    }
}

/// Whether the executors and objects of processes work here.
fn has_processes() -> bool {
    StartMethod::available().next().is_some()
}

#[tokio::test]
async fn a_program_without_any_cfg_compiles_and_runs_on_every_platform() {
    concurrent_futures::init(); // It returns, also at a second call.
    let executor = executor().expect("an executor");
    assert_eq!(executor.submit(double, 21).await.expect("a result"), 42);
    let doubled: Vec<u64> = executor
        .map(double, 1..=3)
        .try_collect()
        .await
        .expect("results");
    assert_eq!(doubled, [2, 4, 6]);
    executor.shutdown().await;
}

#[test]
fn processes_work_or_say_what_to_use_instead() {
    assert_eq!(has_processes(), cfg!(target_os = "linux"));
    match ProcessPoolExecutor::new() {
        Ok(_) => assert!(has_processes()),
        Err(error) => {
            assert!(!has_processes() && error.is_unsupported(), "{error}");
            assert!(error.to_string().contains("ThreadPoolExecutor"), "{error}");
        }
    }
    match Process::blocking_spawn(double, 21) {
        Ok(process) => {
            assert!(has_processes());
            assert_eq!(process.blocking_join().expect("it ends"), 42);
        }
        Err(error) => {
            assert!(!has_processes() && error.is_unsupported(), "{error}");
            assert!(error.to_string().contains("ThreadPoolExecutor"), "{error}");
        }
    }
    assert!(active_children().is_empty());
}

/// An object can be created where processes are supported; elsewhere the error says what to use instead.
#[track_caller]
fn check<T, E: Error>(made: Result<T, E>, is_unsupported: impl FnOnce(&E) -> bool) {
    match made {
        Ok(_) => assert!(has_processes()),
        Err(error) => {
            assert!(!has_processes() && is_unsupported(&error), "{error}");
            let text = error.to_string();
            assert!(text.contains("concurrent_futures::sync"), "{text}");
        }
    }
}

#[test]
fn objects_that_processes_share_work_or_say_what_to_use_instead() {
    let unsupported = |error: &io::Error| error.kind() == io::ErrorKind::Unsupported;
    check(Lock::new(), unsupported);
    check(RLock::new(), unsupported);
    check(RwLock::new(), unsupported);
    check(Event::new(), unsupported);
    check(Semaphore::new(1), unsupported);
    check(BoundedSemaphore::new(1), unsupported);
    check(Condition::new(), unsupported);
    check(Barrier::new(1), unsupported);
    check(Value::new(1_u64), unsupported);
    check(Array::new(&[1_u64]), unsupported);
    check(SharedMemory::create(8), unsupported);
    let name = format!("portable-{}", std::process::id());
    check(SharedMemory::create_named(&name, 8), unsupported);
    check(Queue::<u64>::unbounded(), |error| error.is_unsupported());
    check(Queue::<u64>::bounded(1), |error| error.is_unsupported());
    check(JoinableQueue::<u64>::unbounded(), |error| {
        error.is_unsupported()
    });
    check(pipe::<u64, u64>(), |error| error.is_unsupported());
}
