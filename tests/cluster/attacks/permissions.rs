//! Each right of `examples/cluster/users.conf` is needed. If it is missing, an error names it in bounded time.

use cluster_tests::{NatsServer, USERS};
use concurrent_futures::cluster::{ClusterExecutor, Credentials, QueueSetup, Worker};
use concurrent_futures::{ExecutorExt as _, functions};

use crate::common::within;
use crate::program::{add, pool};

/// The rights of a user, as lines of the configuration.
fn rights_of(user: &str) -> Vec<&'static str> {
    let start = USERS.find(&format!("user: {user},")).expect("a user");
    let end = USERS[start..].find("} }").expect("its end") + start;
    let lines = USERS[start..end].lines();
    lines.filter(|line| line.contains('"')).collect()
}

/// The subject in a line of rights.
fn subject_of(line: &str) -> &str {
    line.split('"').nth(1).expect("a subject")
}

/// The users without one right of one of them.
fn without(user: &str, line: &str) -> String {
    let start = USERS.find(&format!("user: {user},")).expect("a user");
    let rest = match line.contains("subscribe: [") {
        true => "subscribe: [ \"nothing\" ]",
        false => "",
    };
    format!(
        "{}{}",
        &USERS[..start],
        USERS[start..].replacen(line, rest, 1)
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn each_right_that_is_missing_is_an_error_that_names_it() {
    let Some(mut server) = NatsServer::start(USERS) else {
        return;
    };
    let user = |name: &str| Credentials::new().user(name, name);
    let setup = QueueSetup::new(server.url()).credentials(user("admin"));
    setup.create("primes").await.expect("a queue");
    for role in ["client", "worker"] {
        let rights = rights_of(role);
        assert!(rights.len() > 12, "{rights:?}");
        for line in rights {
            server.restart_with(&without(role, line));
            let subject = subject_of(line);
            let error = match role {
                "client" => {
                    let client = ClusterExecutor::connect(server.url()).queue("primes");
                    let client = client.functions(functions![add]).credentials(user(role));
                    match within(client.build()).await {
                        Err(error) => error,
                        Ok(client) => {
                            // A client may be limited to some functions.
                            assert_eq!(subject, "cf.primes.t.>");
                            let error = within(client.submit(add, (1, 2)))
                                .await
                                .expect_err("refused");
                            assert!(error.is_rejected() && !error.was_started(), "{error}");
                            assert!(error.to_string().contains("cf.primes.t.1.add"), "{error}");
                            continue;
                        }
                    }
                }
                _ => {
                    let worker = Worker::connect(server.url()).queue("primes");
                    let worker = worker.functions(functions![add]).credentials(user(role));
                    within(worker.build(pool("thread", 1)))
                        .await
                        .expect_err(subject)
                }
            };
            assert!(error.is_permission_denied(), "{subject}: {error}");
            // Without the right to receive answers, the first request fails.
            let named = match subject.strip_prefix("_INBOX.cf.primes.") {
                Some("client.>" | "worker.>") => "answers".to_owned(),
                _ if subject.contains(".INFO.") => subject.replace(".*", "."),
                _ => format!("`{subject}`"),
            };
            assert!(error.to_string().contains(&named), "{subject}: {error}");
        }
    }
}
