//! The examples, run as a user would run them. Cargo builds them with the tests.
#![cfg(all(feature = "multiprocessing", feature = "sync"))]
#![cfg(target_os = "linux")]

use std::env;
use std::path::PathBuf;
use std::process::{Command, Stdio};

#[test]
fn primes_come_in_the_order_of_the_numbers() {
    let lines = run_with("primes", &["--fast"]);
    assert_eq!(
        lines[..6],
        [
            "112272535095293 is prime: true",
            "112582705942171 is prime: true",
            "102272535065492 is prime: false",
            "115280095190773 is prime: true",
            "115797848077099 is prime: true",
            "1099726899285419 is prime: false",
        ]
    );
    assert!(lines[7].starts_with("one after the other: "), "{lines:#?}");
    assert!(lines[8].ends_with(" times as fast"), "{lines:#?}");
}

#[test]
fn a_result_of_five_hundred_digits_is_exact() {
    let lines = run("calc_and_sleep");
    let [digits, finished] = lines.as_slice() else {
        panic!("{lines:#?}");
    };
    assert_eq!(*digits, decimal_digits_of_a_power_of_two(7 * 256));
    let seconds = finished.strip_prefix("Finished in ");
    let seconds = seconds.and_then(|line| line.strip_suffix(" seconds"));
    let seconds = seconds.unwrap_or_else(|| panic!("{lines:#?}"));
    assert!(seconds.parse::<f64>().expect("a number") >= 1.0);
    let decimals = seconds.split_once('.').map(|(_, decimals)| decimals.len());
    assert_eq!(decimals, Some(2), "{seconds}");
}

#[test]
fn a_bar_follows_a_map_to_its_end() {
    let lines = run("progress_bar");
    assert_eq!(
        lines,
        ["the longest way below 1000000 is that of 837799: 524 steps"]
    );
}

#[test]
fn a_pool_of_three_maps_numbers_to_their_absolute_values() {
    assert_eq!(run("pool_map_abs"), ["[2, 8, 3, 0]"]);
}

#[test]
fn the_first_error_of_a_group_cancels_a_task_that_never_ends() {
    let lines = run("task_group");
    let [about, index, archive, news] = lines.as_slice() else {
        panic!("{lines:#?}");
    };
    for (line, name) in [(about, "about: "), (index, "index: ")] {
        let sum = line.strip_prefix(name).unwrap_or_else(|| panic!("{line}"));
        assert!(u64::from_str_radix(sum, 16).is_ok(), "{line}");
    }
    assert_eq!([archive, news], ["archive: cancelled", "news: failed"]);
}

#[test]
fn a_list_comes_through_a_queue() {
    assert_eq!(run("queue"), ["[6, 9]"]);
}

#[test]
fn numbers_come_back_doubled_through_a_pipe() {
    assert_eq!(run("pipe"), ["6", "8", "10"]);
}

#[test]
fn five_processes_print_a_whole_line_each() {
    let mut lines = run_with("lock_print", &["--fast"]);
    lines.sort_unstable();
    let expected: Vec<_> = (1..=5)
        .map(|number| format!("Process # {number}"))
        .collect();
    assert_eq!(lines, expected);
}

#[test]
fn the_worst_delay_is_reported_for_each_place() {
    let lines = run("responsive");
    let places = [
        "inline, on the runtime",
        "on ThreadPoolExecutor",
        "on ProcessPoolExecutor",
    ];
    for (place, line) in places.into_iter().zip(&lines[3..]) {
        let delay = line
            .strip_prefix(place)
            .and_then(|line| line.strip_suffix("ms"));
        let delay = delay.unwrap_or_else(|| panic!("{lines:#?}"));
        delay.trim().parse::<f64>().expect("a delay is a number");
    }
    assert_eq!(lines.len(), 3 + places.len());
}

#[test]
fn a_pool_goes_on_after_every_crash() {
    let output = run("crash").join("\n");
    let mut crashes = output.split("and on it goes: 2 * 21 = 42");
    for told in [
        ["Abort: ", "signal 6"],
        ["Segfault: ", "signal 11"],
        ["StackOverflow: ", "has overflowed its stack"],
        ["Exit: ", "exited with code 0"],
        ["Kill: ", "signal 9"],
    ] {
        let crash = crashes.next().unwrap_or_default();
        for words in told {
            assert!(crash.contains(words), "{words:?} is missing from:\n{crash}");
        }
    }
    let stats = crashes.next().unwrap_or_default();
    for count in ["failed: 5", "crashed: 5"] {
        assert!(stats.contains(count), "{count:?} is missing from:\n{stats}");
    }
}

#[test]
fn a_lock_that_is_taken_again_is_reported_with_both_places() {
    let lines = run_with("deadlock", &["--fast"]);
    let [first, told, inner, outer] = lines.as_slice() else {
        panic!("{lines:#?}");
    };
    assert_eq!(first, "f() acquired lock, and calls g()");
    assert!(told.starts_with("deadlock: task "), "{told}");
    assert_eq!(told.matches("examples/deadlock.rs:").count(), 2, "{told}");
    assert_eq!([inner, outer], ["g() acquired lock", "f() acquired lock"]);
}

#[test]
fn opposite_orders_are_reported_and_one_order_works() {
    let lines = run_with("lock_order", &["--fast"]);
    let mended = lines.iter().position(|line| line == "In one order:");
    let (opposite, mended) = lines.split_at(mended.unwrap_or_else(|| panic!("{lines:#?}")));
    let told: Vec<&str> = opposite.iter().map(String::as_str).collect();
    for beginning in [
        "possible deadlock: locks are taken in opposite orders",
        "deadlock: 2 tasks wait for each other",
    ] {
        let at = told.iter().position(|line| *line == beginning);
        let places = &told[at.unwrap_or_else(|| panic!("{told:#?}"))..][1..3];
        for line in places {
            assert_eq!(
                line.matches("examples/lock_order.rs:").count(),
                2,
                "{told:#?}"
            );
        }
    }
    let both = told
        .iter()
        .filter(|line| line.ends_with("acquired 2 locks!"));
    assert_eq!(both.count(), 1, "the other was ended: {told:#?}");
    assert_eq!(
        mended[1..],
        [
            "Thread 1 acquiring lock 1...",
            "Thread 1 acquiring lock 2...",
            "Thread 1 acquired 2 locks!",
            "Thread 2 acquiring lock 1...",
            "Thread 2 acquiring lock 2...",
            "Thread 2 acquired 2 locks!",
        ]
    );
}

#[test]
fn an_update_is_lost_without_a_lock_and_none_with_one() {
    let lines = run_with("race", &["--fast"]);
    let lost = lines.iter().find(|line| line.starts_with("at the end"));
    let lost = lost.unwrap_or_else(|| panic!("{lines:#?}"));
    assert!(!lost.contains("counter=3"), "{lost}");
    assert_eq!(lines.last().map(String::as_str), Some("counter=3"));
}

#[test]
fn a_process_prints_to_the_stdout_of_its_parent() {
    assert_eq!(run("process"), ["text"]);
}

#[test]
fn a_process_left_running_would_be_seen() {
    let mark = format!("EXAMPLE_UNDER_TEST=none.{}", std::process::id());
    let (name, value) = mark.split_once('=').expect("it was just made");
    let mut process = Command::new("cat")
        .env(name, value)
        .stdin(Stdio::piped())
        .spawn()
        .expect("there is a `cat`");
    // The system shows a new process before it shows its environment.
    while processes_marked(&mark).is_empty() {
        let ended = process.try_wait().expect("it can be asked");
        assert_eq!(ended, None, "it reads until its input ends");
    }
    drop(process.stdin.take());
    process.wait().expect("it ends with its input");
    assert_eq!(processes_marked(&mark), Vec::<String>::new());
}

#[test]
fn workers_that_are_forked_share_what_was_preloaded() {
    const TABLE: u64 = 16 * 1024;
    let lines = run_with("preload", &["--mib", "16"]);
    let private = |lines: &[String]| -> Vec<u64> {
        let sizes = lines.iter().map(|line| line.split_whitespace().nth(1));
        sizes
            .map(|size| size.and_then(|size| size.parse().ok()))
            .map(|size| size.unwrap_or_else(|| panic!("{lines:#?}")))
            .collect()
    };
    assert!(lines[0].starts_with("ForkServer: 8 workers"), "{lines:#?}");
    assert!(private(&lines[2..10]).iter().all(|size| *size < TABLE / 2));
    assert!(lines[12].starts_with("Spawn: 8 workers"), "{lines:#?}");
    assert!(private(&lines[14..22]).iter().all(|size| *size > TABLE));
}

/// Runs an example to its end, and checks that it leaves nothing running. Returns the lines it
/// printed.
fn run(example: &str) -> Vec<String> {
    run_with(example, &[])
}

fn run_with(example: &str, arguments: &[&str]) -> Vec<String> {
    // Workers inherit the environment, so this finds them.
    let mark = format!("EXAMPLE_UNDER_TEST={example}.{}", std::process::id());
    let (name, value) = mark.split_once('=').expect("it was just made");
    let path = path_of(example);
    let output = Command::new(&path)
        .args(arguments)
        .env(name, value)
        .output()
        .unwrap_or_else(|error| {
            panic!(
                "{}: {error}; `cargo build --examples` builds it",
                path.display()
            )
        });
    let stdout = String::from_utf8(output.stdout).expect("an example prints text");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "{}\n{stdout}\n{stderr}",
        output.status
    );
    assert_eq!(
        processes_marked(&mark),
        Vec::<String>::new(),
        "left running"
    );
    stdout.lines().map(str::to_owned).collect()
}

/// Cargo puts tests into `deps`, and examples into a folder beside it.
fn path_of(example: &str) -> PathBuf {
    let test = env::current_exe().expect("a test knows where it lies");
    let profile = test.ancestors().nth(2).expect("it lies in `deps`");
    profile
        .join("examples")
        .join(example)
        .with_extension(env::consts::EXE_EXTENSION)
}

/// The processes that have `mark` in their environment.
fn processes_marked(mark: &str) -> Vec<String> {
    std::fs::read_dir("/proc")
        .expect("Linux lets us look")
        .flatten()
        .filter(|process| {
            let environment = std::fs::read(process.path().join("environ")).unwrap_or_default();
            environment
                .split(|byte| *byte == 0)
                .any(|entry| entry == mark.as_bytes())
        })
        .map(|process| process.file_name().to_string_lossy().into_owned())
        .collect()
}

/// Computed by doubling, digit for digit.
fn decimal_digits_of_a_power_of_two(exponent: u32) -> String {
    let mut digits = vec![1_u8]; // The last digit first.
    for _ in 0..exponent {
        let mut carry = 0;
        for digit in &mut digits {
            let doubled = 2 * *digit + carry;
            (*digit, carry) = (doubled % 10, doubled / 10);
        }
        if carry > 0 {
            digits.push(carry);
        }
    }
    digits
        .iter()
        .rev()
        .map(|digit| char::from(b'0' + digit))
        .collect()
}
