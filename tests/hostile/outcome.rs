//! A process that runs one function, and forges its outcome.

use std::fs::File;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use concurrent_futures::StartMethod;
use concurrent_futures::multiprocessing::{Process, ProcessBuilder};

use super::common::folder::Folder;
use super::common::{eventually, within};
use super::inside::last_descriptor;
use super::methods::held_by_every_start_method;

held_by_every_start_method! { 1;
    an_outcome_without_memory_behind_it_costs_its_reader_none,
    an_outcome_that_changes_after_a_join_is_the_same_for_the_next,
    a_result_over_its_limit_is_an_error_that_names_the_limit,
}

fn builder(method: StartMethod) -> ProcessBuilder {
    Process::builder().start_method(method)
}

/// Called by the function: where its process leaves the outcome.
fn outcome_file() -> File {
    let file: OwnedFd = last_descriptor("/memfd:concurrent-futures", |_| true);
    file.into()
}

/// Claims an outcome of `len` bytes without writing any, and exits.
fn claim(len: u64) -> u64 {
    let file = outcome_file();
    file.set_len(8 + len).expect("it grows");
    file.write_all_at(&len.to_le_bytes(), 0).expect("a page");
    std::process::exit(0);
}

/// The highest memory use of this process so far, in KiB.
fn peak() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("/proc");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let number = line.and_then(|line| line.trim().strip_suffix(" kB"));
    number.expect("a number").parse().expect("a number")
}

async fn an_outcome_without_memory_behind_it_costs_its_reader_none(method: StartMethod) {
    let before = peak();
    for len in [500 << 20, 2 << 30, u64::MAX >> 2] {
        let process = within(builder(method).spawn(claim, len)).await;
        let process = process.expect("it starts");
        for _ in 0..2 {
            match within(process.join()).await {
                Err(error) if len < 1 << 40 => assert!(error.is_codec(), "{error}"),
                Err(_) => {} // No file can be that long.
                Ok(number) => panic!("{number} is in the file"),
            }
        }
    }
    let grown = peak() - before;
    assert!(grown < 200 << 10, "{grown} KiB");
}

/// Leaves a shell that has the outcome file open, and that replaces the outcome by 2 once it can read a line from
/// `gate`.
#[expect(clippy::zombie_processes, reason = "it outlives this process")]
fn leave_a_writer(folder: PathBuf) -> u64 {
    let file = outcome_file();
    let flags = rustix::io::fcntl_getfd(&file).expect("a descriptor");
    let kept = flags - rustix::io::FdFlags::CLOEXEC;
    rustix::io::fcntl_setfd(&file, kept).expect("a descriptor");
    let number = std::os::fd::AsRawFd::as_raw_fd(&file);
    // The length of the outcome, its kind, the length of the value and that it is a number, and the number.
    let outcome = r"\012\0\0\0\0\0\0\0\0\021\002\0\0\0\0\0\0\0";
    let script = format!(
        "read line < gate; printf '{outcome}' 1<> /proc/self/fd/{number}; echo > done; exec sleep 1"
    );
    let mut shell = Command::new("sh");
    shell.arg("-c").arg(script).current_dir(&folder);
    shell
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    shell.spawn().expect("a shell");
    1
}

async fn an_outcome_that_changes_after_a_join_is_the_same_for_the_next(method: StartMethod) {
    let folder = Folder::new();
    let gate = folder.path().join("gate");
    let made = Command::new("mkfifo").arg(&gate).status();
    assert!(made.expect("mkfifo").success());
    let process = builder(method).spawn(leave_a_writer, folder.path().to_owned());
    let process = within(process).await.expect("it starts");
    assert_eq!(within(process.join()).await.expect("a number"), 1);
    std::fs::write(&gate, "go\n").expect("the shell reads");
    eventually(|| folder.path().join("done").exists()).await;
    assert_eq!(within(process.join()).await.expect("a number"), 1);
    process.kill(); // Its process group: the shell.
}

async fn a_result_over_its_limit_is_an_error_that_names_the_limit(method: StartMethod) {
    let start = |len: usize| {
        let builder = builder(method).max_result_length(1000);
        builder.spawn(|len| vec![7_u8; len], len)
    };
    let process = within(start(900)).await.expect("it starts");
    assert_eq!(within(process.join()).await.expect("it is short"), [7; 900]);
    let process = within(start(1100)).await.expect("it starts");
    let error = within(process.join()).await.expect_err("it is long");
    assert!(error.is_codec(), "{error}");
    assert!(error.to_string().contains("max_result_length"), "{error}");
    assert_eq!(process.exit_code(), Some(1));
    let refused = within(builder(method).max_result_length(0).spawn(|| (), ())).await;
    let refused = refused.expect_err("no result is that short");
    assert!(refused.is_invalid_setting(), "{refused}");
}
