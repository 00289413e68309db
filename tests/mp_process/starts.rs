//! Abandoned starts, many starts, and the fork server.

use std::fs;
use std::pin::Pin;
use std::process::Command;
use std::time::Duration;

use concurrent_futures::StartMethod;
use concurrent_futures::multiprocessing::{Process, Stdio, active_children};
use rustix::process::Signal;
use tokio::io::AsyncReadExt as _;
use tokio::net::unix::pipe;

use super::again;
use super::alone::{alone, children};
use super::common::{Gate, Key, eventually, within};
use super::methods::{by_fork, run};
use super::{builder, is_running, kill, left, wait_at};

async fn starts_that_are_given_up_leave_nothing_behind(method: StartMethod) {
    let start = async |gate: &Gate| within(builder(method).spawn(wait_at, gate.key())).await;
    let gate = Gate::new();
    drop(start(&gate).await); // Everything that is created once exists after this.
    gate.guest().await.let_in().await;
    eventually(|| active_children().is_empty()).await;
    let fork_server = usize::from(method == StartMethod::ForkServer);
    eventually(|| children().len() == fork_server).await;
    let before = left();
    // Each start gets a number of turns of this runtime of one thread; every twentieth start gets as many as it needs.
    // A process answers through a descriptor, which the runtime checks between two turns.
    let turns = (0..19).map(|n| Some(n * n)).chain([None]);
    for turns in turns.cycle().take(200) {
        let (ours, theirs) = std::io::pipe().expect("a pipe");
        let builder = builder(method).stdout(theirs).stderr(Stdio::null());
        let mut start = Box::pin(builder.spawn(never_end, ()));
        let outcome = match turns {
            Some(turns) => turned(start.as_mut(), turns).await,
            None => Some(within(&mut start).await),
        };
        if let Some(0 | 1) = turns {
            assert!(outcome.is_none(), "one turn is too few for a start");
        }
        if let Some(process) = outcome {
            process.expect("it starts").kill();
        }
        // The start continues for about as long as a start takes, before it is dropped.
        let status = Command::new("true").status();
        assert!(status.expect("there is a `true`").success());
        drop(start);
        // The stream ends when no process has it as its stdout.
        let mut stdout = pipe::Receiver::from_owned_fd(ours.into()).expect("a pipe");
        let read = within(stdout.read(&mut [0])).await;
        assert_eq!(read.expect("its end"), 0);
    }
    eventually(|| left() <= before).await;
}

#[test]
fn starts_that_are_given_up_leave_nothing() {
    let test = "starts::starts_that_are_given_up_leave_nothing";
    if !again::is_alone(test) {
        return again::start(&std::env::current_exe().expect("this executable"), test);
    }
    run(1, async {
        starts_that_are_given_up_leave_nothing_behind(StartMethod::Spawn).await;
        starts_that_are_given_up_leave_nothing_behind(StartMethod::ForkServer).await;
    });
}

#[test]
fn forks_that_are_given_up_leave_nothing() {
    by_fork(
        "mp_process::starts::forks_that_are_given_up_leave_nothing",
        starts_that_are_given_up_leave_nothing_behind,
    );
}

fn never_end() {
    loop {
        std::thread::park();
    }
}

/// Polls a future for at most this number of turns of the runtime. In each turn, the runtime runs all other tasks that
/// are ready.
async fn turned<F: Future>(future: Pin<&mut F>, turns: usize) -> Option<F::Output> {
    let end = async {
        for _ in 0..turns {
            tokio::task::yield_now().await;
        }
    };
    tokio::select! {
        biased;
        output = future => Some(output),
        () = end => None,
    }
}

/// The memory that this process has in use, in bytes.
fn resident() -> usize {
    let statm = fs::read_to_string("/proc/self/statm").expect("/proc");
    let pages = statm.split(' ').nth(1).map(str::parse::<usize>);
    pages.expect("a field").expect("a number") * rustix::param::page_size()
}

/// Processes that return, panic, exit, are killed, or are not waited for.
async fn many_in_a_row_leave_nothing(method: StartMethod, count: u32) {
    let end = |n: u32| match n % 5 {
        0 => std::process::exit(3),
        1 => panic!("out of cheese"),
        2 => loop {
            std::thread::park();
        },
        n => vec![n; 1000],
    };
    let one = async |n: u32| {
        let builder = builder(method).stderr(Stdio::null()).stdin(Stdio::piped());
        let process = within(builder.spawn(end, n)).await.expect("it starts");
        match n % 5 {
            0 | 1 => drop(within(process.join()).await.expect_err("it gives nothing")),
            2 => process.kill(),
            3 => assert_eq!(within(process.join()).await.expect("it ran").len(), 1000),
            _ => {}
        }
    };
    for n in 0..50 {
        one(n).await;
    }
    let fork_server = usize::from(method == StartMethod::ForkServer);
    eventually(|| children().len() == fork_server).await;
    let (before, memory) = (left(), resident());
    for n in 0..count {
        one(n).await;
    }
    eventually(|| left() <= before).await;
    let more = resident().saturating_sub(memory);
    assert!(more < 2 << 20, "{more} bytes more");
}

#[test]
fn a_thousand_processes_in_a_row_leave_nothing() {
    let test = "starts::a_thousand_processes_in_a_row_leave_nothing";
    alone(test, || async {
        many_in_a_row_leave_nothing(StartMethod::Spawn, 200).await;
        many_in_a_row_leave_nothing(StartMethod::ForkServer, 1000).await;
    });
}

#[test]
fn a_thousand_forks_in_a_row_leave_nothing() {
    by_fork(
        "mp_process::starts::a_thousand_forks_in_a_row_leave_nothing",
        |method| many_in_a_row_leave_nothing(method, 1000),
    );
}

#[test]
fn the_death_of_the_fork_server_ends_no_process_and_fails_no_start() {
    let test = "starts::the_death_of_the_fork_server_ends_no_process_and_fails_no_start";
    alone(test, || async {
        let gate = Gate::new();
        let wait = |gate: Key| {
            gate.wait();
            42
        };
        let process = within(Process::spawn(wait, gate.key()))
            .await
            .expect("it starts");
        let guest = gate.guest().await;
        let [server] = children()[..] else {
            panic!("the fork server is the one child");
        };
        kill(server, Signal::KILL);
        eventually(|| !is_running(server)).await;
        assert!(process.is_alive());
        let next = within(Process::spawn(u64::pow, (2, 8))).await;
        assert_eq!(
            within(next.expect("it starts").join())
                .await
                .expect("it ran"),
            256
        );
        assert!(process.is_alive());
        guest.let_in().await;
        assert_eq!(within(process.join()).await.expect("it ran"), 42);
        assert!(!process.is_alive());
        assert_eq!(process.exit_code(), None, "it is not known");
        // A process without a result has at least ended.
        let process = within(Process::spawn(wait_at, gate.key()))
            .await
            .expect("it starts");
        let _guest = gate.guest().await;
        let [server] = children()[..] else {
            panic!("another has taken its place");
        };
        kill(server, Signal::KILL);
        process.kill();
        let error = within(process.join()).await.expect_err("it was killed");
        assert!(error.is_worker_lost(), "{error}");
    });
}

#[test]
fn a_stopped_fork_server_holds_up_no_start_for_longer_than_its_time_out() {
    let test = "starts::a_stopped_fork_server_holds_up_no_start_for_longer_than_its_time_out";
    alone(test, || async {
        drop(within(Process::spawn(|| (), ())).await.expect("it starts"));
        let [server] = children()[..] else {
            panic!("the fork server is the one child");
        };
        kill(server, Signal::STOP);
        // However short their limits are, one of them finds that the fork server has been silent for too long.
        let process = within(async {
            loop {
                let builder = Process::builder().spawn_timeout(Duration::from_millis(100));
                match builder.spawn(u64::pow, (2, 8)).await {
                    Ok(process) => break process,
                    Err(error) => assert!(error.to_string().contains("within 100ms"), "{error}"),
                }
            }
        });
        let process = process.await; // Another fork server has taken its place.
        assert_eq!(within(process.join()).await.expect("it ran"), 256);
        assert!(!is_running(server), "it was killed");
    });
}

#[test]
fn an_impatient_start_costs_no_other_process_its_exit_status() {
    let test = "starts::an_impatient_start_costs_no_other_process_its_exit_status";
    alone(test, || async {
        let hasty = || Process::builder().spawn_timeout(Duration::from_millis(1));
        drop(within(hasty().spawn(|| (), ())).await); // It does not wait until the fork server exists.
        let gate = Gate::new();
        let mut running = Vec::new();
        for _ in 0..3 {
            let process = within(Process::spawn(wait_at, gate.key())).await;
            running.push((process.expect("it starts"), gate.guest().await));
        }
        eventually(|| children().len() == 1).await;
        let [server] = children()[..] else {
            panic!("the fork server is the one child");
        };
        kill(server, Signal::STOP);
        let error = within(hasty().spawn(|| (), ())).await;
        let error = error.expect_err("none can fork it");
        assert!(error.to_string().contains("within 1ms"), "{error}");
        kill(server, Signal::CONT);
        for _ in 0..20 {
            drop(within(hasty().spawn(|| (), ())).await); // Some of these starts may be fast enough.
        }
        for (process, guest) in running {
            guest.let_in().await;
            within(process.join()).await.expect("it ran");
            assert_eq!(process.exit_code(), Some(0));
        }
        assert_eq!(children(), [server]);
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn forking_a_process_with_other_threads_is_refused_by_their_names() {
    let error = within(builder(StartMethod::Fork).name("forked").spawn(|| (), ())).await;
    let error = error.expect_err("a runtime has threads");
    assert!(error.is_unsupported(), "{error}");
    let text = error.to_string();
    assert!(
        text.contains("process `forked`") && text.contains("this one has: mp_process"),
        "{text}"
    );
}

#[test]
fn how_a_process_ended_is_unknown_if_the_fork_server_does_not_say_it() {
    let test = "starts::how_a_process_ended_is_unknown_if_the_fork_server_does_not_say_it";
    alone(test, || async {
        let gate = Gate::new();
        let process = within(Process::spawn(wait_at, gate.key()))
            .await
            .expect("it starts");
        let guest = gate.guest().await;
        let [server] = children()[..] else {
            panic!("the fork server is the one child");
        };
        kill(server, Signal::STOP);
        guest.let_in().await;
        // The result does not depend on that.
        within(process.join()).await.expect("it ran");
        assert!(!process.is_alive());
        assert_eq!((process.exit_code(), process.signal()), (None, None));
        kill(server, Signal::CONT);
    });
}
