use async_nats::HeaderMap;
use bytes::Bytes;
use futures::StreamExt as _;
use tokio::time::timeout;

use super::super::connection::Unanswered;
use super::super::credentials::Credentials;
use super::super::events::{ConnectionEvent, RefusedVerb, ServerRefusal};
use super::super::nats_server::NatsServer;
use super::*;

/// Waits for an event that `is_it` accepts.
async fn event(
    events: &mut tokio::sync::broadcast::Receiver<ConnectionEvent>,
    is_it: impl Fn(&ConnectionEvent) -> bool,
) -> ConnectionEvent {
    let found = async {
        loop {
            let event = events.recv().await.expect("the connection is open");
            if is_it(&event) {
                return event;
            }
        }
    };
    timeout(LIMIT, found).await.expect("the event comes")
}

async fn reconnected(connection: &NatsConnection, times: u64) {
    let mut connects = connection.connects();
    let reached = connects.wait_for(|&connects| connects > times);
    timeout(LIMIT, reached)
        .await
        .expect("it reconnects")
        .expect("it is open");
}

#[tokio::test]
async fn the_first_connection_is_no_reconnection() {
    let Some(server) = NatsServer::start("") else {
        return;
    };
    let connection = connected(&server).await;
    assert_eq!(*connection.connects().borrow(), 1);
    assert!(connection.is_connected());
    assert_eq!(connection.max_payload(), 1 << 20);
    assert!(connection.flush(LIMIT).await);
}

#[tokio::test]
async fn a_connection_to_a_killed_server_is_restored_with_its_subscriptions() {
    let Some(mut server) = NatsServer::start("") else {
        return;
    };
    let connection = connected(&server).await;
    let mut events = connection.events();
    let client = connection.client().clone();
    let mut received = client.subscribe("cf.test").await.expect("it is connected");
    for round in 1..=3 {
        server.kill();
        event(&mut events, |event| *event == ConnectionEvent::Disconnected).await;
        assert!(!connection.is_connected());
        server.restart();
        reconnected(&connection, round).await;
        let expected = ConnectionEvent::Connected { count: round + 1 };
        event(&mut events, |event| *event == expected).await;
        // The server reads messages in order, so it has the subscription before the message.
        client
            .publish("cf.test", "again".into())
            .await
            .expect("it is connected");
        let message = timeout(LIMIT, received.next()).await.expect("a message");
        assert_eq!(&message.expect("it is open").payload[..], b"again");
    }
}

#[test]
fn a_connection_needs_no_runtime_and_outlives_the_one_it_was_made_in() {
    let Some(mut server) = NatsServer::start("") else {
        return;
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .expect("a runtime");
    let connection = runtime.block_on(connected(&server));
    drop(runtime);
    server.restart();
    let theirs = connection.clone();
    let answered = connection.run(async move {
        reconnected(&theirs, 1).await;
        let served = theirs.client().clone();
        let mut requests = served.subscribe("cf.echo").await.expect("it is connected");
        let answer = theirs.spawn(async move {
            let request = requests.next().await.expect("a request");
            let reply = request.reply.expect("a request has one");
            served
                .publish(reply, request.payload)
                .await
                .expect("it is connected");
        });
        let message = theirs
            .request("cf.echo", HeaderMap::new(), "hello".into(), LIMIT)
            .await;
        answer.await.expect("no panic");
        message.expect("an answer").payload
    });
    let answered = futures::executor::block_on(answered);
    assert_eq!(answered.as_deref(), Some(&b"hello"[..]));
    let connected = connected(&server);
    assert!(futures::executor::block_on(connected).is_connected());
}

/// A connection of the user `a` with the password `b`.
async fn connected_by_password(server: &NatsServer) -> NatsConnection {
    let settings = ConnectSettings {
        credentials: Credentials::new().user("a", "b"),
        ..settings_for(server)
    };
    connect(settings).await.expect("a server")
}

#[tokio::test]
async fn a_refused_request_ends_at_once_and_names_the_subject() {
    let users = r#"authorization { users: [ { user: a, password: b, permissions: { publish: ["cf.allowed"] } } ] }"#;
    let Some(server) = NatsServer::start(users) else {
        return;
    };
    let connection = connected_by_password(&server).await;
    let theirs = connection.clone();
    let answer = connection.run(async move {
        let refused = theirs.request("cf.Forbidden", HeaderMap::new(), Bytes::new(), LIMIT * 60);
        let refused = timeout(LIMIT, refused).await.expect("the refusal comes");
        let allowed = theirs
            .request("cf.allowed", HeaderMap::new(), Bytes::new(), LIMIT)
            .await;
        (refused.map(drop), allowed.map(drop))
    });
    let (refused, allowed) = answer.await.expect("it is open");
    let refusal = ServerRefusal {
        verb: RefusedVerb::Publish,
        subject: "cf.Forbidden".to_owned(),
    };
    assert_eq!(refused, Err(Unanswered::Refused(refusal)));
    assert_eq!(allowed, Err(Unanswered::NoResponders));
}

#[tokio::test]
async fn a_refused_subscription_for_answers_ends_a_request() {
    let users = r#"authorization { users: [ { user: a, password: b, permissions: { subscribe: ["cf.>"] } } ] }"#;
    let Some(server) = NatsServer::start(users) else {
        return;
    };
    let connection = connected_by_password(&server).await;
    let theirs = connection.clone();
    let mut listener = connection
        .client()
        .subscribe("cf.silent")
        .await
        .expect("it is connected");
    let answer = connection.run(async move {
        theirs
            .request("cf.silent", HeaderMap::new(), Bytes::new(), LIMIT)
            .await
            .map(drop)
    });
    let Some(Err(Unanswered::Refused(refusal))) = answer.await else {
        panic!("it is refused");
    };
    assert_eq!(refusal.verb, RefusedVerb::Subscribe);
    listener.unsubscribe().await.expect("it is connected");
}

#[tokio::test]
async fn a_user_who_is_removed_is_reported_and_one_who_returns_connects_again() {
    let users = |name| format!("authorization {{ users: [ {{ user: {name}, password: b }} ] }}");
    let Some(mut server) = NatsServer::start(&users("a")) else {
        return;
    };
    let connection = connected_by_password(&server).await;
    let mut events = connection.events();
    server.restart_with(&users("other"));
    let failed = |event: &ConnectionEvent| match event {
        ConnectionEvent::Failed(why) => why.contains("authorization"),
        _ => false,
    };
    event(&mut events, failed).await;
    server.restart_with(&users("a"));
    reconnected(&connection, 1).await;
}

/// A stopped server is like a broken network: the connection does not end.
#[tokio::test]
async fn a_connection_to_a_silent_server_moves_to_another() {
    let (Some(one), Some(other)) = (NatsServer::start(""), NatsServer::start("")) else {
        return;
    };
    let settings = ConnectSettings {
        servers: format!("{},{}", one.url(), other.url()),
        ..settings_for(&one)
    };
    let connection = connect(settings).await.expect("a server");
    let port = || connection.client().server_info().port;
    let (silent, left) = match port() == one.port() {
        true => (one, other),
        false => (other, one),
    };
    silent.freeze();
    reconnected(&connection, 1).await;
    assert_eq!(port(), left.port());
    silent.resume();
}
