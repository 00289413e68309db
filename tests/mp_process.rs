//! A function in a process of its own: what it gives, what it finds, how it ends, and what is left.

#![cfg(target_os = "linux")]

#[path = "common/again.rs"]
mod again;
#[path = "common/alone.rs"]
mod alone;
mod common;
#[path = "common/methods.rs"]
mod methods;

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use concurrent_futures::multiprocessing::{
    Process, ProcessBuilder, Stdio, active_children, blocking_join_all, join_all,
};
use concurrent_futures::{ExecutorExt as _, Limits, StartMethod};
use futures::FutureExt as _;
use rustix::process::{Pid, Signal, kill_process};
use serde::{Deserialize, Serialize};
use tokio::io::AsyncReadExt as _;
use tokio::net::unix::pipe;

use self::again::is_alone;
use self::alone::{alone, children, descriptors};
use self::common::{Gate, Key, eventually, within};
use self::methods::{by_fork, held_by_every_start_method, test_of};

concurrent_futures::init_before_main!();

held_by_every_start_method! { 1;
    what_the_function_returns_comes_back_and_its_process_exits_with_0,
    a_panic_is_told_with_its_place_and_its_process_exits_with_101,
    an_exit_is_told_by_its_code,
    a_death_by_a_signal_is_told_apart_from_an_exit,
    what_cannot_be_encoded_or_decoded_is_told_by_whom_it_concerns,
    what_a_process_prints_goes_to_the_stdout_of_its_parent,
    the_ends_of_pipes_can_be_taken,
    a_stream_may_be_any_descriptor,
    environment_and_folder_are_the_parents_own_at_the_start_unless_told,
    a_folder_that_is_not_there_is_a_typed_error_that_names_it,
    a_process_holds_only_the_descriptors_meant_for_it,
    a_process_keeps_its_limits_and_one_that_is_refused_is_told,
    a_join_that_is_given_up_loses_nothing,
    a_large_result_waits_for_nobody,
    a_join_may_be_repeated,
    a_process_in_a_process_and_in_a_worker_works,
    an_interrupt_ends_a_process_only_if_it_is_meant,
    a_kill_takes_along_what_the_process_has_started_and_its_own_end_does_not,
    when_its_parent_is_killed_a_daemon_goes_and_another_runs_to_its_end,
    when_its_parent_ends_a_daemon_goes_and_another_runs_to_its_end,
    a_process_starts_though_its_parent_has_closed_its_streams,
    a_dropped_handle_leaves_its_process_alone_and_no_zombie,
    a_handle_that_kills_on_drop_takes_its_process_along,
}

fn wait_at(gate: Key) {
    gate.wait();
}

fn pass_two(first: Key, second: Key) {
    first.wait();
    second.wait();
}

fn kill_myself(signal: i32) {
    let signal = Signal::from_named_raw(signal).expect("a signal");
    kill_process(rustix::process::getpid(), signal).expect("it is there");
}

fn kill(pid: u32, signal: Signal) {
    let pid = Pid::from_raw(pid.cast_signed()).expect("a pid");
    kill_process(pid, signal).expect("it is there");
}

/// Whether the process is there, be it as a zombie.
fn is_there(pid: u32) -> bool {
    fs::exists(format!("/proc/{pid}")).expect("/proc")
}

fn builder(method: StartMethod) -> ProcessBuilder {
    Process::builder().start_method(method)
}

async fn what_the_function_returns_comes_back_and_its_process_exits_with_0(method: StartMethod) {
    let function = |base: u64, text: String| (base * 2, text.to_uppercase(), std::process::id());
    let process = within(builder(method).spawn(function, (21, "text".to_owned()))).await;
    let process = process.expect("it starts");
    let (number, text, pid) = within(process.join()).await.expect("it ran");
    assert_eq!((number, text.as_str(), pid), (42, "TEXT", process.pid()));
    assert_ne!(pid, std::process::id());
    assert!(!process.is_alive());
    assert_eq!((process.exit_code(), process.signal()), (Some(0), None));
    assert!(process.name().contains("mp_process"), "{}", process.name());
    let named = within(builder(method).name("mine").spawn(|| (), ())).await;
    let named = named.expect("it starts");
    assert_eq!(named.name(), "mine");
    let debug = format!("{named:?}");
    assert!(debug.contains("mine") && debug.contains("pid"), "{debug}");
    within(named.join()).await.expect("it ran");
}

async fn a_panic_is_told_with_its_place_and_its_process_exits_with_101(method: StartMethod) {
    let builder = builder(method).name("careless").stderr(Stdio::piped());
    let process = within(builder.spawn(|| -> u32 { panic!("out of cheese") }, ())).await;
    let mut process = process.expect("it starts");
    let error = within(process.join()).await.expect_err("it panicked");
    assert!(error.is_panic() && error.was_started(), "{error}");
    assert_eq!(error.panic_message(), Some("out of cheese"));
    let place = error.panic_location().expect("a place");
    assert!(place.file().ends_with("mp_process.rs"), "{place}");
    assert_eq!(error.task_name(), "careless");
    assert_eq!((process.exit_code(), process.signal()), (Some(101), None));
    let mut printed = String::new();
    let stderr = process.take_stderr().expect("it is piped");
    (&stderr)
        .read_to_string(&mut printed)
        .expect("it has ended");
    assert!(printed.contains("out of cheese"), "{printed}");
}

async fn an_exit_is_told_by_its_code(method: StartMethod) {
    for code in [0, 7] {
        let exit = |code| -> u32 { std::process::exit(code) };
        let process = within(builder(method).spawn(exit, code)).await;
        let process = process.expect("it starts");
        let error = within(process.join()).await.expect_err("it gave nothing");
        assert!(error.is_worker_lost() && error.was_started(), "{error}");
        assert_eq!((error.exit_code(), error.signal()), (Some(code), None));
        assert_eq!(error.worker_pid(), Some(process.pid()));
        assert_eq!((process.exit_code(), process.signal()), (Some(code), None));
    }
}

async fn a_death_by_a_signal_is_told_apart_from_an_exit(method: StartMethod) {
    let process = within(builder(method).spawn(kill_myself, Signal::USR1.as_raw())).await;
    let process = process.expect("it starts");
    let error = within(process.join()).await.expect_err("it died");
    assert!(error.is_worker_lost() && error.was_started(), "{error}");
    assert_eq!((error.exit_code(), error.signal()), (None, Some(10)));
    assert!(error.to_string().contains("SIGUSR1"), "{error}");
    assert_eq!((process.exit_code(), process.signal()), (None, Some(10)));
    for (end, signal) in [
        (Process::terminate as fn(&Process<()>), 15),
        (Process::kill, 9),
    ] {
        let gate = Gate::new();
        let process = within(builder(method).spawn(wait_at, gate.key())).await;
        let process = process.expect("it starts");
        let guest = gate.guest().await;
        assert_eq!(guest.pid(), process.pid());
        assert!(process.is_alive());
        assert_eq!((process.exit_code(), process.signal()), (None, None));
        end(&process);
        let error = within(process.join()).await.expect_err("it was ended");
        assert_eq!((error.exit_code(), error.signal()), (None, Some(signal)));
        assert_eq!(process.signal(), Some(signal));
        end(&process); // Nobody is hit.
    }
}

/// As an argument, or a result, it can be written, or cannot.
#[derive(Debug)]
struct Fickle {
    writes: bool,
    reads: bool,
}

impl Serialize for Fickle {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.writes {
            true => self.reads.serialize(serializer),
            false => Err(serde::ser::Error::custom("not today")),
        }
    }
}

impl<'de> Deserialize<'de> for Fickle {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let writes = true;
        match bool::deserialize(deserializer)? {
            true => Ok(Self {
                writes,
                reads: true,
            }),
            false => Err(serde::de::Error::custom("not tomorrow")),
        }
    }
}

async fn what_cannot_be_encoded_or_decoded_is_told_by_whom_it_concerns(method: StartMethod) {
    let of = |writes, reads| Fickle { writes, reads };
    let error = within(builder(method).spawn(|_: Fickle| (), of(false, true))).await;
    let error = error.expect_err("it cannot be sent");
    assert!(
        error.is_codec() && error.to_string().contains("not today"),
        "{error}"
    );

    let process = within(builder(method).spawn(|_: Fickle| (), of(true, false))).await;
    let process = process.expect("it starts");
    let error = within(process.join()).await.expect_err("it cannot be read");
    assert!(error.is_codec() && !error.was_started(), "{error}");
    assert!(error.to_string().contains("not tomorrow"), "{error}");
    assert_eq!(process.exit_code(), Some(1));

    let give = |writes, reads| Fickle { writes, reads };
    let process = within(builder(method).spawn(give, (false, true))).await;
    let process = process.expect("it starts");
    let error = within(process.join())
        .await
        .expect_err("it cannot be sent back");
    assert!(error.is_codec() && error.was_started(), "{error}");
    assert!(error.to_string().contains("not today"), "{error}");
    assert_eq!(process.exit_code(), Some(1));

    let process = within(builder(method).spawn(give, (true, false))).await;
    let process = process.expect("it starts");
    let error = within(process.join())
        .await
        .expect_err("it cannot be read here");
    assert!(error.is_codec() && error.was_started(), "{error}");
    assert!(error.to_string().contains("not tomorrow"), "{error}");
    assert_eq!(process.exit_code(), Some(0));
}

async fn what_a_process_prints_goes_to_the_stdout_of_its_parent(method: StartMethod) {
    const PART: &str = "CONCURRENT_FUTURES_TEST_PART";
    if std::env::var_os(PART).is_some() {
        let print = || {
            // The harness takes what a test prints by `println!`, but in its own thread only.
            println!("for stdout");
            eprintln!("for stderr");
            print!("half a line");
        };
        let process = within(builder(method).spawn(print, ())).await;
        return within(process.expect("it starts").join())
            .await
            .expect("it ran");
    }
    let test = test_of(
        method,
        "what_a_process_prints_goes_to_the_stdout_of_its_parent",
    );
    let output = Command::new(std::env::current_exe().expect("it is there"))
        .args(["--exact", &test, "--nocapture"])
        .env(PART, "1")
        .env("CONCURRENT_FUTURES_TEST_ALONE", &test)
        .output()
        .expect("it starts");
    let stdout = String::from_utf8_lossy(&output.stdout);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{stdout}{stderr}");
    assert!(stdout.contains("for stdout\nhalf a line"), "{stdout}");
    assert!(stderr.contains("for stderr\n"), "{stderr}");
}

async fn the_ends_of_pipes_can_be_taken(method: StartMethod) {
    let shout = || {
        let mut text = String::new();
        std::io::stdin().read_to_string(&mut text).expect("its end");
        print!("{}", text.to_uppercase());
        eprint!("{}", text.len());
    };
    let builder = builder(method).stdin(Stdio::piped());
    let builder = builder.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut process = within(builder.spawn(shout, ())).await.expect("it starts");
    let mut stdin = process.take_stdin().expect("it is piped");
    stdin.write_all(b"hello").expect("it has room");
    assert!(process.take_stdin().is_none(), "it is taken");
    drop(stdin);
    let (stdout, stderr) = (process.take_stdout(), process.take_stderr());
    for (stream, expected) in [(stdout, "HELLO"), (stderr, "5")] {
        let stream = OwnedFd::from(stream.expect("it is piped"));
        let mut stream = pipe::Receiver::from_owned_fd(stream).expect("a pipe");
        let mut text = String::new();
        within(stream.read_to_string(&mut text))
            .await
            .expect("its end");
        assert_eq!(text, expected);
    }
    within(process.join()).await.expect("it ran");
}

async fn a_stream_may_be_any_descriptor(method: StartMethod) {
    let mut input = tempfile::tempfile().expect("a file");
    input.write_all(b"from a file").expect("it has room");
    std::io::Seek::rewind(&mut input).expect("a file");
    let output = tempfile::tempfile().expect("a file");
    let copy = || {
        let copied = std::io::copy(&mut std::io::stdin(), &mut std::io::stdout());
        copied.expect("two files")
    };
    let builder = builder(method).stdin(input).stderr(Stdio::null());
    let builder = builder.stdout(output.try_clone().expect("a file"));
    let process = within(builder.spawn(copy, ())).await.expect("it starts");
    assert_eq!(within(process.join()).await.expect("it ran"), 11);
    assert_eq!(output.metadata().expect("a file").len(), 11);
    // By default there is nothing to read.
    let builder = self::builder(method).stdout(Stdio::null());
    let process = within(builder.spawn(copy, ())).await.expect("it starts");
    assert_eq!(within(process.join()).await.expect("it ran"), 0);
}

type Around = (BTreeMap<String, String>, PathBuf);

/// The environment, and the folder.
fn around() -> Around {
    let variables = std::env::vars().collect();
    (variables, std::env::current_dir().expect("a folder"))
}

async fn environment_and_folder_are_the_parents_own_at_the_start_unless_told(method: StartMethod) {
    // Both are the whole process's: the rest is done in a process of its own.
    let test = "environment_and_folder_are_the_parents_own_at_the_start_unless_told";
    if method != StartMethod::Fork && !is_alone(&test_of(method, test)) {
        return again::start(
            &std::env::current_exe().expect("it is there"),
            &test_of(method, test),
        );
    }
    let look = async |builder: ProcessBuilder| -> Around {
        let process = within(builder.spawn(around, ())).await.expect("it starts");
        within(process.join()).await.expect("it ran")
    };
    assert_eq!(look(builder(method)).await, around());
    // Also what has changed since the fork server was started.
    let folder = tempfile::tempdir().expect("a folder");
    std::env::set_current_dir(&folder).expect("it is there");
    fs::create_dir("inner").expect("it is ours");
    #[expect(unsafe_code, reason = "it changes the environment")]
    // SAFETY: nothing else in this process looks at its environment meanwhile.
    unsafe {
        std::env::set_var("CONCURRENT_FUTURES_TEST_NEW", "new");
    };
    let (variables, place) = look(builder(method)).await;
    assert_eq!((&variables, &place), (&around().0, &around().1));
    assert_eq!(variables["CONCURRENT_FUTURES_TEST_NEW"], "new");
    let told = builder(method).env("CONCURRENT_FUTURES_TEST_NEW", "newer");
    let (variables, place) = look(told.current_dir("inner")).await;
    assert_eq!(variables["CONCURRENT_FUTURES_TEST_NEW"], "newer");
    assert_eq!(variables.len(), around().0.len());
    assert_eq!(place, around().1.join("inner"));
    let (variables, _) = look(builder(method).env("ONLY", "this").env_clear()).await;
    let only = ("ONLY".to_owned(), "this".to_owned());
    assert_eq!(variables, BTreeMap::from([only]));
    for (name, value) in [("", "x"), ("a=b", "x"), ("a\0", "x"), ("a", "\0")] {
        let error = within(builder(method).env(name, value).spawn(|| (), ())).await;
        let error = error.expect_err("it cannot be");
        assert!(error.is_invalid_setting(), "{error}");
    }
    std::env::set_current_dir("/").expect("it is there");
}

async fn a_folder_that_is_not_there_is_a_typed_error_that_names_it(method: StartMethod) {
    let before = active();
    let builder = builder(method).current_dir("/not/there").name("lost");
    let error = within(builder.spawn(|| (), ()))
        .await
        .expect_err("it is not there");
    let text = error.to_string();
    assert!(
        text.contains("/not/there") && text.contains("No such file"),
        "{text}"
    );
    assert!(text.contains("process `lost` was not started"), "{text}");
    assert_eq!(active() - before.min(active()), 0);
}

/// How many processes have that name and are running. (Those of other tests have others.)
fn active() -> usize {
    let lost = active_children();
    lost.iter().filter(|child| child.name() == "lost").count()
}

async fn a_process_holds_only_the_descriptors_meant_for_it(method: StartMethod) {
    let _other = within(builder(method).spawn(|| (), ())).await;
    // What is open in the process that is forked is open in its fork. (Those of other tests come and go.)
    let inherited = match method {
        StartMethod::Fork => descriptors().len(),
        _ => 3,
    };
    let process = within(builder(method).spawn(descriptors, ())).await;
    let held = within(process.expect("it starts").join())
        .await
        .expect("it ran");
    let outcome = |target: &PathBuf| target.to_string_lossy().contains("memfd:");
    let own = held.iter().filter(|(_, target)| outcome(target)).count();
    assert!((1..=2).contains(&own), "{held:?}");
    assert_eq!(held.len(), inherited + 1, "{held:?}");
}

async fn a_process_keeps_its_limits_and_one_that_is_refused_is_told(method: StartMethod) {
    let limit = || rustix::process::getrlimit(rustix::process::Resource::Core).current;
    let builder = || builder(method);
    let process = within(
        builder()
            .limits(Limits::new().core_size(0))
            .spawn(limit, ()),
    )
    .await;
    let process = process.expect("it starts");
    assert_eq!(within(process.join()).await.expect("it ran"), Some(0));
    let error = within(builder().limits(Limits::new().nice(77)).spawn(|| (), ())).await;
    let error = error.expect_err("no process is so nice");
    assert!(error.is_invalid_setting(), "{error}");
    let limits = Limits::new().open_files(u64::MAX);
    let error = within(builder().limits(limits).spawn(|| (), ())).await;
    let error = error.expect_err("the system has not so many");
    assert!(error.to_string().contains("open_files"), "{error}");
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
        assert!(
            process
                .blocking_join_timeout(Duration::from_millis(1))
                .is_none()
        );
    }
    let first = process.join();
    tokio::pin!(first);
    assert!(futures::poll!(first.as_mut()).is_pending());
    guest.let_in().await;
    // Two may wait for it.
    let (one, two) = within(futures::future::join(first, process.join())).await;
    assert_eq!((one.expect("it ran"), two.expect("it ran")), (42, 42));
}

/// Were it written to somebody, the process would wait until somebody reads it.
async fn a_large_result_waits_for_nobody(method: StartMethod) {
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
        assert_eq!(process.blocking_join().expect("it ran"), "text");
        let ended = process.blocking_join_timeout(Duration::ZERO);
        assert_eq!(ended.expect("it has ended").expect("it ran"), "text");
    }
}

#[test]
fn without_a_runtime_a_process_is_started_and_joined() {
    let test = "without_a_runtime_a_process_is_started_and_joined";
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
    let test = "a_process_outlives_the_runtime_it_was_started_in";
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
            drop(guest); // It may pass.
            within(process.join()).await.expect("it ran");
        });
    });
}

fn square_elsewhere(method: StartMethodName, n: u64) -> u64 {
    // One that was forked within a runtime believes to be in it.
    let work = move || {
        let process = builder(method.into()).blocking_spawn(u64::pow, (n, 2));
        process.expect("it starts").blocking_join().expect("it ran")
    };
    std::thread::spawn(work).join().expect("no panic")
}

/// A start method that can travel.
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

async fn an_interrupt_ends_a_process_only_if_it_is_meant(method: StartMethod) {
    let gate = Gate::new();
    let process = within(builder(method).spawn(wait_at, gate.key())).await;
    let process = process.expect("it starts");
    let _guest = gate.guest().await;
    let pid = Pid::from_raw(process.pid().cast_signed()).expect("a pid");
    // It is not in the group that a terminal interrupts.
    assert_eq!(rustix::process::getpgid(Some(pid)).expect("a group"), pid);
    kill_process(pid, Signal::INT).expect("it is there");
    let error = within(process.join())
        .await
        .expect_err("it was interrupted");
    assert_eq!(error.signal(), Some(Signal::INT.as_raw()));
}

async fn a_kill_takes_along_what_the_process_has_started_and_its_own_end_does_not(
    method: StartMethod,
) {
    let gate = Gate::new();
    // Its stdin is ours, lest it ends with the process.
    let start = |gate: Key| {
        let stdin = std::io::stdin();
        let stdin = std::os::fd::AsFd::as_fd(&stdin).try_clone_to_owned();
        let mut command = Command::new("cat");
        let child = command.stdin(stdin.expect("a descriptor")).spawn();
        drop(child.expect("there is a `cat`"));
        gate.wait();
    };
    for ending in [Process::terminate as fn(&Process<()>), Process::kill] {
        let builder = builder(method).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut process = within(builder.spawn(start, gate.key()))
            .await
            .expect("it starts");
        let _guest = gate.guest().await;
        let mut stdout = receiver(process.take_stdout());
        ending(&process);
        within(process.join()).await.expect_err("it was ended");
        // All that had it open have gone.
        assert_eq!(within(stdout.read(&mut [0])).await.expect("its end"), 0);
    }
    let builder = builder(method).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut process = within(builder.spawn(start, gate.key()))
        .await
        .expect("it starts");
    gate.guest().await.let_in().await;
    within(process.join()).await.expect("it ran");
    let (stdin, mut stdout) = (process.take_stdin(), receiver(process.take_stdout()));
    stdin
        .as_ref()
        .expect("it is piped")
        .write_all(b"x")
        .expect("`cat` reads it");
    let mut byte = [0];
    assert_eq!(within(stdout.read(&mut byte)).await.expect("an answer"), 1);
    drop(stdin);
    assert_eq!(within(stdout.read(&mut byte)).await.expect("its end"), 0);
}

fn receiver(end: Option<std::io::PipeReader>) -> pipe::Receiver {
    let end = OwnedFd::from(end.expect("it is piped"));
    pipe::Receiver::from_owned_fd(end).expect("a pipe")
}

/// A parent has a daemon and another process, and ends when it is let in, or is killed before.
async fn a_parent_ends(method: StartMethod, test: &str, end: impl AsyncFn(common::Guest)) {
    const GATES: &str = "CONCURRENT_FUTURES_TEST_GATES";
    type Gates = [Key; 4];
    if let Ok(gates) = std::env::var(GATES) {
        let [parent, daemon, free, after]: Gates = serde_json::from_str(&gates).expect("keys");
        let daemon = builder(method).daemon(true).spawn(wait_at, daemon).await;
        let free = builder(method).spawn(pass_two, (free, after)).await;
        let (_daemon, _free) = (daemon.expect("it starts"), free.expect("it starts"));
        return parent.wait();
    }
    let gates = [(); 4].map(|()| Gate::new());
    let [parent, daemon, free, after] = &gates;
    let keys = gates.each_ref().map(Gate::key);
    let mut started = Command::new(std::env::current_exe().expect("it is there"))
        .args(["--exact", &test_of(method, test)])
        .env(GATES, serde_json::to_string(&keys).expect("keys"))
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .spawn()
        .expect("it starts");
    let (daemon, free) = (daemon.guest().await, free.guest().await);
    let pid = free.pid();
    end(parent.guest().await).await;
    daemon.gone().await;
    free.let_in().await;
    after.guest().await.let_in().await; // It runs on,
    eventually(|| !is_there(pid)).await; // to its end, and whoever adopted it has waited for it.
    within(tokio::task::spawn_blocking(move || started.wait()))
        .await
        .expect("no panic")
        .expect("it is there");
}

async fn when_its_parent_is_killed_a_daemon_goes_and_another_runs_to_its_end(method: StartMethod) {
    let test = "when_its_parent_is_killed_a_daemon_goes_and_another_runs_to_its_end";
    a_parent_ends(method, test, async |parent| {
        kill(parent.pid(), Signal::KILL);
        parent.gone().await;
    })
    .await;
}

async fn when_its_parent_ends_a_daemon_goes_and_another_runs_to_its_end(method: StartMethod) {
    let test = "when_its_parent_ends_a_daemon_goes_and_another_runs_to_its_end";
    a_parent_ends(method, test, async |parent| parent.let_in().await).await;
}

async fn a_process_starts_though_its_parent_has_closed_its_streams(method: StartMethod) {
    let test = test_of(
        method,
        "a_process_starts_though_its_parent_has_closed_its_streams",
    );
    if method != StartMethod::Fork && !is_alone(&test) {
        return again::start(&std::env::current_exe().expect("it is there"), &test);
    }
    // The harness is to tell what becomes of it.
    let kept: Vec<_> = (0..3)
        .map(|fd| borrow(fd).try_clone_to_owned().expect("it is open"))
        .collect();
    (0..3).for_each(close);
    let work = || {
        println!("to nowhere");
        eprintln!("to nowhere");
        let mut text = String::new();
        std::io::stdin().read_to_string(&mut text).expect("its end");
        text.len()
    };
    let outcome = async {
        let inherits = builder(method).stdin(Stdio::inherit());
        for builder in [builder(method), inherits] {
            let process = within(builder.spawn(work, ())).await.expect("it starts");
            assert_eq!(within(process.join()).await.expect("it ran"), 0);
        }
        let piped = builder(method).stdout(Stdio::piped());
        let mut process = within(piped.spawn(|| print!("text"), ()))
            .await
            .expect("it starts");
        within(process.join()).await.expect("it ran");
        let mut stdout = process.take_stdout().expect("it is piped");
        let mut text = String::new();
        stdout.read_to_string(&mut text).expect("its end");
        assert_eq!(text, "text");
    };
    let outcome = std::panic::AssertUnwindSafe(outcome).catch_unwind().await;
    rustix::stdio::dup2_stdin(&kept[0]).expect("it was open");
    rustix::stdio::dup2_stdout(&kept[1]).expect("it was open");
    rustix::stdio::dup2_stderr(&kept[2]).expect("it was open");
    if let Err(panic) = outcome {
        // It was printed to nowhere.
        panic!("{:?}", panic.downcast_ref::<String>());
    }
}

#[expect(unsafe_code, reason = "a standard stream")]
fn borrow<'a>(fd: i32) -> std::os::fd::BorrowedFd<'a> {
    // SAFETY: it is open.
    unsafe { std::os::fd::BorrowedFd::borrow_raw(fd) }
}

#[expect(unsafe_code, reason = "closes a standard stream")]
fn close(fd: i32) {
    // SAFETY: nothing owns it.
    unsafe { libc::close(fd) };
}

async fn a_dropped_handle_leaves_its_process_alone_and_no_zombie(method: StartMethod) {
    for daemon in [false, true] {
        let gates = [(); 2].map(|()| Gate::new());
        let keys = gates.each_ref().map(Gate::key);
        let builder = builder(method).daemon(daemon);
        let process = within(builder.spawn(pass_two, keys.into())).await;
        let process = process.expect("it starts");
        let pid = process.pid();
        drop(process);
        for gate in &gates {
            gate.guest().await.let_in().await;
        }
        eventually(|| !is_there(pid)).await;
    }
}

#[test]
fn without_its_runtime_or_any_a_dropped_handle_leaves_no_zombie() {
    let test = "without_its_runtime_or_any_a_dropped_handle_leaves_no_zombie";
    methods::for_every_start_method(test, |method| {
        let runtime = || {
            let mut runtime = tokio::runtime::Builder::new_current_thread();
            runtime.enable_all().build().expect("a runtime")
        };
        let first = runtime();
        let (pid, process, guests) = first.block_on(async {
            let gate = Gate::new();
            let detached = within(builder(method).spawn(wait_at, gate.key())).await;
            let process = within(builder(method).spawn(wait_at, gate.key())).await;
            let guests = [gate.guest().await, gate.guest().await];
            let pid = detached.expect("it starts").pid();
            (pid, process.expect("it starts"), guests)
        });
        drop(first); // With the task that waited for the one without a handle.
        let pids = [pid, process.pid()];
        drop(process); // Outside of any.
        assert!(pids.iter().all(|pid| is_there(*pid)));
        drop(guests); // They may pass.
        runtime().block_on(eventually(|| !pids.iter().any(|pid| is_there(*pid))));
    });
}

async fn a_handle_that_kills_on_drop_takes_its_process_along(method: StartMethod) {
    let gate = Gate::new();
    let builder = builder(method).kill_on_drop(true);
    let process = within(builder.spawn(wait_at, gate.key()))
        .await
        .expect("it starts");
    let (guest, pid) = (gate.guest().await, process.pid());
    drop(process);
    guest.gone().await;
    eventually(|| !is_there(pid)).await;
}

/// What there is besides a fork server: of processes and of descriptors.
fn left() -> (usize, usize) {
    (children().len(), descriptors().len())
}

async fn starts_that_are_given_up_leave_nothing_behind(method: StartMethod) {
    let start = async |gate: &Gate| within(builder(method).spawn(wait_at, gate.key())).await;
    let gate = Gate::new();
    drop(start(&gate).await); // What is made once is there from now on.
    gate.guest().await.let_in().await;
    eventually(|| active_children().is_empty()).await;
    let fork_server = usize::from(method == StartMethod::ForkServer);
    eventually(|| children().len() == fork_server).await;
    let before = left();
    let mut started = 0;
    for step in 0..60 {
        let start = builder(method).spawn(|| (), ());
        let limit = Duration::from_micros(50 * step);
        if let Ok(process) = tokio::time::timeout(limit, start).await {
            within(process.expect("it starts").join())
                .await
                .expect("it ran");
            started += 1;
        }
    }
    assert!(started < 60, "none was given up");
    eventually(|| left() <= before).await;
}

#[test]
fn starts_that_are_given_up_leave_nothing() {
    let test = "starts_that_are_given_up_leave_nothing";
    alone(test, || async {
        starts_that_are_given_up_leave_nothing_behind(StartMethod::Spawn).await;
        starts_that_are_given_up_leave_nothing_behind(StartMethod::ForkServer).await;
    });
}

#[test]
fn forks_that_are_given_up_leave_nothing() {
    by_fork(
        "mp_process::forks_that_are_given_up_leave_nothing",
        starts_that_are_given_up_leave_nothing_behind,
    );
}

/// The memory that this process has in use, in bytes.
fn resident() -> usize {
    let statm = fs::read_to_string("/proc/self/statm").expect("/proc");
    let pages = statm.split(' ').nth(1).map(str::parse::<usize>);
    pages.expect("a field").expect("a number") * rustix::param::page_size()
}

/// Processes that return, panic, exit, are killed and are not waited for.
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
    let test = "a_thousand_processes_in_a_row_leave_nothing";
    alone(test, || async {
        many_in_a_row_leave_nothing(StartMethod::Spawn, 200).await;
        many_in_a_row_leave_nothing(StartMethod::ForkServer, 1000).await;
    });
}

#[test]
fn a_thousand_forks_in_a_row_leave_nothing() {
    by_fork(
        "mp_process::a_thousand_forks_in_a_row_leave_nothing",
        |method| many_in_a_row_leave_nothing(method, 1000),
    );
}

#[test]
fn the_death_of_the_fork_server_ends_no_process_and_hinders_no_start() {
    let test = "the_death_of_the_fork_server_ends_no_process_and_hinders_no_start";
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
        assert_eq!(process.exit_code(), None, "nobody could tell");
        // One that gives nothing has at least ended.
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
    let test = "a_stopped_fork_server_holds_up_no_start_for_longer_than_its_time_out";
    alone(test, || async {
        drop(within(Process::spawn(|| (), ())).await.expect("it starts"));
        let [server] = children()[..] else {
            panic!("the fork server is the one child");
        };
        kill(server, Signal::STOP);
        let builder = Process::builder().spawn_timeout(Duration::from_millis(100));
        let process = within(builder.spawn(u64::pow, (2, 8))).await;
        let process = process.expect("another takes its place");
        assert_eq!(within(process.join()).await.expect("it ran"), 256);
        assert!(!is_running(server), "it was killed");
    });
}

/// Whether the process is there and has not ended.
fn is_running(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let state = stat.rsplit_once(") ").map(|(_, rest)| rest);
    state.is_some_and(|state| !state.starts_with(['Z', 'X']))
}

#[test]
fn running_processes_are_listed_and_all_but_daemons_can_be_waited_for() {
    let test = "running_processes_are_listed_and_all_but_daemons_can_be_waited_for";
    alone(test, || async {
        assert!(active_children().is_empty());
        let gate = Gate::new();
        let mut pids = Vec::new();
        for (name, daemon, method) in [
            ("first", false, StartMethod::ForkServer),
            ("daemon", true, StartMethod::Spawn),
            ("last", false, StartMethod::Spawn),
        ] {
            let builder = builder(method).name(name).daemon(daemon);
            let process = within(builder.spawn(wait_at, gate.key())).await;
            pids.push(process.expect("it starts").pid()); // The handle is dropped.
        }
        let listed = active_children();
        let names: Vec<_> = listed.iter().map(|child| child.name()).collect();
        assert_eq!(names, ["first", "daemon", "last"]);
        assert!(
            listed
                .iter()
                .map(|child| child.pid())
                .eq(pids.iter().copied())
        );
        assert!(listed[1].is_daemon() && !listed[0].is_daemon());
        let mut guests = BTreeMap::new();
        for _ in 0..3 {
            let guest = gate.guest().await;
            guests.insert(guest.pid(), guest);
        }
        let all = join_all();
        tokio::pin!(all);
        let mut let_in = async |pid| guests.remove(&pid).expect("it is there").let_in().await;
        assert!(futures::poll!(all.as_mut()).is_pending());
        let_in(pids[2]).await;
        eventually(|| active_children().len() == 2).await;
        assert!(futures::poll!(all.as_mut()).is_pending());
        let_in(pids[0]).await;
        within(all).await;
        within(join_all()).await;
        within(tokio::task::spawn_blocking(blocking_join_all))
            .await
            .expect("no panic");
        let names = active_children();
        assert_eq!(
            names.iter().map(|child| child.name()).collect::<Vec<_>>(),
            ["daemon"]
        );
        let_in(pids[1]).await;
        eventually(|| active_children().is_empty()).await;
        // What a process finds in memory are no children of its own.
        let _process = within(Process::spawn(wait_at, gate.key()))
            .await
            .expect("it starts");
        let count = within(Process::spawn(|| active_children().len(), ())).await;
        assert_eq!(
            within(count.expect("it starts").join())
                .await
                .expect("it ran"),
            0
        );
    });
}

#[test]
fn what_a_fork_finds_listed_is_not_its_own() {
    by_fork(
        "mp_process::what_a_fork_finds_listed_is_not_its_own",
        async |method| {
            let gate = Gate::new();
            let first = within(builder(method).spawn(wait_at, gate.key())).await;
            let _guest = gate.guest().await;
            let count = within(builder(method).spawn(|| active_children().len(), ())).await;
            assert_eq!(
                within(count.expect("it starts").join())
                    .await
                    .expect("it ran"),
                0
            );
            assert_eq!(active_children().len(), 1);
            assert!(first.is_ok_and(|first| first.is_alive()));
        },
    );
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
