//! Items that contain shared objects, whose descriptors are sent with the bytes.

use concurrent_futures::ExecutorExt as _;
use concurrent_futures::multiprocessing::{JoinableQueue, Queue};
use futures::FutureExt as _;
use serde::{Deserialize, Serialize};

use super::alone::{alone, descriptors};
use super::common::within;
use super::{TIME_LIMIT, pool};

/// A question, and the queue for its answer.
#[derive(Debug, Serialize, Deserialize)]
struct Question {
    number: u64,
    /// Makes some questions so large that they are sent in a file.
    filler: String,
    answer: Queue<u64>,
}

fn question(number: u64, answer: &Queue<u64>) -> Question {
    let len = if number.is_multiple_of(10) {
        2_500_000
    } else {
        10
    };
    Question {
        number,
        filler: "x".repeat(len),
        answer: answer.clone(),
    }
}

#[tokio::test]
async fn a_queue_travels_through_a_queue() {
    fn answer(questions: Queue<Question>) {
        for _ in 0..50 {
            let asked = questions
                .blocking_get_timeout(TIME_LIMIT)
                .expect("it comes");
            assert_eq!(asked.filler.len() > 1000, asked.number.is_multiple_of(10));
            let put = asked.answer.blocking_put(asked.number + 1);
            put.expect("there is room");
        }
    }
    let pool = pool(2);
    let questions = Queue::unbounded().expect("a queue");
    let answer_from = [(); 2].map(|()| Queue::unbounded().expect("a queue"));
    let tasks = [(); 2].map(|()| pool.submit(answer, questions.clone()));
    for number in 0..100 {
        let answer = &answer_from[number as usize % 2];
        questions
            .put(question(number, answer))
            .await
            .expect("there is room");
    }
    for (at, from) in answer_from.iter().enumerate() {
        let mut answers = Vec::new();
        for _ in 0..50 {
            answers.push(within(from.get()).await.expect("it comes"));
        }
        answers.sort_unstable();
        assert!(
            answers
                .into_iter()
                .eq((0..50).map(|n| 2 * n + at as u64 + 1))
        );
    }
    for task in tasks {
        within(task).await.expect("it ends");
    }
    within(pool.shutdown()).await;
}

/// A queue that is only in itself has no owner.
#[test]
fn objects_in_a_queue_go_with_it_and_leave_no_descriptor() {
    alone(
        "objects::objects_in_a_queue_go_with_it_and_leave_no_descriptor",
        async || {
            let before = descriptors().len();
            let queue = Queue::unbounded().expect("a queue");
            let inner = Queue::unbounded().expect("a queue");
            for number in 0..20 {
                queue
                    .put(question(number, &inner))
                    .await
                    .expect("there is room");
            }
            for _ in 0..7 {
                queue.get().await.expect("it is there");
            }
            drop((queue, inner));
            let itself = Queue::<Holder>::unbounded().expect("a queue");
            itself
                .try_put(Holder(itself.clone()))
                .expect("there is room");
            drop(itself);
            assert_eq!(descriptors().len(), before, "{:?}", descriptors());
        },
    );
}

#[derive(Debug, Serialize, Deserialize)]
struct Holder(Queue<Holder>);

/// The system limits how many descriptors are in transit at once. A further put waits until one is taken.
#[tokio::test]
async fn a_queue_full_of_objects_has_room_again_when_one_is_taken() {
    let queue = Queue::unbounded().expect("a queue");
    let inner = Queue::unbounded().expect("a queue");
    let mut count = 0;
    let refused = loop {
        match queue.try_put(question(count, &inner)) {
            Ok(()) => count += 1,
            Err(error) => break error,
        }
    };
    assert!(refused.error().is_full(), "{refused}");
    assert_eq!(refused.into_inner().number, count);
    assert!(count > 50, "there was room for {count}");
    let mut put = Box::pin(queue.put(question(count, &inner)));
    assert!(put.as_mut().now_or_never().is_none());
    for number in 0..count / 2 {
        assert_eq!(queue.try_get().expect("it is there").number, number);
    }
    within(put).await.expect("there is room");
    for number in count / 2..=count {
        let item = queue.try_get().expect("it is there");
        assert_eq!(item.number, number);
        item.answer.try_put(number).expect("there is room");
    }
    assert_eq!(inner.len() as u64, count - count / 2 + 1);
}

/// Large items need a descriptor each, but do without it if there is no room for one.
#[test]
fn large_items_have_room_where_objects_have_none() {
    let queue = Queue::unbounded().expect("a queue");
    let inner = Queue::<u8>::unbounded().expect("a queue");
    let mut objects = 0;
    while queue.try_put((vec![inner.clone()], Vec::new())).is_ok() {
        objects += 1;
    }
    let large = |number: u8| vec![number; 3 << 20];
    for number in 0..5 {
        let put = queue.try_put((Vec::new(), large(number)));
        put.expect("there is room");
    }
    for _ in 0..objects {
        let (object, bytes) = queue.try_get().expect("it is there");
        assert!(object.len() == 1 && bytes.is_empty());
    }
    for number in 0..5 {
        let (object, bytes) = queue.try_get().expect("it is there");
        assert!(object.is_empty() && bytes == large(number));
    }
}

#[test]
fn more_objects_than_travel_together_are_refused_and_handed_back() {
    let queue = Queue::unbounded().expect("a queue");
    let inner = Queue::<u8>::unbounded().expect("a queue");
    queue
        .try_put(vec![inner.clone(); 60])
        .expect("they travel together");
    let error = queue.try_put(vec![inner; 100]).expect_err("they do not");
    assert!(error.error().is_too_large());
    assert_eq!(error.into_inner().len(), 100);
    assert_eq!(queue.try_get().expect("it is there").len(), 60);
}

#[test]
fn without_descriptors_an_item_stays_where_it_is() {
    alone(
        "objects::without_descriptors_an_item_stays_where_it_is",
        async || {
            use rustix::process::{Resource, getrlimit, setrlimit};
            let queue = Queue::unbounded().expect("a queue");
            queue
                .try_put(vec![Queue::<u8>::unbounded().expect("a queue"); 20])
                .expect("there is room");
            let before = getrlimit(Resource::Nofile);
            let mut few = before;
            few.current = Some(descriptors().len() as u64 + 10);
            setrlimit(Resource::Nofile, few).expect("it can be lowered");
            for _ in 0..3 {
                let error = queue.try_get().expect_err("there are too few");
                assert!(error.is_no_space(), "{error}");
                assert_eq!(queue.len(), 1);
            }
            setrlimit(Resource::Nofile, before).expect("it can be put back");
            assert_eq!(queue.try_get().expect("it is there").len(), 20);
        },
    );
}

#[test]
fn a_queue_that_cannot_be_joined_is_not_taken_for_one_that_can() {
    #[derive(Debug, Serialize, Deserialize)]
    enum Object {
        Plain(Queue<u8>),
        Joinable(JoinableQueue<u8>),
    }
    let queue = Queue::unbounded().expect("a queue");
    let joinable = JoinableQueue::unbounded().expect("a queue");
    queue
        .try_put(Object::Plain(Queue::unbounded().expect("a queue")))
        .expect("there is room");
    queue
        .try_put(Object::Joinable(joinable.clone()))
        .expect("there is room");
    assert!(matches!(queue.try_get(), Ok(Object::Plain(_))));
    match queue.try_get().expect("it is there") {
        Object::Joinable(same) => same.try_put(3).expect("there is room"),
        Object::Plain(_) => panic!("it was joinable"),
    }
    assert_eq!(joinable.unfinished(), 1);
}
