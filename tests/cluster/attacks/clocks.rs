//! Programs whose clocks differ by an hour, like those of different machines. A library shifts them.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use cluster_tests::NatsServer;
use concurrent_futures::{ExecutorExt as _, TaskOptions};
use futures::TryStreamExt as _;

use crate::common::{Log, brief, client, until_empty, within};
use crate::program::{WorkerProgram, add, clock, gated, logged, sleeps};

const HOUR: i64 = 3600;

const LIBRARY: &str = r#"
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdlib.h>
#include <sys/time.h>
#include <time.h>

static long shift(void) {
    const char *text = getenv("CF_TEST_SHIFT");
    return text ? atol(text) : 0;
}

int clock_gettime(clockid_t id, struct timespec *time) {
    int (*real)(clockid_t, struct timespec *) = dlsym(RTLD_NEXT, "clock_gettime");
    int result = real(id, time);
    if (result == 0 && (id == CLOCK_REALTIME || id == CLOCK_REALTIME_COARSE)) time->tv_sec += shift();
    return result;
}

int gettimeofday(struct timeval *restrict time, void *restrict zone) {
    int (*real)(struct timeval *, void *) = dlsym(RTLD_NEXT, "gettimeofday");
    int result = real(time, zone);
    if (result == 0) time->tv_sec += shift();
    return result;
}

time_t time(time_t *out) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (out) *out = now.tv_sec;
    return now.tv_sec;
}
"#;

/// Builds the library with the C compiler that linked this program.
fn library(folder: &Path) -> PathBuf {
    let (source, library) = (folder.join("shift.c"), folder.join("libshift.so"));
    std::fs::write(&source, LIBRARY).expect("written");
    let built = Command::new("cc")
        .args(["-shared", "-fPIC", "-o"])
        .args([&library, &source])
        .arg("-ldl")
        .status();
    assert!(built.expect("a C compiler").success());
    library
}

#[tokio::test(flavor = "multi_thread")]
async fn clocks_that_differ_by_an_hour_change_nothing() {
    let Some(server) = NatsServer::start("") else {
        return;
    };
    let library = library(server.folder());
    let program = std::env::current_exe().expect("this program");
    let start = |hours: i64| {
        let shift = (hours * HOUR).to_string();
        let library = library.to_str().expect("text");
        let variables = [("LD_PRELOAD", library), ("CF_TEST_SHIFT", &shift)];
        WorkerProgram::start_with(&program, &server.url(), "thread", 2, &variables)
    };
    let cluster = client(server.url(), brief()).await;
    let log = Log::new(&server, "log");
    for hours in [1, -1] {
        let shifted = start(hours);
        let theirs = within(cluster.submit(clock, ())).await.expect("a time");
        let theirs = i64::try_from(theirs).expect("a time");
        let here = i64::try_from(clock()).expect("a time");
        let difference = theirs - here - hours * HOUR;
        assert!(difference.abs() < 600, "its clock is shifted: {difference}");

        let sums: Vec<u64> = cluster
            .map(add, (0..100).map(|n| (n, n)))
            .try_collect()
            .await
            .expect("sums");
        assert_eq!(sums[99], 198);
        // Limits are durations, so a long limit does not end a task, and a short one does.
        let far = TaskOptions::new()
            .timeout(Duration::from_secs(30))
            .queue_timeout(Duration::from_secs(30));
        let number = within(cluster.submit_with(&far, logged, (log.text(), 1, 0))).await;
        assert_eq!(number.expect("a result"), 1);
        let near = TaskOptions::new().timeout(Duration::from_millis(50));
        let error = within(cluster.submit_with(&near, sleeps, log.text()))
            .await
            .expect_err("too long");
        assert!(error.is_timeout(), "{error}");

        // A lost worker, and one on the other side of the day.
        let gate = server.folder().join(format!("gate{hours}"));
        let again = TaskOptions::new().retries(1);
        let lines = log.starts().iter().map(|(_, starts)| starts).sum::<usize>();
        let gate_text = gate.to_str().expect("text").to_owned();
        let task = cluster.submit_with(&again, gated, (log.text(), 7, gate_text));
        within(crate::program::until_started(
            Path::new(&log.text()),
            lines + 1,
        ))
        .await;
        shifted.kill();
        let other = start(-hours);
        std::fs::write(gate, "").expect("opened");
        assert_eq!(within(task).await.expect("it runs again"), 7);
        other.terminate(); // It removes what it has done from the queue.
    }
    until_empty(&server).await; // Only the clock of the server decides what expires.
}
