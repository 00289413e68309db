//! A client and a listener that belong together.

use std::sync::Arc;

use concurrent_futures::multiprocessing::{Client, Connection, Listener, Lock, Queue};
use futures::future::{join, join_all};

use super::alone::{alone, descriptors};
use super::common::{in_thread, within};
use super::{Accepted, KEY, Place, SOON, TIME_LIMIT};

#[tokio::test]
async fn two_ends_that_know_the_key_exchange_values_and_objects() {
    let place = Place::new();
    let listener = place.listener();
    let client = place.client();
    type Offer = (Lock, Queue<String>);
    let (accepted, connected) = within(join(
        listener.accept::<u32, Offer>(),
        client.connect::<Offer, u32>(),
    ))
    .await;
    let (ours, theirs) = (accepted.expect("a client"), connected.expect("a listener"));
    let (lock, queue) = (
        Lock::new().expect("a lock"),
        Queue::unbounded().expect("a queue"),
    );
    let guard = lock.lock().await;
    theirs
        .send((lock.clone(), queue.clone()))
        .await
        .expect("there is room");
    let (received, to) = within(ours.recv()).await.expect("it was sent");
    assert!(received.try_lock().is_none(), "it is the same lock");
    drop(guard);
    assert!(received.try_lock().is_some());
    to.put("text".to_owned()).await.expect("there is room");
    assert_eq!(queue.get().await.expect("it was put"), "text");
    ours.send(7).await.expect("there is room");
    assert_eq!(within(theirs.recv()).await.expect("it was sent"), 7);
    // Dropping the listener does not end its connections.
    drop(listener);
    ours.send(8).await.expect("there is room");
    assert_eq!(within(theirs.recv()).await.expect("it was sent"), 8);
    drop(ours);
    assert!(
        within(theirs.recv())
            .await
            .expect_err("it is closed")
            .is_closed()
    );
    assert_eq!(
        client
            .connect::<u8, u8>()
            .await
            .map(drop)
            .expect_err("it is gone")
            .to_string()
            .matches("no program listens")
            .count(),
        1
    );
}

#[tokio::test]
async fn threads_meet_too() {
    let place = Place::new();
    let (listener, client) = (place.listener(), place.client());
    let server = in_thread(move || {
        let accepted: Accepted = listener.blocking_accept_timeout(TIME_LIMIT);
        let connection = accepted.expect("a client");
        let number = connection.blocking_recv().expect("it comes");
        connection
            .blocking_send(number + 1)
            .expect("it is received");
        let late: Accepted = listener.blocking_accept_timeout(SOON);
        assert!(late.expect_err("no other comes").is_timed_out());
    });
    let number = in_thread(move || {
        let connection: Connection<u32, u32> = client.blocking_connect().expect("it listens");
        connection.blocking_send(1).expect("it is received");
        connection.blocking_recv().expect("it comes")
    });
    let ((), number) = within(join(server, number)).await;
    assert_eq!(number, 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_of_many_clients_meets_one_of_many_acceptors() {
    const MANY: u32 = 60;
    let place = Place::new();
    let listener = Arc::new(place.listener());
    let servers = (0..MANY).map(|_| {
        let listener = listener.clone();
        tokio::spawn(async move {
            let accepted: Accepted = listener.accept().await;
            let connection = accepted.expect("a client");
            let number = connection.recv().await.expect("it comes");
            connection.send(number).await.expect("it is received");
            number
        })
    });
    let servers: Vec<_> = servers.collect();
    let clients = (0..MANY).map(|number| {
        let client = place.client();
        tokio::spawn(async move {
            let connection: Connection<u32, u32> = client.connect().await.expect("it listens");
            connection.send(number).await.expect("it is received");
            assert_eq!(connection.recv().await.expect("it comes"), number);
        })
    });
    let clients: Vec<_> = clients.collect();
    for client in within(join_all(clients)).await {
        client.expect("it meets one");
    }
    let met = within(join_all(servers)).await;
    let mut met: Vec<_> = met.into_iter().map(|met| met.expect("it ends")).collect();
    met.sort_unstable();
    assert!(met.into_iter().eq(0..MANY));
    assert_eq!(listener.refused(), 0);
}

/// The next `accept` continues the handshake.
#[tokio::test]
async fn an_accept_that_is_dropped_loses_no_client() {
    let place = Place::new();
    let (listener, client) = (place.listener(), place.client());
    let connecting = tokio::spawn(async move { client.connect::<u32, u32>().await });
    for _ in 0..200 {
        // It is dropped at each point where it waits, and the client may take a step.
        let accepting = listener.accept::<u32, u32>();
        tokio::select! {
            biased;
            () = tokio::task::yield_now() => {}
            accepted = accepting => {
                drop(accepted.expect("a client"));
                within(connecting).await.expect("it ends").expect("it was accepted");
                return;
            }
        }
    }
    drop(
        within(listener.accept::<u32, u32>())
            .await
            .expect("a client"),
    );
    within(connecting)
        .await
        .expect("it ends")
        .expect("it was accepted");
}

#[tokio::test]
async fn blocking_calls_panic_in_a_task() {
    let place = Place::new();
    let listener = Arc::new(place.listener());
    type Call = fn(&Listener, &Client);
    let calls: [Call; 3] = [
        |listener, _| drop(listener.blocking_accept::<u8, u8>()),
        |listener, _| drop(listener.blocking_accept_timeout::<u8, u8>(SOON)),
        |_, client| drop(client.blocking_connect::<u8, u8>()),
    ];
    for call in calls {
        let (listener, client) = (listener.clone(), place.client());
        let task = tokio::spawn(async move { call(&listener, &client) });
        assert!(task.await.expect_err("it panics").is_panic());
    }
}

#[test]
fn a_listener_and_its_clients_leave_no_descriptor() {
    let test = "meeting::a_listener_and_its_clients_leave_no_descriptor";
    alone(test, async || {
        let mut before = usize::MAX;
        for round in 0..3 {
            let place = Place::new();
            let listener = place.listener();
            for key in [KEY, "another", KEY] {
                let client = Client::new(place.path(), key);
                let accepting = listener.accept::<u8, u8>();
                let connecting = client.connect::<u8, u8>();
                if key == KEY {
                    let (accepted, connected) = within(join(accepting, connecting)).await;
                    drop((accepted.expect("a client"), connected.expect("a listener")));
                } else {
                    tokio::select! {
                        connected = within(connecting) => drop(connected.expect_err("another key")),
                        _ = accepting => unreachable!("no client has the key"),
                    }
                }
            }
            drop((listener, place));
            let open = descriptors().len();
            assert!(round == 0 || open == before, "{:?}", descriptors());
            before = open;
        }
    });
}
