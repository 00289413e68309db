//! The surroundings of a process: its streams, environment, folder, limits and descriptors.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;
use std::process::Command;

use concurrent_futures::multiprocessing::{ProcessBuilder, Stdio, active_children};
use concurrent_futures::{Limits, StartMethod};
use futures::FutureExt as _;
use tokio::io::AsyncReadExt as _;
use tokio::net::unix::pipe;

use super::again::{self, is_alone};
use super::alone::descriptors;
use super::common::folder::Folder;
use super::common::within;
use super::methods::held_by_every_start_method;
use super::{builder, test_in};

held_by_every_start_method! { 1;
    output_of_a_process_goes_to_the_stdout_of_its_parent,
    the_ends_of_pipes_can_be_taken,
    a_stream_may_be_any_descriptor,
    environment_and_folder_are_the_parents_own_unless_configured,
    a_folder_that_is_not_there_is_a_typed_error_that_names_it,
    surroundings_of_a_process_with_a_zero_byte_are_refused_before_it_starts,
    a_process_holds_only_the_descriptors_meant_for_it,
    a_process_keeps_its_limits_and_a_refused_limit_is_an_error,
    a_process_starts_though_its_parent_has_closed_its_streams,
}

async fn output_of_a_process_goes_to_the_stdout_of_its_parent(method: StartMethod) {
    const PART: &str = "CONCURRENT_FUTURES_TEST_PART";
    if std::env::var_os(PART).is_some() {
        let print = || {
            // The harness captures the output of `println!` in a test, but only on the test's thread.
            println!("for stdout");
            eprintln!("for stderr");
            print!("half a line");
        };
        let process = within(builder(method).spawn(print, ())).await;
        return within(process.expect("it starts").join())
            .await
            .expect("it ran");
    }
    let test = test_in(
        "around",
        method,
        "output_of_a_process_goes_to_the_stdout_of_its_parent",
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
    let folder = Folder::new();
    let file = |name| {
        let mut options = fs::OpenOptions::new();
        let options = options.read(true).write(true).create_new(true);
        options.open(folder.path().join(name)).expect("a file")
    };
    let mut input = file("input");
    input.write_all(b"from a file").expect("it has room");
    std::io::Seek::rewind(&mut input).expect("a file");
    let output = file("output");
    let copy = || {
        let copied = std::io::copy(&mut std::io::stdin(), &mut std::io::stdout());
        copied.expect("two files")
    };
    let builder = builder(method).stdin(input).stderr(Stdio::null());
    let builder = builder.stdout(output.try_clone().expect("a file"));
    let process = within(builder.spawn(copy, ())).await.expect("it starts");
    assert_eq!(within(process.join()).await.expect("it ran"), 11);
    assert_eq!(output.metadata().expect("a file").len(), 11);
    // The default: there is nothing to read.
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

async fn environment_and_folder_are_the_parents_own_unless_configured(method: StartMethod) {
    // Both belong to the whole process, so the rest runs in a process of its own.
    let test = "environment_and_folder_are_the_parents_own_unless_configured";
    if method != StartMethod::Fork && !is_alone(&test_in("around", method, test)) {
        return again::start(
            &std::env::current_exe().expect("it is there"),
            &test_in("around", method, test),
        );
    }
    let look = async |builder: ProcessBuilder| -> Around {
        let process = within(builder.spawn(around, ())).await.expect("it starts");
        within(process.join()).await.expect("it ran")
    };
    assert_eq!(look(builder(method)).await, around());
    // Includes changes since the fork server was started.
    let folder = Folder::new();
    std::env::set_current_dir(folder.path()).expect("it is there");
    fs::create_dir("inner").expect("it is ours");
    #[expect(unsafe_code, reason = "it changes the environment")]
    // SAFETY: no other thread of this process uses its environment meanwhile.
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
    // A folder that was removed has no name.
    fs::create_dir("gone").expect("it is ours");
    std::env::set_current_dir("gone").expect("it is there");
    fs::remove_dir(folder.path().join("gone")).expect("it is empty");
    let process = within(builder(method).spawn(number_of_folder, ())).await;
    let found = within(process.expect("it starts").join()).await;
    assert_eq!(found.expect("it ran"), number_of_folder());
    std::env::set_current_dir("/").expect("it is there");
}

fn number_of_folder() -> u64 {
    fs::metadata(".").expect("a folder").ino()
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

async fn surroundings_of_a_process_with_a_zero_byte_are_refused_before_it_starts(
    method: StartMethod,
) {
    let processes = [
        builder(method).env("ZERO\0NAME", "value"),
        builder(method).env("ZERO_VALUE", "secret\0value"),
        builder(method).current_dir("/zero\0folder"),
    ];
    for (process, name) in processes.into_iter().zip(["ZERO", "ZERO_VALUE", "folder"]) {
        let error = within(process.spawn(|| (), ())).await;
        let error = error.expect_err("it has a zero byte");
        assert!(error.is_invalid_setting(), "{error}");
        let text = error.to_string();
        assert!(text.contains(name) && text.contains("NUL"), "{text}");
        assert!(!text.contains("secret"), "{text}");
    }
}

/// How many processes have that name and are running. (Other tests use other names.)
fn active() -> usize {
    let lost = active_children();
    lost.iter().filter(|child| child.name() == "lost").count()
}

async fn a_process_holds_only_the_descriptors_meant_for_it(method: StartMethod) {
    let _other = within(builder(method).spawn(|| (), ())).await;
    // Descriptors that are open in the process that forks are open in its fork. (Those of other tests come and go.)
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

async fn a_process_keeps_its_limits_and_a_refused_limit_is_an_error(method: StartMethod) {
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
    let error = error.expect_err("the system has fewer");
    assert!(error.to_string().contains("open_files"), "{error}");
}

async fn a_process_starts_though_its_parent_has_closed_its_streams(method: StartMethod) {
    let test = test_in(
        "around",
        method,
        "a_process_starts_though_its_parent_has_closed_its_streams",
    );
    if method != StartMethod::Fork && !is_alone(&test) {
        return again::start(&std::env::current_exe().expect("it is there"), &test);
    }
    // The test harness must still be able to print.
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
        // The output of the panic was discarded, so print it here.
        panic!("{:?}", panic.downcast_ref::<String>());
    }
}

#[expect(unsafe_code, reason = "a standard stream")]
fn borrow<'a>(fd: i32) -> std::os::fd::BorrowedFd<'a> {
    // SAFETY: the descriptor is open.
    unsafe { std::os::fd::BorrowedFd::borrow_raw(fd) }
}

#[expect(unsafe_code, reason = "closes a standard stream")]
fn close(fd: i32) {
    // SAFETY: no code owns it.
    unsafe { libc::close(fd) };
}

/// A program may be started with any variables.
#[test]
fn an_impossible_variable_fails_no_start() {
    let test = "around::an_impossible_variable_fails_no_start";
    if !is_alone(test) {
        let mut command = Command::new(std::env::current_exe().expect("it is there"));
        return again::run(command.env("=odd", "1"), test);
    }
    assert!(std::env::vars_os().any(|(name, _)| name == "=odd"));
    for method in [StartMethod::Spawn, StartMethod::ForkServer] {
        let process = builder(method).env("a", "b").blocking_spawn(around, ());
        let (variables, _) = process.expect("it starts").blocking_join().expect("it ran");
        assert_eq!(variables["a"], "b");
    }
}
