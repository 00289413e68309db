//! `init` is not called, or called too late. This file has no `init_before_main!`.

#![cfg(target_os = "linux")]

#[path = "common/again.rs"]
mod again;
#[path = "common/alone.rs"]
mod alone;
mod common;

use concurrent_futures::{ExecutorExt as _, ProcessPoolExecutor};

use self::alone::{alone, children, descriptors};
use self::common::{eventually, within};

fn double(x: u64) -> u64 {
    x * 2
}

#[tokio::test]
async fn a_pool_without_init_is_one_clear_error_and_no_process() {
    let error = ProcessPoolExecutor::new().expect_err("nobody has called init");
    assert!(error.is_not_initialized(), "{error}");
    assert!(error.to_string().contains("first line of main"), "{error}");
    let builder = ProcessPoolExecutor::builder().max_workers(1);
    let error = builder.build().expect_err("nobody has called init");
    assert!(error.is_not_initialized(), "{error}");
}

/// The harness of this test prints before it comes to `init`, so a worker's first words are no
/// hello.
#[test]
fn an_init_that_comes_after_output_is_an_error_that_quotes_it_and_no_storm() {
    let test = "an_init_that_comes_after_output_is_an_error_that_quotes_it_and_no_storm";
    alone(test, || async {
        concurrent_futures::init();
        let before = descriptors().len();
        let pool = ProcessPoolExecutor::with_workers(2).expect("init was called");
        let error = within(pool.submit(double, 1)).await.expect_err("no worker");
        assert!(error.is_init_failed() && !error.was_started(), "{error}");
        let text = error.to_string();
        assert!(
            text.contains("running 3 tests") && text.contains("init()"),
            "{text}"
        );
        let error = within(pool.submit(double, 1)).await.expect_err("no worker");
        assert!(error.to_string().contains("the pool is broken"), "{error}");
        within(pool.shutdown()).await;
        assert_eq!(children(), []);
        eventually(|| descriptors().len() <= before).await;
    });
}
