//! Values that contain shared objects, whose descriptors are sent with the bytes.

use std::collections::BTreeSet;
use std::time::Duration;

use concurrent_futures::multiprocessing::{Connection, Queue, pipe};
use concurrent_futures::{ExecutorExt as _, ProcessPoolExecutor};
use futures::FutureExt as _;
use serde::{Deserialize, Serialize};

use super::alone::{alone, descriptors};
use super::common::{eventually, within};
use super::{TIME_LIMIT, one_way, pool};

/// A question, and the queue for its answer.
#[derive(Debug, Serialize, Deserialize)]
struct Question {
    number: u64,
    /// Makes some questions so large that they are sent by streams.
    filler: String,
    answer: Connection<u64, ()>,
}

#[tokio::test]
async fn a_connection_travels_through_a_connection() {
    fn answer(questions: Connection<(), Question>) {
        for _ in 0..100 {
            let asked = questions
                .blocking_recv_timeout(TIME_LIMIT)
                .expect("it comes");
            assert_eq!(asked.filler.len() > 1000, asked.number.is_multiple_of(10));
            let sent = asked.answer.blocking_send(asked.number + 1);
            sent.expect("it is received");
        }
    }
    let pool = pool(1);
    let (questions, theirs) = one_way();
    let task = pool.submit(answer, theirs);
    for number in 0..100 {
        let (answer, from) = one_way();
        let len = if number % 10 == 0 { 300_000 } else { 10 };
        let question = Question {
            number,
            filler: "x".repeat(len),
            answer,
        };
        within(questions.send(question))
            .await
            .expect("it is received");
        assert_eq!(within(from.recv()).await.expect("it comes"), number + 1);
        let end = within(from.recv()).await;
        assert!(end.expect_err("it is dropped").is_closed());
    }
    within(task).await.expect("it ends");
    within(pool.shutdown()).await;
}

#[tokio::test]
async fn a_connection_is_an_item_of_a_queue_and_an_argument_of_an_initializer() {
    fn greet(to: Connection<u32, ()>) {
        to.blocking_send(std::process::id())
            .expect("it is received");
    }
    fn answer(questions: Queue<Connection<u32, u32>>) {
        let asked = questions.blocking_get().expect("it comes");
        let number = asked.blocking_recv().expect("it comes");
        asked.blocking_send(number + 1).expect("it is received");
    }
    let (to, from) = one_way();
    let pool = ProcessPoolExecutor::builder()
        .max_workers(1)
        .initializer(greet, to);
    let pool = pool.build().expect("the settings are valid");
    let questions = Queue::unbounded().expect("a queue");
    let task = pool.submit(answer, questions.clone());
    assert!(within(from.recv()).await.expect("it comes") > 0);
    let (ours, theirs) = pipe().expect("a pipe");
    questions.put(theirs).await.expect("there is room");
    ours.send(7).await.expect("there is room");
    assert_eq!(within(ours.recv()).await.expect("it comes"), 8);
    within(task).await.expect("it ends");
    assert!(
        within(ours.recv())
            .await
            .expect_err("it is closed")
            .is_closed()
    );
    within(pool.shutdown()).await;
}

/// An end that is in its own pipe, and nowhere else, has no owner.
#[test]
fn objects_in_a_pipe_go_with_it_and_leave_no_descriptor() {
    #[derive(Debug, Serialize, Deserialize)]
    struct Holder(Connection<Holder, Holder>);

    alone(
        "objects::objects_in_a_pipe_go_with_it_and_leave_no_descriptor",
        async || {
            let before = descriptors().len();
            let (inner, end) = pipe::<u8, u8>().expect("a pipe");
            let (to, from) = one_way();
            for _ in 0..20 {
                to.try_send(vec![inner.clone(); 3]).expect("there is room");
            }
            for _ in 0..7 {
                assert_eq!(from.try_recv().expect("it is there").len(), 3);
            }
            drop((to, from, inner));
            assert!(
                within(end.recv())
                    .await
                    .expect_err("it is closed")
                    .is_closed()
            );
            let (one, other) = pipe().expect("a pipe");
            one.try_send(Holder(other.clone())).expect("there is room");
            other.try_send(Holder(one.clone())).expect("there is room");
            drop((one, other, end));
            assert_eq!(descriptors().len(), before, "{:?}", descriptors());
        },
    );
}

#[test]
fn more_objects_than_travel_together_are_refused_and_handed_back() {
    let (to, from) = one_way();
    let (inner, _other) = pipe::<u8, u8>().expect("a pipe");
    to.try_send(vec![inner.clone(); 250])
        .expect("they travel together");
    let error = to.try_send(vec![inner; 260]).expect_err("they do not");
    assert!(error.error().is_too_large(), "{error}");
    assert_eq!(error.into_inner().len(), 260);
    assert_eq!(from.try_recv().expect("it is there").len(), 250);
}

/// Limits this process to `more` descriptors more than it has.
fn allow(more: usize, body: impl FnOnce()) {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let taken: BTreeSet<i32> = descriptors().into_iter().map(|(fd, _)| fd).collect();
    let mut free = (0..).filter(|fd| !taken.contains(fd));
    let before = getrlimit(Resource::Nofile);
    let mut few = before;
    few.current = free.nth(more).map(|fd| fd as u64);
    setrlimit(Resource::Nofile, few).expect("it can be lowered");
    body();
    setrlimit(Resource::Nofile, before).expect("it can be put back");
}

#[test]
fn without_descriptors_a_large_value_stays_with_its_sender() {
    fn send_large(to: Connection<Vec<u8>, ()>) {
        let sent = to.blocking_send(vec![7_u8; 1 << 20]);
        sent.expect("it is received");
    }
    alone(
        "objects::without_descriptors_a_large_value_stays_with_its_sender",
        async || {
            let pool = pool(1);
            within(pool.submit(std::process::id, ()))
                .await
                .expect("it runs");
            let before = descriptors().len();
            let (to, from) = one_way();
            let task = pool.submit(send_large, to);
            // Settled once the pool has dropped the other end.
            let is_settled = || descriptors().len() == before + 1;
            eventually(|| task.is_running() && is_settled()).await;
            eventually(|| from.poll(Duration::ZERO).now_or_never() == Some(true)).await;
            allow(0, || {
                for _ in 0..3 {
                    let error = loop {
                        match from.try_recv() {
                            Err(error) if error.is_empty() => std::thread::yield_now(),
                            received => break received.expect_err("there is no descriptor"),
                        }
                    };
                    assert!(error.is_no_space(), "{error}");
                }
            });
            assert!(within(from.recv()).await.expect("it comes") == vec![7; 1 << 20]);
            within(task).await.expect("it is received");
            within(pool.shutdown()).await;
        },
    );
}

#[test]
fn without_descriptors_objects_are_lost_and_an_error_says_so() {
    alone(
        "objects::without_descriptors_objects_are_lost_and_an_error_says_so",
        async || {
            let (to, from) = one_way();
            let (inner, other) = pipe::<u8, u8>().expect("a pipe");
            to.try_send(vec![inner; 20]).expect("there is room");
            to.try_send(vec![]).expect("there is room");
            allow(3, || {
                let error = from.try_recv().expect_err("there are too few");
                assert!(error.is_no_space(), "{error}");
                let error = other.try_recv().expect_err("they are lost");
                assert!(error.is_closed(), "{error}");
                assert!(from.try_recv().expect("it is there").is_empty());
            });
        },
    );
}

/// A wait needs a descriptor for tokio to watch. Without one, the waiter checks at intervals.
#[test]
fn without_descriptors_a_wait_still_ends() {
    alone(
        "objects::without_descriptors_a_wait_still_ends",
        async || {
            let (to, from) = one_way();
            let (waiter, thread) = (from.clone(), from.clone());
            let thread = tokio::task::spawn_blocking(move || {
                let first = thread.blocking_recv_timeout(TIME_LIMIT);
                first.expect("it comes")
            });
            let mut waits = Box::pin(async move { waiter.recv().await.expect("it comes") });
            allow(0, || {
                let handle = tokio::runtime::Handle::current();
                let sent = std::thread::spawn(move || {
                    for number in [1, 2] {
                        to.blocking_send(number).expect("there is room");
                        std::thread::yield_now();
                    }
                });
                tokio::task::block_in_place(|| {
                    let one = handle.block_on(within(&mut waits));
                    let other = handle.block_on(within(thread)).expect("it ends");
                    assert_eq!(one + other, 3);
                });
                sent.join().expect("it ends");
            });
        },
    );
}
