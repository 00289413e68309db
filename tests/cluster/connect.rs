//! Identities and failures of connections. Each failure is a typed error in bounded time that says what to do.

mod jwt;

use std::net::TcpListener;
use std::time::{Duration, Instant};

use cluster_tests::{Certificates, NatsServer};
use concurrent_futures::cluster::{ClusterError, Credentials, QueueSetup};
use nkeys::KeyPair;

/// Longer than any step of these tests takes.
const LIMIT: Duration = Duration::from_secs(60);

async fn connect(servers: &str, credentials: Credentials) -> Result<(), ClusterError> {
    let setup = QueueSetup::new(servers)
        .credentials(credentials)
        .timeout(LIMIT);
    setup.create("primes").await
}

/// The error of a connection. It must show no secret.
async fn refused(servers: &str, credentials: Credentials) -> ClusterError {
    let error = connect(servers, credentials)
        .await
        .expect_err("it is refused");
    let shown = format!("{error} {error:?}");
    assert!(!shown.contains("secret"), "{shown}");
    error
}

fn user() -> Credentials {
    Credentials::new().user("a", "secret")
}

#[tokio::test]
async fn without_a_server_the_error_comes_soon_and_names_the_address() {
    // The loopback device refuses port 1 at once, and no resolver knows the name.
    for servers in [
        "nats://127.0.0.1:1",
        "nats://no-such-host.invalid",
        "nats://127.0.0.1:1,nats://127.0.0.1:2",
    ] {
        let error = refused(servers, Credentials::new()).await;
        assert!(error.is_unreachable(), "{error}");
        let host = servers
            .trim_start_matches("nats://")
            .split([':', ','])
            .next()
            .expect("a host");
        assert!(error.to_string().contains(host), "{error}");
        assert!(std::error::Error::source(&error).is_some());
    }
}

#[tokio::test]
async fn a_silent_server_is_an_error_at_the_timeout() {
    let silent = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = silent.local_addr().expect("an address");
    let started = Instant::now();
    let setup = QueueSetup::new(format!("nats://{address}")).timeout(Duration::from_millis(300));
    let error = setup.create("primes").await.expect_err("it says nothing");
    assert!(error.is_unreachable(), "{error}");
    assert!(started.elapsed() >= Duration::from_millis(300));
}

#[tokio::test]
async fn a_silent_server_does_not_hide_another() {
    let Some(server) = NatsServer::start("") else {
        return;
    };
    let silent = TcpListener::bind("127.0.0.1:0").expect("a port");
    let silent = silent.local_addr().expect("an address");
    let servers = format!("nats://{silent},{}", server.url());
    let setup = QueueSetup::new(servers).timeout(Duration::from_secs(10));
    setup.create("primes").await.expect("one of them answers");
}

#[tokio::test]
async fn a_user_needs_the_password() {
    let users = "authorization { users: [ { user: a, password: secret } ] }";
    let Some(server) = NatsServer::start(users) else {
        return;
    };
    connect(&server.url(), user()).await.expect("the user");
    let address = format!("127.0.0.1:{}", server.port());
    connect(&format!("nats://a:secret@{address}"), Credentials::new())
        .await
        .expect("the same in the address");
    let others = [
        Credentials::new(),
        Credentials::new().user("a", "other secret"),
        Credentials::new().user("b", "secret"),
        Credentials::new().token("secret"),
        Credentials::new().nkey(KeyPair::new_user().seed().expect("it is new")),
    ];
    for credentials in others {
        let error = refused(&server.url(), credentials).await;
        assert!(error.is_unauthorized(), "{error}");
    }
    let error = refused(&format!("nats://b:secret@{address}"), Credentials::new()).await;
    assert!(error.is_unauthorized(), "{error}");
}

#[tokio::test]
async fn a_token_is_an_identity() {
    let Some(server) = NatsServer::start("authorization { token: secret }") else {
        return;
    };
    connect(&server.url(), Credentials::new().token("secret"))
        .await
        .expect("the token");
    let error = refused(&server.url(), user()).await;
    assert!(error.is_unauthorized(), "{error}");
}

#[tokio::test]
async fn an_nkey_is_an_identity() {
    let key = KeyPair::new_user();
    let users = format!(
        "authorization {{ users: [ {{ nkey: {} }} ] }}",
        key.public_key()
    );
    let Some(server) = NatsServer::start(&users) else {
        return;
    };
    let seed = key.seed().expect("it is new");
    connect(&server.url(), Credentials::new().nkey(seed))
        .await
        .expect("the key");
    let other = KeyPair::new_user().seed().expect("it is new");
    let error = refused(&server.url(), Credentials::new().nkey(other)).await;
    assert!(error.is_unauthorized(), "{error}");
    let error = refused(&server.url(), Credentials::new().nkey("SUsecret")).await;
    assert!(error.is_invalid(), "{error}");
}

#[tokio::test]
async fn a_jwt_file_is_an_identity() {
    let issuer = jwt::Issuer::new();
    let Some(server) = NatsServer::start(&issuer.config()) else {
        return;
    };
    let file = server.folder().join("user.creds");
    std::fs::write(&file, issuer.credentials()).expect("the folder is there");
    connect(&server.url(), Credentials::new().jwt_file(&file))
        .await
        .expect("the JWT");

    std::fs::write(&file, jwt::Issuer::new().credentials()).expect("the folder is there");
    let error = refused(&server.url(), Credentials::new().jwt_file(&file)).await;
    assert!(error.is_unauthorized(), "{error}");
    for wrong in [
        "",
        "secret",
        "-----BEGIN NATS USER JWT-----\nsecret\n------END NATS USER JWT------\n",
    ] {
        std::fs::write(&file, wrong).expect("the folder is there");
        let error = refused(&server.url(), Credentials::new().jwt_file(&file)).await;
        assert!(
            error.is_invalid() && error.to_string().contains("user.creds"),
            "{error}"
        );
    }
}

/// The server's certificate, and whether it wants one of the client.
fn tls(certificates: &Certificates, verify: bool) -> String {
    let (cert, key, ca) = (
        certificates.path("server"),
        certificates.key("server"),
        certificates.path("ca"),
    );
    format!(
        "tls {{ cert_file: {cert:?}, key_file: {key:?}, ca_file: {ca:?}, verify: {verify}, timeout: 10 }}\n"
    )
}

#[tokio::test]
async fn a_server_with_a_certificate_of_its_own_needs_its_root() {
    let Some(mut server) = NatsServer::start("") else {
        return;
    };
    let certificates = Certificates::new(&server.folder().join("certificates"));
    certificates.sign("server");
    server.restart_with(&tls(&certificates, false));
    let roots = Credentials::new().roots(certificates.path("ca"));
    connect(&server.url(), roots.clone())
        .await
        .expect("its root");
    connect(&server.url().replace("nats:", "tls:"), roots)
        .await
        .expect("its root");

    let others = Certificates::new(&server.folder().join("others"));
    for credentials in [
        Credentials::new(),
        Credentials::new().roots(others.path("ca")),
    ] {
        let error = refused(&server.url(), credentials).await;
        assert!(error.is_tls(), "{error:?}");
    }
}

#[tokio::test]
async fn a_server_may_want_a_certificate_of_the_client() {
    let Some(mut server) = NatsServer::start("") else {
        return;
    };
    let certificates = Certificates::new(&server.folder().join("certificates"));
    certificates.sign("server");
    certificates.sign("client");
    server.restart_with(&tls(&certificates, true));
    let roots = Credentials::new().roots(certificates.path("ca"));
    let known = roots
        .clone()
        .client_certificate(certificates.path("client"), certificates.key("client"));
    connect(&server.url(), known)
        .await
        .expect("a certificate of the root");

    let others = Certificates::new(&server.folder().join("others"));
    others.sign("client");
    let unknown = roots
        .clone()
        .client_certificate(others.path("client"), others.key("client"));
    for credentials in [roots, unknown] {
        let error = refused(&server.url(), credentials).await;
        assert!(error.is_tls(), "{error:?}");
    }
}

#[tokio::test]
async fn a_program_that_wants_tls_sends_nothing_to_a_server_without() {
    let Some(server) = NatsServer::start("") else {
        return;
    };
    let certificates = Certificates::new(&server.folder().join("certificates"));
    let error = refused(&server.url(), user().roots(certificates.path("ca"))).await;
    assert!(error.is_tls(), "{error:?}");
}

#[tokio::test]
async fn a_file_that_cannot_be_used_is_named_before_anything_is_sent() {
    let Some(server) = NatsServer::start("") else {
        return;
    };
    let folder = server.folder().join("certificates");
    let certificates = Certificates::new(&folder);
    certificates.sign("client");
    let empty = folder.join("empty.pem");
    std::fs::write(&empty, "secret").expect("the folder is there");
    let missing = folder.join("missing.pem");
    let all = [
        Credentials::new().roots(&missing),
        Credentials::new().roots(&empty),
        Credentials::new().roots(&folder),
        Credentials::new().jwt_file(&missing),
        Credentials::new().client_certificate(&missing, certificates.key("client")),
        Credentials::new().client_certificate(certificates.path("client"), &empty),
        Credentials::new().client_certificate(certificates.path("client"), &missing),
    ];
    for credentials in all {
        // There is no server: the file is read before the connection.
        let error = refused("nats://127.0.0.1:1", credentials.clone()).await;
        assert!(error.is_invalid(), "{credentials:?}: {error}");
        assert!(error.to_string().contains("certificates"), "{error}");
    }
}

#[tokio::test]
async fn an_invalid_address_is_an_error_that_says_so() {
    for servers in [
        "",
        "nats://",
        "http://127.0.0.1",
        "nats://127.0.0.1:1,,",
        "nats://127.0.0.1:99999",
    ] {
        let error = refused(servers, Credentials::new()).await;
        assert!(error.is_invalid(), "{servers:?}: {error}");
    }
}

#[test]
fn credentials_show_no_secret() {
    let all = [
        Credentials::new().user("a", "secret"),
        Credentials::new().token("secret"),
        Credentials::new().nkey("secret"),
    ];
    for credentials in all {
        let shown = format!("{credentials:?} {credentials:#?}");
        assert!(!shown.contains("secret"), "{shown}");
    }
}
