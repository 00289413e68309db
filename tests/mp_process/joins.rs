//! Waiting for a process, from anywhere.

use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use concurrent_futures::multiprocessing::{Process, Stdio, blocking_join_all};
use concurrent_futures::{ExecutorExt as _, StartMethod};
use futures::FutureExt as _;
use futures::executor::block_on;
use serde::{Deserialize, Serialize};

use super::common::{Gate, Key, eventually, within};
use super::methods::{self, held_by_every_start_method};
use super::{builder, in_a_thread, wait_at};

held_by_every_start_method! { 1;
    a_join_that_is_given_up_loses_nothing,
    a_large_result_waits_for_no_reader,
    a_join_may_be_repeated,
    a_process_in_a_process_and_in_a_worker_works,
}

async fn a_join_that_is_given_up_loses_nothing(method: StartMethod) {
    let gate = Gate::new();
    let wait = |gate: Key| {
        gate.wait();
        42
    };
    let process = within(builder(method).spawn(wait, gate.key())).await;
    let process = process.expect("it starts");
    let guest = gate.guest().await;
    for _ in 0..3 {
        assert!(process.join().now_or_never().is_none());
        assert!(
            process
                .join_timeout(Duration::from_millis(1))
                .await
                .is_none()
        );
        let soon = Duration::from_millis(1);
        assert!(in_a_thread(|| process.blocking_join_timeout(soon)).is_none());
    }
    let first = process.join();
    tokio::pin!(first);
    assert!(futures::poll!(first.as_mut()).is_pending());
    guest.let_in().await;
    // Two tasks may wait for it.
    let (one, two) = within(futures::future::join(first, process.join())).await;
    assert_eq!((one.expect("it ran"), two.expect("it ran")), (42, 42));
}

/// If the process wrote the result to a reader, it would wait for that reader.
async fn a_large_result_waits_for_no_reader(method: StartMethod) {
    const LEN: usize = 8 << 20;
    let many = |len: usize| (vec![7_u8; len], "x".repeat(len));
    let process = within(builder(method).spawn(many, LEN))
        .await
        .expect("it starts");
    eventually(|| !process.is_alive()).await;
    assert_eq!(process.exit_code(), Some(0));
    let (bytes, text) = within(process.join()).await.expect("it ran");
    assert!(bytes == vec![7; LEN] && text.len() == LEN);
    let length = |bytes: Vec<u8>, text: String| bytes.len() + text.len();
    let process = within(builder(method).spawn(length, (bytes, text))).await;
    let process = process.expect("large arguments come, too");
    assert_eq!(within(process.join()).await.expect("it ran"), 2 * LEN);
}

async fn a_join_may_be_repeated(method: StartMethod) {
    let process = within(builder(method).spawn(|| "text".to_owned(), ())).await;
    let process = process.expect("it starts");
    for _ in 0..2 {
        assert_eq!(within(process.join()).await.expect("it ran"), "text");
        let again = in_a_thread(|| process.blocking_join());
        assert_eq!(again.expect("it ran"), "text");
        let ended = in_a_thread(|| process.blocking_join_timeout(Duration::ZERO));
        assert_eq!(ended.expect("it has ended").expect("it ran"), "text");
    }
}

#[test]
fn without_a_runtime_a_process_is_started_and_joined() {
    let test = "joins::without_a_runtime_a_process_is_started_and_joined";
    methods::for_every_start_method(test, |method| {
        let start = |n: u64| builder(method).blocking_spawn(u64::pow, (n, 2));
        let processes: Vec<_> = (1..=3).map(|n| start(n).expect("it starts")).collect();
        let squares = processes.iter().map(|process| process.blocking_join());
        let squares: Vec<_> = squares.map(|square| square.expect("it ran")).collect();
        assert_eq!(squares, [1, 4, 9]);
    });
}

#[test]
fn a_process_outlives_the_runtime_it_was_started_in() {
    let test = "joins::a_process_outlives_the_runtime_it_was_started_in";
    methods::for_every_start_method(test, |method| {
        let runtime = || {
            let mut runtime = tokio::runtime::Builder::new_current_thread();
            runtime.enable_all().build().expect("a runtime")
        };
        let first = runtime();
        let (process, guest) = first.block_on(async {
            let gate = Gate::new();
            let process = within(builder(method).spawn(wait_at, gate.key())).await;
            let guest = gate.guest().await;
            assert!(process.as_ref().is_ok_and(Process::is_alive));
            (process.expect("it starts"), guest)
        });
        drop(first);
        assert!(process.is_alive());
        assert!(
            process
                .blocking_join_timeout(Duration::from_millis(1))
                .is_none()
        );
        runtime().block_on(async {
            assert!(process.join().now_or_never().is_none());
            drop(guest); // Lets it continue.
            within(process.join()).await.expect("it ran");
        });
    });
}

fn square_elsewhere(method: StartMethodName, n: u64) -> u64 {
    let process = builder(method.into()).blocking_spawn(u64::pow, (n, 2));
    process.expect("it starts").blocking_join().expect("it ran")
}

/// A start method that can be sent.
#[derive(Clone, Copy, Serialize, Deserialize)]
enum StartMethodName {
    Spawn,
    ForkServer,
}

impl From<StartMethodName> for StartMethod {
    fn from(name: StartMethodName) -> Self {
        match name {
            StartMethodName::Spawn => Self::Spawn,
            StartMethodName::ForkServer => Self::ForkServer,
        }
    }
}

async fn a_process_in_a_process_and_in_a_worker_works(method: StartMethod) {
    for inner in [StartMethodName::Spawn, StartMethodName::ForkServer] {
        let process = within(builder(method).spawn(square_elsewhere, (inner, 4))).await;
        let process = process.expect("it starts");
        assert_eq!(within(process.join()).await.expect("it ran"), 16);
    }
    let pool = methods::processes(method, 1);
    let inner = StartMethodName::ForkServer;
    let square = within(pool.submit(square_elsewhere, (inner, 5))).await;
    assert_eq!(square.expect("it ran"), 25);
    within(pool.shutdown()).await;
}

/// The first runtime is never polled again.
#[test]
fn a_join_goes_on_in_another_runtime_or_in_none() {
    let runtime = || {
        let mut builder = tokio::runtime::Builder::new_current_thread();
        builder.enable_all().build().expect("a runtime")
    };
    let read_all = || {
        let _ = std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
        7
    };
    for method in [StartMethod::Spawn, StartMethod::ForkServer] {
        for has_second in [true, false] {
            let first = runtime();
            let builder = builder(method).stdin(Stdio::piped());
            let process = first.block_on(within(builder.spawn(read_all, ())));
            let mut process = process.expect("it starts");
            let stdin = process.take_stdin();
            let mut join = Box::pin(async move { process.join().await });
            first.block_on(async {
                for _ in 0..10 {
                    assert!(futures::poll!(join.as_mut()).is_pending());
                    tokio::task::yield_now().await;
                }
            });
            let (done, is_done) = mpsc::channel();
            thread::spawn(move || {
                let joined = async {
                    assert!(futures::poll!(join.as_mut()).is_pending());
                    drop(stdin); // The process ends.
                    join.await
                };
                let outcome = match has_second {
                    true => runtime().block_on(joined),
                    false => block_on(joined),
                };
                done.send(outcome).expect("the test waits");
            });
            let outcome = is_done.recv_timeout(Duration::from_secs(60));
            let outcome = outcome.expect("it ends, although nobody polls the first runtime");
            assert_eq!(outcome.expect("it ran"), 7);
            drop(first);
        }
    }
}

/// They would block whatever else runs in the task.
#[tokio::test]
async fn the_blocking_twins_panic_in_a_task() {
    let panics = |work: &dyn Fn()| {
        let work = std::panic::AssertUnwindSafe(work);
        std::panic::catch_unwind(work).is_err()
    };
    assert!(panics(&|| drop(Process::blocking_spawn(|| (), ()))));
    let process = within(Process::spawn(|| (), ())).await.expect("it starts");
    assert!(panics(&|| drop(process.blocking_join())));
    assert!(panics(&|| drop(
        process.blocking_join_timeout(Duration::ZERO)
    )));
    assert!(panics(&blocking_join_all));
    within(process.join()).await.expect("it ran");
    // On a thread for blocking work, the runtime allows it.
    let work = || {
        let process = Process::blocking_spawn(u64::pow, (2, 8)).expect("it starts");
        process.blocking_join().expect("it ran")
    };
    let number = within(tokio::task::spawn_blocking(work)).await;
    assert_eq!(number.expect("no panic"), 256);
}
