//! Programs of two builds, and of two versions of the wire, on one queue.

use std::fs;
use std::path::PathBuf;

use cluster_tests::{Act, NatsServer, Proxy, Side};
use concurrent_futures::{ExecutorExt as _, TaskOptions};

use crate::common::{brief, client, until_empty, within, worker};
use crate::program::{WorkerProgram, add, logged, panics, tasks};

/// A copy of this program with another build id, as if it was another build.
fn other_build(server: &NatsServer, build: &str) -> PathBuf {
    let mut bytes = fs::read(std::env::current_exe().expect("this program")).expect("read");
    let digits = build.as_bytes().chunks(2);
    let digits = digits.map(|two| std::str::from_utf8(two).expect("digits"));
    let id: Vec<u8> = digits
        .map(|two| u8::from_str_radix(two, 16).expect("digits"))
        .collect();
    // Without a build id, a program is identified by its file, so the copy is enough.
    if let Some(at) = bytes.windows(id.len()).position(|part| part == id) {
        bytes[at] ^= 0xff;
    }
    let copy = server.folder().join("other_build");
    fs::write(&copy, bytes).expect("written");
    let this = fs::metadata(std::env::current_exe().expect("this program")).expect("there");
    fs::set_permissions(&copy, this.permissions()).expect("set");
    copy
}

#[tokio::test(flavor = "multi_thread")]
async fn workers_of_two_builds_serve_one_queue_each_with_its_functions() {
    let Some(server) = NatsServer::start("") else {
        return;
    };
    let cluster = client(server.url(), brief()).await;
    let _newer = WorkerProgram::start(&server.url(), "thread", 2);
    let mut build = String::new();
    while build.is_empty() {
        let workers = cluster.workers().await.expect("the server"); // It may not have subscribed yet.
        build = workers
            .first()
            .map_or(String::new(), |worker| worker.build().to_owned());
    }
    let copy = other_build(&server, &build);
    let variables = [("CF_TEST_BUILD", "older")];
    let _older = WorkerProgram::start_with(&copy, &server.url(), "process", 2, &variables);
    let mut workers = Vec::new();
    while workers.len() < 2 {
        workers = cluster.workers().await.expect("the server");
    }
    assert_ne!(workers[0].build(), workers[1].build());
    let knows = |name: &str| {
        workers
            .iter()
            .filter(|worker| worker.functions().any(|f| f == name))
            .count()
    };
    assert_eq!((knows("add"), knows("logged")), (2, 1));

    // Both have `add`. Only the newer one has `logged`. Their shapes of `panics` differ.
    let log = server
        .folder()
        .join("log")
        .to_str()
        .expect("text")
        .to_owned();
    let sums: Vec<_> = (0..50).map(|n| cluster.submit(add, (n, n))).collect();
    let known: Vec<_> = (0..50)
        .map(|n| cluster.submit(logged, (log.clone(), n, 0)))
        .collect();
    let unlike: Vec<_> = (0..20)
        .map(|_| cluster.submit(panics, "as it should".to_owned()))
        .collect();
    for (n, sum) in (0..).zip(sums) {
        assert_eq!(within(sum).await.expect("a sum"), 2 * n);
    }
    for (n, number) in (0..).zip(known) {
        assert_eq!(within(number).await.expect("the newer one runs it"), n);
    }
    for task in unlike {
        let error = within(task).await.expect_err("a panic or a refusal");
        let is_refused = error.is_codec() && error.to_string().contains("text>text");
        assert!(
            error.is_panic() || (is_refused && !error.was_started()),
            "{error}"
        );
    }
    until_empty(&server).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_of_another_version_of_the_wire_is_an_error_that_says_so() {
    let Some(server) = NatsServer::start("") else {
        return;
    };
    let proxy = Proxy::start(server.port());
    proxy.on(
        Side::Program,
        "Cf-V: 1",
        0,
        Act::Replace(b"Cf-V: 2".to_vec()),
    );
    let newer = client(proxy.url(), brief()).await;
    let _worker = worker(server.url(), tasks()).await;
    for options in [
        TaskOptions::new(),
        TaskOptions::new().deduplication_id("über 100 %, or *.>"),
    ] {
        let error = within(newer.submit_with(&options, add, (1, 2))).await;
        let error = error.expect_err("the worker cannot read it");
        assert!(error.is_codec() && !error.was_started(), "{error}");
        assert!(error.to_string().contains("version \"2\""), "{error}");
    }
    let same = client(server.url(), brief()).await;
    assert_eq!(within(same.submit(add, (1, 2))).await.expect("a sum"), 3);
}
