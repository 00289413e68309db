//! What an isolated worker cannot do, and what it can do like any other. Each denial has a control without isolation,
//! to prove that the isolation denies.

#![cfg(feature = "isolation")]
#![cfg(target_os = "linux")]

#[path = "../common/again.rs"]
mod again;
#[path = "../common/alone.rs"]
mod alone;
#[path = "../common/mod.rs"]
mod common;
mod files;
mod lacking;
#[path = "../common/methods.rs"]
mod methods;
mod network;
#[path = "../common/nobody.rs"]
mod nobody;
mod others;
mod privilege;
mod tasks;

use std::fs;
use std::io::{self, Error};
use std::path::PathBuf;
use std::process::Command;

use concurrent_futures::{
    Isolation, JoinHandle, ProcessPoolBuilder, ProcessPoolExecutor, StartMethod,
};
use libc::c_long;

use self::common::within;
use self::methods::builder;

concurrent_futures::init_before_main!();

pub(crate) fn isolated_builder(method: StartMethod, isolation: Isolation) -> ProcessPoolBuilder {
    builder(method).max_workers(1).isolation(isolation)
}

/// A pool of one isolated worker. `None` if this system, such as a container, refuses a separate network, and reports
/// that.
pub(crate) async fn isolated(
    method: StartMethod,
    isolation: Isolation,
) -> Option<ProcessPoolExecutor> {
    ready(isolated_builder(method, isolation)).await
}

pub(crate) async fn ready(builder: ProcessPoolBuilder) -> Option<ProcessPoolExecutor> {
    let pool = builder.build().expect("a kernel with Landlock and seccomp");
    match within(pool.warm_up()).await {
        Ok(()) => Some(pool),
        Err(error) if !can_leave_the_network() => {
            assert!(error.is_init_failed(), "{error}");
            assert!(error.to_string().contains("a network namespace"), "{error}");
            None
        }
        Err(error) => panic!("{error}"),
    }
}

/// Whether the system lets a child of this process have a network of its own, as root or in a user namespace.
pub(crate) fn can_leave_the_network() -> bool {
    let unshare = |arguments: &[&str]| {
        let status = Command::new("unshare").args(arguments).arg("true").status();
        status.is_ok_and(|status| status.success())
    };
    unshare(&["--net"]) || unshare(&["--user", "--net"])
}

pub(crate) async fn done<T>(handle: JoinHandle<T>) -> T {
    within(handle).await.expect("it ran")
}

/// The error of a raw system call, 0 if there is none.
pub(crate) fn errno_of(outcome: c_long) -> i32 {
    match outcome {
        -1 => Error::last_os_error()
            .raw_os_error()
            .expect("it is the system's"),
        _ => 0,
    }
}

pub(crate) fn code<T>(outcome: io::Result<T>) -> i32 {
    outcome.map_or_else(|error| error.raw_os_error().unwrap_or(-1), |_| 0)
}

pub(crate) fn read(path: PathBuf) -> i32 {
    code(fs::read(path))
}

pub(crate) fn never_end() {
    loop {
        std::thread::park();
    }
}
