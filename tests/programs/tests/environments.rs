//! A program in surroundings that lack something: it works, or an error names what is missing and what to do. Nothing
//! hangs, and nothing kills the program.

#![cfg(target_os = "linux")]

use std::process::{Command, Output};

const ENVIRONMENT: &str = env!("CARGO_BIN_EXE_environment");

/// The expected results of the program's attempts.
#[derive(Clone, Copy)]
enum Expected {
    /// Each attempt succeeds.
    Works,
    /// Each attempt succeeds, or its error has one of these texts.
    MaySay(&'static [&'static str]),
    /// The attempts whose names begin with these fail, with an error that contains all of these texts. The others
    /// succeed.
    Says(&'static [&'static str], &'static [&'static str]),
}

use Expected::{MaySay, Says, Works};

/// Attempts that need a process.
const PROCESSES: &[&str] = &[
    "Fork ",
    "Spawn ",
    "ForkServer ",
    "dead holder",
    "without a runtime",
    "standard streams",
];

/// As `PROCESSES`, and attempts that need shared memory.
const PROCESSES_AND_MEMORY: &[&str] = &[
    "Fork ",
    "Spawn ",
    "ForkServer ",
    "dead holder",
    "without a runtime",
    "standard streams",
    "Lock",
    "RLock",
    "RwLock",
    "Semaphore",
    "Condition",
    "Barrier",
    "Value",
    "Array",
    "SharedMemory",
    "Queue",
    "JoinableQueue",
];

/// As `PROCESSES`, and attempts that use the number of a descriptor as a path.
const PROCESSES_AND_NAMES: &[&str] = &[
    "Fork ",
    "Spawn ",
    "ForkServer ",
    "dead holder",
    "without a runtime",
    "standard streams",
    "named SharedMemory",
];

/// Runs the program with these changes of its surroundings.
fn check(changes: &[&str], expected: Expected) {
    check_program(ENVIRONMENT, changes, expected);
}

fn check_program(program: &str, changes: &[&str], expected: Expected) {
    let output = Command::new(program).args(changes).output();
    let Output {
        status,
        stdout,
        stderr,
    } = output.expect("it starts");
    let stdout = String::from_utf8_lossy(&stdout);
    if let Some(reason) = stdout.strip_prefix("skipped: ") {
        eprintln!("{changes:?} is not possible here: {reason}");
        return;
    }
    let all = format!(
        "{changes:?}: {status}\n{stdout}{}",
        String::from_utf8_lossy(&stderr)
    );
    assert!(status.success(), "{all}");
    assert!(stdout.lines().count() > 20, "{all}");
    for line in stdout.lines() {
        let (attempt, outcome) = line.split_once(": ").unwrap_or_else(|| panic!("{all}"));
        let is_error = outcome.starts_with("error: ") && !outcome.contains("WRONG");
        let is_right = match expected {
            Says(attempts, texts) if attempts.iter().any(|start| attempt.starts_with(start)) => {
                is_error && texts.iter().all(|text| outcome.contains(text))
            }
            MaySay(texts) if outcome != "ok" => {
                is_error && texts.iter().any(|text| outcome.contains(text))
            }
            _ => outcome == "ok",
        };
        assert!(is_right, "{line}\n{all}");
    }
}

#[test]
fn a_denied_system_call_has_a_fallback_where_there_is_one() {
    for changes in [
        ["as-it-is"],
        ["linux=5.4"],
        ["no-executable-memory"],
        ["deny=clone3:ENOSYS"],
        ["deny=close_range:EPERM"],
        ["deny=madvise:EPERM"],
        ["deny=pidfd_send_signal:ENOSYS"],
        ["deny=pidfd_send_signal:EPERM"],
        ["deny=prlimit64:ENOSYS"],
        ["deny=prlimit64:EPERM"],
        ["deny=pwritev2:EPERM"],
        ["deny=statx:EPERM"],
        ["deny=waitid:ENOSYS"],
        ["deny=waitid:EPERM"],
        ["read-only=/tmp"],
        ["removed-directory"],
        ["limit=STACK:unlimited"],
        ["limit=AS:300000000"],
    ] {
        check(&changes, Works);
    }
}

/// Linux keeps the exit status of a process with its pidfd from 6.15 on.
#[test]
fn a_program_that_ignores_sigchld_works_and_an_unknown_exit_status_says_so() {
    check(&["ignore=CHLD"], MaySay(&["this program ignores SIGCHLD"]));
    check(
        &["linux=5.4", "ignore=CHLD"],
        Says(
            &["Spawn filter in a task"],
            &["this program ignores SIGCHLD"],
        ),
    );
}

#[test]
fn an_old_kernel_with_a_strict_filter_is_enough() {
    check(
        &[
            "linux=5.4",
            "deny=clone3:ENOSYS",
            "deny=pidfd_send_signal:EPERM",
            "deny=prlimit64:EPERM",
            "deny=statx:EPERM",
            "deny=waitid:EPERM",
        ],
        Works,
    );
}

#[test]
fn a_call_that_is_needed_and_denied_is_named_with_what_to_do() {
    for error in ["EPERM", "ENOSYS"] {
        let what = &["pidfd_open", "seccomp", "permit it", "ThreadPoolExecutor"];
        check(
            &[&format!("deny=pidfd_open:{error}")],
            Says(PROCESSES, what),
        );
        let change = format!("deny=memfd_create:{error}");
        check(
            &[&change],
            Says(
                PROCESSES_AND_MEMORY,
                &["memfd_create", "seccomp", "permit it"],
            ),
        );
    }
    // Without `socketpair`, tokio itself panics if any crate asks for its signals.
    check(&["deny=fallocate:EPERM"], MaySay(&["fallocate"]));
    // Tokio's runtime also needs one.
    check(
        &["deny=eventfd2:EPERM"],
        MaySay(&["eventfd2", "a runtime", "no thread or descriptor"]),
    );
    // In this form it is also denied to glibc, for each thread of the program.
    check(
        &["deny=clone3:EPERM"],
        MaySay(&["clone3", "a thread", "no thread or descriptor"]),
    );
}

#[test]
fn a_file_system_that_is_missing_is_named_with_what_to_do() {
    check(
        &["without=/proc"],
        Says(PROCESSES_AND_NAMES, &["/proc", "mount -t proc"]),
    );
    // Only a program that has closed its standard streams needs `/dev/null`.
    let attempts = &["named SharedMemory", "standard streams"];
    check(&["without=/dev"], Says(attempts, &["/dev/", "mount"]));
    let what = &["/dev/shm", "Read-only file system", "mount -t tmpfs"];
    check(&["read-only=/dev/shm"], Says(&["named SharedMemory"], what));
}

#[test]
fn a_limit_of_open_files_or_processes_is_named_with_what_to_do() {
    for limit in [3, 4, 5, 6, 8, 10, 12, 16, 20, 24, 28] {
        let what = &[
            "Too many open files (os error 24); close files, or raise",
            "a runtime",
            "no thread or descriptor",
        ];
        check(&[&format!("limit=NOFILE:{limit}")], MaySay(what));
    }
    check(&["limit=NOFILE:64"], Works);
    for limit in 1..8 {
        let what = &[
            "(os error 11); end processes, or raise",
            "a thread",
            "no thread or descriptor",
        ];
        check(&["not-root", &format!("limit=NPROC:{limit}")], MaySay(what));
    }
}

#[test]
fn whatever_the_limit_of_file_sizes_it_is_named_and_sends_no_signal() {
    for limit in [
        0, 1, 8, 4095, 4096, 65_535, 65_536, 524_352, 1_000_000, 1_048_624, 2_200_000, 4_194_304,
    ] {
        check(
            &[&format!("limit=FSIZE:{limit}")],
            MaySay(&["RLIMIT_FSIZE"]),
        );
    }
}

#[test]
fn a_deleted_executable_is_enough() {
    let copy = std::env::temp_dir().join(format!("environment-{}", std::process::id()));
    std::fs::copy(ENVIRONMENT, &copy).expect("a copy");
    check_program(copy.to_str().expect("text"), &["deleted-executable"], Works);
}
