//! The server republishes only the records that it stores, so a client never receives a late outcome.

use async_nats::HeaderMap;
use futures::StreamExt as _;
use tokio::time::timeout;

use super::*;

#[tokio::test]
async fn a_client_receives_each_stored_record_with_its_sequence_and_no_refused_one() {
    let Some(server) = NatsServer::start("") else {
        return;
    };
    let connection = with_queue(&server, &QueueSettings::new()).await;
    let theirs = connection.clone();
    let received = connection.run(async move {
        let client = theirs.client().clone();
        let mut received = client
            .subscribe(names().stored_records_of("me"))
            .await
            .expect("connected");
        let subject = names().record("me", 7);
        let swap = async |expected: &str, ttl: Option<&str>, body: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert("Nats-Expected-Last-Subject-Sequence", expected);
            if let Some(ttl) = ttl {
                headers.insert("Nats-TTL", ttl);
            }
            let published =
                theirs
                    .jetstream()
                    .publish_with_headers(subject.clone(), headers, body.into());
            published
                .await
                .expect("sent")
                .await
                .map(|ack| ack.sequence)
                .ok()
        };
        let claim = swap("0", None, "claim").await.expect("the first");
        assert_eq!(swap("0", None, "late claim").await, None);
        let outcome = swap(&claim.to_string(), Some("600s"), "outcome")
            .await
            .expect("its claim is there");
        assert_eq!(
            swap(&claim.to_string(), Some("600s"), "late outcome").await,
            None
        );
        let mut all = Vec::new();
        for expected in [claim, outcome] {
            let message = timeout(LIMIT, received.next())
                .await
                .expect("a message")
                .expect("open");
            let name = names()
                .parse_stored_record(&message.subject)
                .expect("a record");
            assert_eq!((&*name.client, name.number), ("me", 7));
            let headers = message.headers.expect("the server adds some");
            let sequence = headers.get("Nats-Sequence").expect("it is stored").as_str();
            assert_eq!(sequence, expected.to_string());
            all.push(message.payload);
        }
        // No other message is in flight: the next one is sent now.
        client
            .publish(
                names().stored_records_of("me").replace('*', "8"),
                "last".into(),
            )
            .await
            .expect("connected");
        all.push(
            timeout(LIMIT, received.next())
                .await
                .expect("a message")
                .expect("open")
                .payload,
        );
        all
    });
    assert_eq!(received.await.expect("open"), ["claim", "outcome", "last"]);
}
