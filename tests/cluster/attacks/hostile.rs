//! A hostile client with the rights of a client can only waste time.

use std::sync::{Arc, Mutex};

use async_nats::{Client, ConnectOptions, Event, HeaderMap};
use cluster_tests::{NatsServer, USERS};
use concurrent_futures::cluster::{ClusterExecutor, Credentials, Functions, QueueSetup, Worker};
use concurrent_futures::{ExecutorExt as _, functions};

use crate::common::{eventually, within};
use crate::program::{add, pool};

fn listed() -> Functions {
    functions![add, nothing]
}

fn nothing() {}

fn user(name: &str) -> Credentials {
    Credentials::new().user(name, name)
}

/// A server with the example's permissions, and a queue.
async fn start() -> Option<NatsServer> {
    let server = NatsServer::start(USERS)?;
    let setup = QueueSetup::new(server.url()).credentials(user("admin"));
    setup.create("primes").await.expect("a queue");
    Some(server)
}

/// A raw connection, and the refusals of the server.
async fn raw(server: &NatsServer, name: &str) -> (Client, Arc<Mutex<Vec<String>>>) {
    let refused = Arc::new(Mutex::new(Vec::new()));
    let theirs = refused.clone();
    let options = ConnectOptions::with_user_and_password(name.into(), name.into());
    let options = options.event_callback(move |event| {
        if let Event::ServerError(error) = event {
            theirs.lock().expect("no panic").push(error.to_string());
        }
        std::future::ready(())
    });
    let client = options.connect(server.url()).await;
    (client.expect("the server"), refused)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_and_a_worker_have_no_rights_of_other_roles() {
    let Some(server) = start().await else {
        return;
    };
    let everyone = [
        "cf.primes.r.other.1",
        "cf.other.t.1.add",
        "cf.other.o.a.1",
        "$JS.API.STREAM.PURGE.CF_primes",
        "$JS.API.STREAM.DELETE.CF_primes",
        "$JS.API.STREAM.UPDATE.CFO_primes",
        "$JS.API.STREAM.CREATE.CF_other",
        "$JS.API.STREAM.MSG.DELETE.CFO_primes",
        "$JS.API.CONSUMER.CREATE.CF_primes.mine",
        "$JS.API.CONSUMER.DELETE.CF_primes.lane1",
        "$JS.API.STREAM.INFO.CF_other",
        "$JS.API.DIRECT.GET.CF_other",
        "_INBOX.cf.other.client.x",
        "_INBOX.x",
        "anything",
    ];
    let of_client = [
        "_INBOX.cf.primes.client.other.t1",
        "_INBOX.cf.primes.worker.other.0",
        "cf.primes.p.other.1",
        "$JS.API.CONSUMER.MSG.NEXT.CF_primes.lane1",
    ];
    let of_worker = [
        "cf.primes.t.1.add",
        "cf.primes.who",
        "$JS.API.STREAM.MSG.DELETE.CF_primes",
        "$JS.API.DIRECT.GET.CF_primes",
    ];
    let worker_subjects = [
        "_INBOX.>",
        "cf.>",
        "cf.primes.t.>",
        "cf.primes.o.>",
        "$JS.>",
        ">",
    ];
    for (name, own) in [("client", &of_client[..]), ("worker", &of_worker[..])] {
        let (client, refused) = raw(&server, name).await;
        let subjects = everyone.iter().chain(own);
        for subject in subjects.clone() {
            client.publish(*subject, "x".into()).await.expect("sent");
        }
        let mut subscriptions = Vec::new();
        for subject in worker_subjects {
            subscriptions.push(client.subscribe(subject).await.expect("sent"));
        }
        for subject in subjects.chain(&worker_subjects) {
            let text = format!("\"{subject}\"").to_lowercase();
            let is_refused = || {
                refused
                    .lock()
                    .expect("no panic")
                    .iter()
                    .any(|error| error.to_lowercase().contains(&text))
            };
            eventually(async || is_refused()).await;
        }
    }
}

/// A message that a worker would run, with one header changed.
fn headers(number: u64, changed: &str, value: &str) -> HeaderMap {
    let mut headers = HeaderMap::new();
    let usual = [
        ("Cf-V", "1".to_owned()),
        ("Cf-Fn", "add".to_owned()),
        ("Cf-Shape", "u64,u64>u64".to_owned()),
        ("Cf-Reply", format!("hostile.{number}")),
        ("Cf-Id", "1".to_owned()),
    ];
    for (name, value) in usual.iter().filter(|(name, _)| *name != changed) {
        headers.insert(*name, value.as_str());
    }
    headers.insert(changed, value);
    headers
}

/// In KiB.
fn memory() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("this program runs");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let size = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
    size.expect("a size")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hostile_client_with_garbage_in_each_header_and_body_wastes_time_and_no_more() {
    let Some(server) = start().await else {
        return;
    };
    let worker = Worker::connect(server.url())
        .queue("primes")
        .functions(listed());
    let worker = worker
        .credentials(user("worker"))
        .build(pool("thread", 4))
        .await;
    let serving = tokio::spawn(worker.expect("a worker").run_until(std::future::pending()));
    let cluster = ClusterExecutor::connect(server.url())
        .queue("primes")
        .functions(listed());
    let cluster = cluster
        .credentials(user("client"))
        .build()
        .await
        .expect("a client");
    assert_eq!(within(cluster.submit(add, (1, 2))).await.expect("a sum"), 3);
    let id = cluster.workers().await.expect("the server")[0]
        .id()
        .to_owned();
    let before = memory();

    let (hostile, _) = raw(&server, "client").await;
    let long = "x".repeat(1 << 19);
    let digest = "0".repeat(64);
    let values = [
        "",
        "0",
        "-1",
        "4294967296",
        "18446744073709551615",
        "99999999999999999999999",
        "%",
        "%FF",
        "%zz",
        "*",
        ">",
        "a.b.c",
        "../../etc/passwd",
        "\u{e9}",
        &long,
    ];
    let names = [
        "Cf-V",
        "Cf-Fn",
        "Cf-Shape",
        "Cf-Items",
        "Cf-Reply",
        "Cf-Id",
        "Cf-Name",
        "Cf-Timeout",
        "Cf-Grace",
        "Cf-Retries",
        "traceparent",
        "Cf-Object",
        "Cf-Size",
        "Nats-Msg-Id",
    ];
    let objects = [
        format!("id-1073741824-256-{digest}"),
        format!("id-1-256-{digest}"),
        format!("id-18446744073709551615-0-{digest}"),
    ];
    let bodies: [&[u8]; 4] = [
        b"",
        b"\x01\x02",
        b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff",
        &[7; 100_000],
    ];
    let subject = "cf.primes.t.1.add";
    let mut number = 0;
    let send = async |headers: HeaderMap, body: &[u8]| {
        let sent = hostile.publish_with_headers(subject, headers, body.to_vec().into());
        sent.await.expect("sent");
    };
    for name in names {
        for value in values {
            number += 1;
            send(headers(number, name, value), bodies[1]).await;
        }
    }
    for body in bodies {
        for items in ["1", "2", "1048576"] {
            number += 1;
            send(headers(number, "Cf-Items", items), body).await;
        }
    }
    for object in &objects {
        for size in ["1", "1073741824"] {
            number += 1;
            let mut headers = headers(number, "Cf-Object", object);
            headers.insert("Cf-Size", size);
            send(headers, b"").await;
        }
    }
    // Control messages to the worker, whose answers would go to subjects that a client may not publish to.
    for verb in ["ask", "cancel", "dance"] {
        let subject = format!("cf.primes.w.{id}.{verb}");
        for reply in [
            "cf.primes.o.hostile.7",
            "$JS.API.CONSUMER.MSG.NEXT.CF_primes.lane1",
        ] {
            for body in bodies {
                let sent = hostile.publish_with_reply(subject.clone(), reply, body.to_vec().into());
                sent.await.expect("sent");
            }
            let ask = b"\x01\x09hostile.1"; // A well-formed question.
            let sent = hostile.publish_with_reply(subject.clone(), reply, ask.to_vec().into());
            sent.await.expect("sent");
        }
    }
    hostile.flush().await.expect("sent");

    // Other clients get their results meanwhile. In the end the queue has only the tasks of unknown functions.
    for n in 0..50 {
        assert_eq!(
            within(cluster.submit(add, (n, n))).await.expect("a sum"),
            2 * n
        );
    }
    eventually(async || {
        let depth = cluster.depth().await.expect("a depth");
        depth.waiting() + depth.running() <= values.len() as u64
    })
    .await;
    assert!(!serving.is_finished());
    within(cluster.submit(nothing, ()))
        .await
        .expect("all slots are free");
    let grown = memory().saturating_sub(before);
    assert!(grown < 64 << 10, "{grown} KiB more");
    assert!(
        !server.log().contains("Publish Violation - User \"worker\""),
        "it did not try either"
    );
}
