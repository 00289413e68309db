//! Tasks of one process that want one object take turns, whatever happens to one of them, to its runtime, or to the
//! process that holds the object. No time is measured, only turns.

#![cfg(feature = "multiprocessing")]
#![cfg(target_os = "linux")]

#[path = "../common/again.rs"]
mod again;
#[expect(dead_code, reason = "other tests use the rest")]
#[path = "../common/alone.rs"]
mod alone;
#[path = "../common/mod.rs"]
mod common;
mod heads;
mod mixed;
mod ready;
mod runtimes;
mod turns;

concurrent_futures::init_before_main!();

fn current_thread() -> tokio::runtime::Runtime {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    runtime.expect("a runtime")
}

/// Lets all other tasks of a runtime of one thread run, until each waits.
async fn settle() {
    for _ in 0..1000 {
        tokio::task::yield_now().await;
    }
}
