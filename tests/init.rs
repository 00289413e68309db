//! `init` is not called, or called too late. This file has no `init_before_main!`.

#![cfg(feature = "multiprocessing")]
#![cfg(target_os = "linux")]

#[path = "common/again.rs"]
mod again;
#[path = "common/alone.rs"]
mod alone;
mod common;

use concurrent_futures::multiprocessing::Process;
use concurrent_futures::{ProcessPoolExecutor, StartMethod};

use self::alone::{alone, children, descriptors};

fn double(x: u64) -> u64 {
    x * 2
}

#[tokio::test]
async fn a_pool_without_init_is_one_clear_error_and_no_process() {
    let error = ProcessPoolExecutor::new().expect_err("init was not called");
    assert!(error.is_not_initialized(), "{error}");
    assert!(error.to_string().contains("first line of main"), "{error}");
    // The text that `main` prints if it returns the error.
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

/// The harness of this test has other threads when it calls `init`.
#[test]
fn an_init_that_comes_too_late_is_refused_at_once_and_no_process_starts() {
    let test = "an_init_that_comes_too_late_is_refused_at_once_and_no_process_starts";
    alone(test, || async {
        concurrent_futures::init();
        let before = descriptors().len();
        for method in [StartMethod::Spawn, StartMethod::ForkServer] {
            let builder = ProcessPoolExecutor::builder().start_method(method);
            let error = builder.build().expect_err("it was late");
            assert!(error.is_not_initialized(), "{error}");
            let text = error.to_string();
            assert!(
                text.contains("first line of a main without that attribute"),
                "{text}"
            );
        }
        let error = Process::spawn(double, 1).await.expect_err("it was late");
        assert!(error.is_not_initialized(), "{error}");
        assert_eq!(children(), [0_u32; 0]);
        assert_eq!(descriptors().len(), before);
    });
}
