//! Invalid input fails with a clear, typed error, and nothing hangs.

#![cfg(feature = "process")]
#![cfg(target_os = "linux")]

mod common;

use std::time::Duration;

use concurrent_futures::{BuildError, ExecutorExt as _, ProcessPoolExecutor, ThreadPoolExecutor};

use self::common::within;

concurrent_futures::init_before_main!();

fn double(x: u64) -> u64 {
    x * 2
}

/// The error names what is wrong.
fn is_refused<T: std::fmt::Debug>(outcome: Result<T, BuildError>, words: &[&str]) {
    let error = outcome.expect_err("it is refused");
    assert!(error.is_invalid_setting(), "{error}");
    let text = error.to_string();
    for word in words {
        assert!(text.contains(word), "no {word} in: {text}");
    }
}

#[tokio::test]
async fn a_pool_without_workers_is_refused() {
    is_refused(ThreadPoolExecutor::with_workers(0), &["max_workers", "0"]);
    is_refused(ProcessPoolExecutor::with_workers(0), &["max_workers", "0"]);
}

#[tokio::test]
async fn a_queue_without_places_is_refused() {
    let threads = ThreadPoolExecutor::builder().queue_capacity(0);
    is_refused(threads.build(), &["queue_capacity", "0"]);
    let processes = ProcessPoolExecutor::builder().queue_capacity(0);
    is_refused(processes.build(), &["queue_capacity", "0"]);
}

#[tokio::test]
async fn a_worker_that_may_run_no_task_is_refused() {
    let builder = ProcessPoolExecutor::builder().max_tasks_per_child(0);
    is_refused(builder.build(), &["max_tasks_per_child", "0"]);
}

#[tokio::test]
async fn a_frame_too_small_for_anything_is_refused() {
    let builder = ProcessPoolExecutor::builder().max_frame_length(0);
    is_refused(builder.build(), &["max_frame_length", "0"]);
}

#[tokio::test]
async fn a_spawn_time_out_of_zero_is_refused() {
    let builder = ProcessPoolExecutor::builder().spawn_timeout(Duration::ZERO);
    is_refused(builder.build(), &["spawn_timeout"]);
}

#[tokio::test]
async fn an_initializer_that_cannot_be_encoded_is_an_error_with_its_reason() {
    use std::collections::BTreeMap;
    fn initialize(_: BTreeMap<u8, Refusing>) {}

    #[derive(Clone, serde::Deserialize)]
    struct Refusing;
    impl serde::Serialize for Refusing {
        fn serialize<S: serde::Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
            Err(serde::ser::Error::custom("it will not be written"))
        }
    }
    let args = BTreeMap::from([(1, Refusing)]);
    let builder = ProcessPoolExecutor::builder().initializer(initialize, args);
    let text = match builder.max_workers(1).build() {
        Err(error) => error.to_string(),
        Ok(pool) => {
            let error = within(pool.submit(double, 1)).await;
            let error = error.expect_err("no worker can be made ready");
            assert!(error.is_init_failed(), "{error}");
            error.to_string()
        }
    };
    assert!(text.contains("it will not be written"), "{text}");
}

#[tokio::test]
async fn a_working_directory_that_is_not_there_is_an_error_with_its_path() {
    let builder = ProcessPoolExecutor::builder().current_dir("/no/such/directory");
    let text = match builder.max_workers(1).build() {
        Err(error) => error.to_string(),
        Ok(pool) => {
            let error = within(pool.submit(double, 1)).await;
            let error = error.expect_err("no worker can start there");
            assert!(error.is_init_failed() && !error.was_started(), "{error}");
            error.to_string()
        }
    };
    assert!(text.contains("/no/such/directory"), "{text}");
}
