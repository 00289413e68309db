//! A connection as a stream and a sink.

use std::pin::pin;

use concurrent_futures::ExecutorExt as _;
use concurrent_futures::multiprocessing::{Connection, ConnectionError, pipe};
use futures::{FutureExt as _, SinkExt as _, StreamExt as _, TryStreamExt as _};

use tokio::task::unconstrained;

use super::common::within;
use super::{one_way, pool};

#[tokio::test]
async fn a_stream_ends_when_the_other_end_closes() {
    let (to, from) = one_way();
    let sender = tokio::spawn(async move {
        for number in 0..1000_u64 {
            to.send(number).await.expect("it is received");
        }
    });
    let received: Vec<u64> = within(from.try_collect()).await.expect("all come");
    assert!(received.into_iter().eq(0..1000));
    within(sender).await.expect("it ends");
}

#[tokio::test]
async fn a_closed_sink_is_the_end_for_the_other_end_which_may_still_send() {
    let (mut one, other) = pipe::<Vec<u8>, u8>().expect("a pipe");
    let receiver = tokio::spawn(async move {
        let mut sizes = Vec::new();
        loop {
            match other.recv().await {
                Ok(value) => sizes.push(value.len()),
                Err(error) => {
                    assert!(error.is_closed(), "{error}");
                    other.send(7).await.expect("it is received");
                    return sizes;
                }
            }
        }
    });
    let sizes = [0, 10, 1 << 20, 70_000, 60_000];
    for size in sizes {
        one.feed(vec![1; size]).await.expect("it is received");
    }
    within(one.close()).await.expect("it is flushed");
    let error = one.try_send(vec![]).expect_err("it is closed");
    assert!(error.error().is_closed());
    assert_eq!(within(receiver).await.expect("it ends"), sizes);
    assert_eq!(within(one.recv()).await.expect("it comes"), 7);
    assert!(one.next().await.is_none());
}

/// Values that wait for room wait in the sink, one at a time.
#[tokio::test]
async fn a_sink_without_room_is_not_ready_and_loses_nothing() {
    let (mut to, from) = one_way();
    let mut count = 0_u64;
    while unconstrained(to.feed(count)).now_or_never().is_some() {
        count += 1;
    }
    assert!(count > 100, "there was room for {count}");
    assert!(to.flush().now_or_never().is_none());
    for number in 0..count - 1 {
        assert_eq!(from.try_recv().expect("it was sent"), number);
    }
    assert!(from.try_recv().expect_err("the last waits").is_empty());
    within(to.flush()).await.expect("there is room");
    assert_eq!(from.try_recv().expect("it was sent"), count - 1);
    within(to.send(count)).await.expect("there is room");
    assert_eq!(within(from.recv()).await.expect("it was sent"), count);
    assert!(from.try_recv().expect_err("that was all").is_empty());
}

#[tokio::test]
async fn both_halves_work_at_the_same_time_and_one_forwards_to_the_other() {
    async fn pass_on(one: Connection<Vec<u8>, Vec<u8>>) -> Result<(), ConnectionError> {
        let (to, from) = one.split();
        from.forward(to).await
    }
    let (one, other) = pipe().expect("a pipe");
    let echo = tokio::spawn(pass_on(other));
    let (mut to, from) = one.split();
    let sender = tokio::spawn(async move {
        for size in 0..200_usize {
            let value = vec![size as u8; size * 1000];
            to.send(value).await.expect("it is received");
        }
        to.close().await.expect("it is flushed");
    });
    let mut from = pin!(from.enumerate());
    let mut count = 0;
    while let Some((size, value)) = within(from.next()).await {
        assert!(value.expect("it comes") == vec![size as u8; size * 1000]);
        count += 1;
    }
    assert_eq!(count, 200);
    within(sender).await.expect("it ends");
    within(echo)
        .await
        .expect("it ends")
        .expect("it is closed at the end");
}

#[tokio::test]
async fn a_stream_of_answers_comes_from_a_worker() {
    fn squares(numbers: Connection<u64, u64>) {
        while let Ok(number) = numbers.blocking_recv() {
            numbers
                .blocking_send(number * number)
                .expect("it is received");
        }
    }
    let pool = pool(1);
    let (ours, theirs) = pipe().expect("a pipe");
    let task = pool.submit(squares, theirs);
    let (mut to, from) = ours.split();
    let sender = tokio::spawn(async move {
        let mut numbers = futures::stream::iter(0..5000).map(Ok);
        to.send_all(&mut numbers).await.expect("they are received");
        to.close().await.expect("it is flushed");
    });
    let all: Vec<u64> = within(from.try_collect()).await.expect("all come");
    assert!(all.into_iter().eq((0..5000).map(|number| number * number)));
    within(sender).await.expect("it ends");
    within(task).await.expect("it ends");
    within(pool.shutdown()).await;
}

/// A stream that has waited does not keep values from other receivers.
#[tokio::test]
async fn a_next_that_is_dropped_has_received_nothing() {
    let (to, mut from) = one_way();
    for number in 0..3 {
        assert!(from.next().now_or_never().is_none());
        to.send(number).await.expect("there is room");
        assert_eq!(within(from.recv()).await.expect("it was sent"), number);
        assert!(from.next().now_or_never().is_none());
        to.send(number + 10).await.expect("there is room");
        let next = within(from.next()).await.expect("it is open");
        assert_eq!(next.expect("it was sent"), number + 10);
    }
}

/// The first runtime still exists, but is not driven any more.
#[test]
fn a_stream_and_a_sink_go_on_in_another_runtime() {
    let runtimes = [(); 2].map(|()| {
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        runtime.enable_all().build().expect("a runtime")
    });
    let (mut to, mut from) = one_way();
    runtimes[0].block_on(async {
        assert!(from.next().now_or_never().is_none());
        let large = to.feed(vec![7_u8; 4 << 20]);
        assert!(large.now_or_never().is_some() && to.flush().now_or_never().is_none());
    });
    runtimes[1].block_on(async {
        let received = tokio::spawn(async move {
            let value = within(from.next()).await.expect("it is open");
            assert!(value.expect("it was sent") == vec![7; 4 << 20]);
            from.next().await.is_none()
        });
        within(to.flush()).await.expect("it is received");
        within(to.close()).await.expect("it is flushed");
        assert!(within(received).await.expect("it ends"));
    });
}
