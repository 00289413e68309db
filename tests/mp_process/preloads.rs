//! What a fork server loads before its first fork.

use std::sync::atomic::{AtomicU32, Ordering};

use concurrent_futures::StartMethod;
use concurrent_futures::multiprocessing::{Lock, Process, ProcessBuilder};
use rustix::process::Signal;

use super::alone::{alone, children};
use super::common::{eventually, within};
use super::{builder, is_running, kill};

/// The process that has loaded something, and the value that it has loaded.
static LOADED: [AtomicU32; 2] = [const { AtomicU32::new(0) }; 2];

fn load(what: u32) -> Result<(), String> {
    match what {
        13 => Err("unlucky".to_owned()),
        14 => panic!("out of cheese"),
        15 => {
            std::thread::spawn(std::thread::park);
            Ok(())
        }
        what => {
            LOADED[0].store(std::process::id(), Ordering::Relaxed);
            LOADED[1].fetch_add(what, Ordering::Relaxed);
            Ok(())
        }
    }
}

fn loaded() -> (u32, u32) {
    let [by, what] = LOADED.each_ref().map(|word| word.load(Ordering::Relaxed));
    (by, what)
}

fn preloaded(what: u32) -> ProcessBuilder {
    builder(StartMethod::ForkServer).preload(load, what)
}

async fn run(builder: ProcessBuilder) -> (u32, u32) {
    let process = within(builder.spawn(loaded, ())).await.expect("it starts");
    within(process.join()).await.expect("it ran")
}

#[test]
fn processes_with_the_same_preload_share_what_it_has_loaded_once() {
    let test = "preloads::processes_with_the_same_preload_share_what_it_has_loaded_once";
    alone(test, || async {
        assert_eq!(run(builder(StartMethod::ForkServer)).await, (0, 0));
        let (first, what) = run(preloaded(7)).await;
        assert_eq!(what, 7);
        assert_ne!(first, std::process::id());
        assert_eq!(run(preloaded(7)).await, (first, 7));
        let (other, what) = run(preloaded(8)).await;
        assert_eq!(what, 8);
        assert_ne!(other, first);
        let (cleared, what) = run(preloaded(7).env_clear()).await;
        assert_eq!(what, 7);
        assert_ne!(cleared, first);
        assert_eq!(run(preloaded(7)).await, (first, 7));
        assert_eq!(run(builder(StartMethod::ForkServer)).await, (0, 0));
        assert_eq!(children().len(), 4);
        assert_eq!(loaded(), (0, 0), "not in this process");
        // Another fork server takes its place, and loads the same value.
        kill(first, Signal::KILL);
        eventually(|| !is_running(first)).await;
        let (second, what) = run(preloaded(7)).await;
        assert_eq!(what, 7);
        assert!(second != first && children().contains(&second));
    });
}

#[test]
fn a_preload_that_fails_fails_each_start_and_says_why() {
    let test = "preloads::a_preload_that_fails_fails_each_start_and_says_why";
    alone(test, || async {
        for (what, parts) in [
            (13, &["the preload", "unlucky"][..]),
            (14, &["the preload", "out of cheese", "preloads.rs"][..]),
            (15, &["the preload", "threads running"][..]),
        ] {
            for _ in 0..2 {
                let error = within(preloaded(what).name("shop").spawn(loaded, ())).await;
                let error = error.expect_err("it fails");
                let text = error.to_string();
                assert!(text.starts_with("process `shop` was not started"), "{text}");
                assert!(parts.iter().all(|part| text.contains(part)), "{text}");
                assert!(!error.is_invalid_setting(), "{text}");
            }
        }
        assert_eq!(run(preloaded(1)).await.1, 1, "others start");
    });
}

fn hold(_: Lock) {}

#[test]
fn a_preload_that_cannot_be_used_is_an_invalid_setting() {
    let test = "preloads::a_preload_that_cannot_be_used_is_an_invalid_setting";
    alone(test, || async {
        let refused = async |builder: ProcessBuilder, part: &str| {
            let error = within(builder.spawn(loaded, ())).await.expect_err("no");
            assert!(error.is_invalid_setting(), "{error}");
            assert!(error.to_string().contains(part), "{error}");
        };
        for method in [StartMethod::Spawn, StartMethod::Fork] {
            let builder = Process::builder().preload(load, 1).start_method(method);
            refused(builder, "StartMethod::ForkServer").await;
        }
        let lock = Lock::new().expect("a lock");
        let builder = Process::builder().preload(hold, lock);
        refused(builder, "pass them to the function").await;
        assert_eq!(children(), [0_u32; 0], "none has started");
        // Each would be one more process that stays.
        for what in 100..132 {
            assert_eq!(run(preloaded(what)).await.1, what);
        }
        refused(preloaded(132), "32 different preloads").await;
        assert_eq!(run(preloaded(131)).await.1, 131);
    });
}
