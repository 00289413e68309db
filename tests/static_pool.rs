//! A pool in a static serves all tests of a file. Each test has a runtime of its own, and the test runner may run them
//! side by side, or each in a process of its own.

#![cfg(feature = "process")]
#![cfg(target_os = "linux")]

mod common;

use std::process::Command;
use std::sync::LazyLock;

use concurrent_futures::{ExecutorExt as _, ProcessPoolExecutor, ThreadPoolExecutor};

use self::common::within;

concurrent_futures::init_before_main!();

static PROCESSES: LazyLock<ProcessPoolExecutor> =
    LazyLock::new(|| ProcessPoolExecutor::with_workers(2).expect("a pool"));
static THREADS: LazyLock<ThreadPoolExecutor> =
    LazyLock::new(|| ThreadPoolExecutor::with_workers(2).expect("a pool"));

fn double(number: u64) -> u64 {
    number * 2
}

async fn both_double(numbers: std::ops::Range<u64>) {
    for number in numbers {
        let outcome = within(PROCESSES.submit(double, number)).await;
        assert_eq!(outcome.expect("it ran"), 2 * number);
        let outcome = within(THREADS.submit(move || 2 * number, ())).await;
        assert_eq!(outcome.expect("it ran"), 2 * number);
    }
}

macro_rules! tests_with_runtimes_of_their_own {
    ($($test:ident = $numbers:expr,)*) => {
        $(
            #[tokio::test]
            async fn $test() {
                both_double($numbers).await;
            }
        )*
    };
}

tests_with_runtimes_of_their_own! {
    a_first_test_uses_the_pools = 0..10,
    a_second_test_uses_the_pools = 10..20,
    a_third_test_uses_the_pools = 20..30,
    a_fourth_test_uses_the_pools = 30..40,
    a_fifth_test_uses_the_pools = 40..50,
    a_sixth_test_uses_the_pools = 50..60,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_test_of_two_threads_uses_the_pools() {
    both_double(60..70).await;
}

/// Some test runners start each test in a process of its own.
#[test]
fn a_test_in_a_process_of_its_own_uses_the_pools() {
    let own = std::env::current_exe().expect("it is there");
    for test in [
        "a_first_test_uses_the_pools",
        "a_test_of_two_threads_uses_the_pools",
    ] {
        let output = Command::new(&own)
            .args(["--exact", test])
            .output()
            .expect("it starts");
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(
            output.status.success() && text.contains("1 passed"),
            "{text}"
        );
    }
}
