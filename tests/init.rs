//! `init` is not called, or called too late. This file has no `init_before_main!`.

#![cfg(feature = "multiprocessing")]
#![cfg(target_os = "linux")]

#[path = "common/again.rs"]
mod again;
#[path = "common/alone.rs"]
mod alone;
mod common;

use concurrent_futures::multiprocessing::Process;
use concurrent_futures::{Executor as _, ExecutorExt as _, ProcessPoolExecutor, StartMethod};

use self::alone::{alone, children, descriptors};
use self::common::folder::Folder;
use self::common::{eventually, within};

fn double(x: u64) -> u64 {
    x * 2
}

#[tokio::test]
async fn a_pool_without_init_is_one_clear_error_and_no_process() {
    let error = ProcessPoolExecutor::new().expect_err("init was not called");
    assert!(error.is_not_initialized(), "{error}");
    assert!(error.to_string().contains("first line of main"), "{error}");
    // What `main` prints if it returns the error.
    assert!(
        format!("{error:?}").contains("first line of main"),
        "{error:?}"
    );
    let builder = ProcessPoolExecutor::builder().max_workers(1);
    let error = builder.build().expect_err("init was not called");
    assert!(error.is_not_initialized(), "{error}");
}

#[tokio::test]
async fn a_process_without_init_is_one_clear_error_and_no_process() {
    let error = Process::spawn(double, 1).await;
    let error = error.expect_err("init was not called");
    assert!(error.is_not_initialized(), "{error}");
    assert!(error.to_string().contains("first line of main"), "{error}");
    assert!(
        format!("{error:?}").contains("first line of main"),
        "{error:?}"
    );
}

/// The harness of this test has other threads when it comes to `init`.
#[test]
fn an_init_that_comes_too_late_is_an_error_that_says_so_and_no_storm() {
    let test = "an_init_that_comes_too_late_is_an_error_that_says_so_and_no_storm";
    alone(test, || async {
        concurrent_futures::init();
        // What is executed is this harness, which begins other tests before it ends at `init`, and
        // leaves the files that these have made.
        let directory = Folder::new();
        let before = descriptors().len();
        for method in [StartMethod::Spawn, StartMethod::ForkServer] {
            let builder = ProcessPoolExecutor::builder().start_method(method);
            let builder = builder.env("TMPDIR", directory.path());
            let pool = builder.max_workers(2).build().expect("init was called");
            let error = within(pool.submit(double, 1)).await.expect_err("no worker");
            assert!(error.is_init_failed() && !error.was_started(), "{error}");
            let text = error.to_string();
            assert!(text.contains("init() first in main"), "{text}");
            assert!(pool.stats().restarts.failed_to_start <= 6, "{method:?}");
            within(pool.shutdown()).await;
            assert_eq!(children(), []);
        }
        eventually(|| descriptors().len() <= before).await;
    });
}
