//! Programs in which other code reaps: one that ignores SIGCHLD, and one that is process 1 of a container or a
//! subreaper, to which the system passes the children of a dead fork server.

use std::process::Command;

use concurrent_futures::{ExecutorExt as _, StartMethod, TaskError};
use rustix::process::{Pid, Signal, kill_process};

use super::again::{self, is_alone};
use super::alone::{alone, children};
use super::common::{Gate, eventually, in_thread, within};
use super::methods::{alone_in_one_thread, processes, run};
use super::{builder, kill, wait_at};

fn double(x: u64) -> u64 {
    x * 2
}

/// The exit code of a program that this process starts.
fn code_of_shell() -> Result<Option<i32>, String> {
    let status = Command::new("sh").args(["-c", "exit 5"]).status();
    let code = status.map(|status| status.code());
    code.map_err(|error| error.to_string())
}

fn exit(code: i32) {
    std::process::exit(code);
}

/// The parent of a process. A zombie also has a parent.
fn parent_of(pid: u32) -> Option<u32> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // pid (name) state parent ...
    let after_name = stat.rsplit_once(") ")?.1;
    after_name.split(' ').nth(1)?.parse().ok()
}

#[derive(Clone, Copy, Debug)]
enum Reaper {
    /// The program ignores SIGCHLD, so the system reaps its children.
    Ignored,
    /// The program sets a flag with the same effect.
    NoWait,
}

#[expect(unsafe_code, reason = "signal actions have no safe form")]
fn ignore_children(reaper: Reaper) {
    // SAFETY: all zeros are the default action, no flags and an empty mask.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    match reaper {
        Reaper::Ignored => action.sa_sigaction = libc::SIG_IGN,
        Reaper::NoWait => action.sa_flags = libc::SA_NOCLDWAIT,
    }
    // SAFETY: the action has no handler.
    let set = unsafe { libc::sigaction(libc::SIGCHLD, &raw const action, std::ptr::null_mut()) };
    assert_eq!(set, 0);
}

async fn deaths_are_reported_though_the_system_reaps(method: StartMethod, reaper: Reaper) {
    let before = children().len();
    ignore_children(reaper);
    // The children of this program are those that it has executed or forked itself. Before Linux 6.15, it cannot know
    // how they ended.
    let is_right = |error: &TaskError, end: Option<i32>, expected: i32, is_child: bool| match end {
        Some(end) => end == expected,
        None => is_child && error.to_string().contains("this program ignores SIGCHLD"),
    };
    let is_child = method != StartMethod::ForkServer;
    let process = || builder(method);
    let adds = within(process().spawn(double, 4)).await.expect("it starts");
    assert_eq!(within(adds.join()).await.expect("it ran"), 8);
    let exits = within(process().spawn(exit, 3)).await.expect("it starts");
    let error = within(exits.join()).await.expect_err("it exits");
    assert!(is_right(&error, error.exit_code(), 3, is_child), "{error}");
    assert_eq!(exits.exit_code(), error.exit_code());
    let gate = Gate::new();
    let killed = within(process().spawn(wait_at, gate.key())).await;
    let killed = killed.expect("it starts");
    let _guest = gate.guest().await;
    killed.kill();
    let error = within(killed.join()).await.expect_err("it was killed");
    assert!(is_right(&error, error.signal(), 9, is_child), "{error}");

    let is_child = method == StartMethod::Spawn;
    let pool = processes(method, 1);
    assert_eq!(within(pool.submit(double, 4)).await.expect("it ran"), 8);
    let error = within(pool.submit(exit, 3)).await.expect_err("it exits");
    assert!(
        error.is_worker_lost() && is_right(&error, error.exit_code(), 3, is_child),
        "{error}"
    );
    let gate = Gate::new();
    let handle = pool.submit(wait_at, gate.key());
    kill(gate.guest().await.pid(), Signal::KILL);
    let error = within(handle).await.expect_err("it was killed");
    assert!(
        error.is_worker_lost() && is_right(&error, error.signal(), 9, is_child),
        "{error}"
    );
    // A task has the default, whatever its parent has chosen.
    let code = within(pool.submit(code_of_shell, ())).await;
    assert_eq!(code.expect("it ran"), Ok(Some(5)));
    within(pool.shutdown()).await;
    if method != StartMethod::Fork {
        let asks = within(process().spawn(code_of_shell, ()))
            .await
            .expect("it starts");
        assert_eq!(within(asks.join()).await.expect("it ran"), Ok(Some(5)));
    }
    // The fork server of `Process` stays.
    let stays = usize::from(method == StartMethod::ForkServer);
    eventually(|| children().len() <= before + stays).await;
}

#[test]
fn a_program_that_ignores_sigchld_has_no_wrong_reports_and_no_zombies() {
    let test = "reaping::a_program_that_ignores_sigchld_has_no_wrong_reports_and_no_zombies";
    if !is_alone(test) {
        return again::start(&std::env::current_exe().expect("this executable"), test);
    }
    for reaper in [Reaper::Ignored, Reaper::NoWait] {
        run(
            2,
            deaths_are_reported_though_the_system_reaps(StartMethod::Spawn, reaper),
        );
        run(
            2,
            deaths_are_reported_though_the_system_reaps(StartMethod::ForkServer, reaper),
        );
    }
}

#[test]
fn a_program_of_one_thread_that_ignores_sigchld_has_no_wrong_reports_and_no_zombies() {
    let test =
        "reaping::a_program_of_one_thread_that_ignores_sigchld_has_no_wrong_reports_and_no_zombies";
    for reaper in [Reaper::Ignored, Reaper::NoWait] {
        alone_in_one_thread(test, || {
            run(
                1,
                deaths_are_reported_though_the_system_reaps(StartMethod::Fork, reaper),
            );
        });
        if !is_alone(test) {
            return; // The test has run in its own process.
        }
    }
}

/// Kills the fork server of a process, and waits until the process is a child of this one.
async fn orphan(pid: u32) {
    let own = Some(std::process::id());
    let fork_server = parent_of(pid).filter(|parent| Some(*parent) != own);
    kill(fork_server.expect("a fork server"), Signal::KILL);
    eventually(|| parent_of(pid) == own).await;
}

async fn orphans_are_reaped_here() {
    // A worker continues to serve, and how it ends is known.
    let pool = processes(StartMethod::ForkServer, 1);
    let gate = Gate::new();
    let handle = pool.submit(wait_at, gate.key());
    let guest = gate.guest().await;
    let worker = guest.pid();
    orphan(worker).await;
    guest.let_in().await;
    within(handle).await.expect("it ran");
    let handle = pool.submit(wait_at, gate.key());
    let guest = gate.guest().await;
    assert_eq!(guest.pid(), worker);
    kill(worker, Signal::KILL);
    let error = within(handle).await.expect_err("it was killed");
    assert_eq!(error.signal(), Some(9), "{error}");
    assert_eq!(within(pool.submit(double, 4)).await.expect("it ran"), 8);
    within(pool.shutdown()).await;
    assert_eq!(children(), [0_u32; 0]);

    // Workers are killed by a pool in another runtime, which ends meanwhile.
    let key = gate.key();
    let (runtime, pool) = in_thread(|| {
        let runtime = tokio::runtime::Runtime::new().expect("a runtime");
        let pool = runtime.block_on(async {
            let pool = processes(StartMethod::ForkServer, 2);
            drop([key.clone(), key].map(|key| pool.submit(wait_at, key)));
            pool
        });
        (runtime, pool)
    })
    .await;
    let guests = [gate.guest().await, gate.guest().await];
    orphan(guests[0].pid()).await;
    in_thread(move || {
        pool.kill_workers();
        drop((runtime, pool));
    })
    .await;
    for guest in guests {
        guest.gone().await;
    }
    eventually(|| children().is_empty()).await;

    // Processes that run one function.
    let start = async || {
        let process = builder(StartMethod::ForkServer);
        let process = within(process.spawn(wait_at, gate.key())).await;
        (process.expect("it starts"), gate.guest().await)
    };
    let (process, guest) = start().await;
    orphan(guest.pid()).await;
    guest.let_in().await;
    within(process.join()).await.expect("it ran");
    let (process, guest) = start().await;
    orphan(guest.pid()).await;
    kill(guest.pid(), Signal::KILL);
    let error = within(process.join()).await.expect_err("it was killed");
    assert_eq!(error.signal(), Some(9), "{error}");
    let (process, guest) = start().await;
    orphan(guest.pid()).await;
    drop(process);
    guest.let_in().await;
    let (process, guest) = start().await;
    guest.let_in().await;
    within(process.join()).await.expect("it ran");
    eventually(|| children().len() == 1).await; // The fork server.
}

/// A fork server that dies between a fork and its answer leaves a process that is unknown here.
async fn unknown_orphans_are_reaped_here() {
    for round in 0..100_u32 {
        let before = children();
        let pool = processes(StartMethod::ForkServer, 4);
        let kill_it = async {
            let fork_server = loop {
                let new = children().into_iter().find(|pid| !before.contains(pid));
                match new {
                    Some(pid) => break pid,
                    None => tokio::task::yield_now().await,
                }
            };
            for _ in 0..2 * round {
                tokio::task::yield_now().await;
            }
            let pid = Pid::from_raw(fork_server.cast_signed()).expect("a process id");
            let _ = kill_process(pid, Signal::KILL);
        };
        let (warm, ()) = tokio::join!(pool.warm_up(), kill_it);
        drop(warm);
        within(pool.shutdown()).await;
        drop(pool);
        eventually(|| children() == before).await;
    }
}

#[test]
fn a_subreaper_reaps_workers_that_a_dead_fork_server_has_not_named() {
    let test = "reaping::a_subreaper_reaps_workers_that_a_dead_fork_server_has_not_named";
    alone(test, || async {
        let own = rustix::process::getpid();
        rustix::process::set_child_subreaper(Some(own)).expect("a subreaper");
        unknown_orphans_are_reaped_here().await;
    });
}

#[test]
fn a_subreaper_reaps_the_orphans_of_a_dead_fork_server() {
    let test = "reaping::a_subreaper_reaps_the_orphans_of_a_dead_fork_server";
    alone(test, || async {
        let own = rustix::process::getpid();
        rustix::process::set_child_subreaper(Some(own)).expect("a subreaper");
        orphans_are_reaped_here().await;
    });
}

#[test]
fn process_1_of_a_container_reaps_the_orphans_of_a_dead_fork_server() {
    let test = "reaping::process_1_of_a_container_reaps_the_orphans_of_a_dead_fork_server";
    let mut container = Command::new("unshare");
    container.args([
        "--user",
        "--map-root-user",
        "--pid",
        "--fork",
        "--mount-proc",
    ]);
    if is_alone(test) {
        assert_eq!(std::process::id(), 1);
        return run(2, orphans_are_reaped_here());
    }
    let mut trial = Command::new("unshare");
    let may = trial.args(container.get_args()).arg("true").output();
    if !may.is_ok_and(|trial| trial.status.success()) {
        // The test above passes the same orphans to a process with another number.
        eprintln!("this system does not let this user create a container");
        return;
    }
    container.arg(std::env::current_exe().expect("this executable"));
    again::run(&mut container, test);
}
