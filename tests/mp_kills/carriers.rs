//! The objects that transfer values between processes: each kind of queue, and a pipe, behind one set of methods.

use concurrent_futures::multiprocessing::{Connection, Getter, JoinableQueue, Putter, Queue, pipe};
use serde::{Deserialize, Serialize};

/// One of the items of a sender, counted from 0. Some items contain an object.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Item {
    pub(super) who: u64,
    pub(super) number: u64,
    filler: String,
    object: Option<Queue<u64>>,
}

impl Item {
    pub(super) fn new(who: u64, number: u64, object: Option<&Queue<u64>>) -> Self {
        Self {
            who,
            number,
            filler: "x".repeat(filler(who, number)),
            object: object.filter(|_| number.is_multiple_of(7)).cloned(),
        }
    }

    /// Without filler, so it is not checked.
    pub(super) fn small(who: u64, number: u64) -> Self {
        Self {
            who,
            number,
            filler: String::new(),
            object: None,
        }
    }

    pub(super) fn check(&self) {
        assert_eq!(self.filler.len(), filler(self.who, self.number));
        if let Some(object) = &self.object {
            assert!(self.number.is_multiple_of(7) && object.capacity() == Some(3));
        }
    }
}

/// Mostly small, sometimes so large that a ring grows, or that the item is sent in a file or a stream.
fn filler(who: u64, number: u64) -> usize {
    match who.wrapping_mul(31).wrapping_add(number) % 100 {
        99 => 2_500_000,
        97.. => 300_000,
        88.. => 20_000,
        rest => rest as usize * 3,
    }
}

/// The sending end.
#[derive(Clone, Serialize, Deserialize)]
pub(super) enum To {
    Queue(Queue<Item>),
    Joinable(JoinableQueue<Item>),
    Putter(Putter<Item>),
    Pipe(Connection<Item, ()>),
}

/// The receiving end.
#[derive(Clone, Serialize, Deserialize)]
pub(super) enum From {
    Queue(Queue<Item>),
    Joinable(JoinableQueue<Item>),
    Getter(Getter<Item>),
    Pipe(Connection<(), Item>),
}

pub(super) type Way = (To, From);

pub(super) fn by_queue(queue: Queue<Item>) -> Way {
    (To::Queue(queue.clone()), From::Queue(queue))
}

pub(super) fn by_joinable_queue(queue: JoinableQueue<Item>) -> Way {
    (To::Joinable(queue.clone()), From::Joinable(queue))
}

pub(super) fn by_halves(queue: Queue<Item>) -> Way {
    let (putter, getter) = queue.split();
    (To::Putter(putter), From::Getter(getter))
}

pub(super) fn by_pipe() -> Way {
    let (to, from) = pipe().expect("a pipe");
    (To::Pipe(to), From::Pipe(from))
}

impl To {
    pub(super) fn blocking_send(&self, item: Item) {
        match self {
            Self::Queue(queue) => queue.blocking_put(item).expect("it is open"),
            Self::Joinable(queue) => queue.blocking_put(item).expect("it is open"),
            Self::Putter(putter) => putter.blocking_put(item).expect("it is open"),
            Self::Pipe(pipe) => pipe.blocking_send(item).expect("it is open"),
        }
    }

    pub(super) async fn send(&self, item: Item) {
        match self {
            Self::Queue(queue) => queue.put(item).await.expect("it is open"),
            Self::Joinable(queue) => queue.put(item).await.expect("it is open"),
            Self::Putter(putter) => putter.put(item).await.expect("it is open"),
            Self::Pipe(pipe) => pipe.send(item).await.expect("it is open"),
        }
    }

    /// Called when no task sends any more. Others may still have copies, which they no longer use.
    pub(super) async fn end(self) {
        match self {
            Self::Queue(queue) => queue.close().await,
            Self::Joinable(queue) => queue.close().await,
            Self::Putter(_) | Self::Pipe(_) => {} // Their ends are dropped.
        }
    }
}

impl From {
    /// The next item, or the end.
    pub(super) fn blocking_receive(&self) -> Option<Item> {
        match self {
            Self::Queue(queue) => of_queue(queue.blocking_get()),
            Self::Joinable(queue) => of_queue(queue.blocking_get()),
            Self::Getter(getter) => of_queue(getter.blocking_get()),
            Self::Pipe(pipe) => match pipe.blocking_recv() {
                Err(error) if error.is_closed() => None,
                received => Some(received.expect("it comes")),
            },
        }
    }

    pub(super) async fn receive(&self) -> Option<Item> {
        match self {
            Self::Queue(queue) => of_queue(queue.get().await),
            Self::Joinable(queue) => of_queue(queue.get().await),
            Self::Getter(getter) => of_queue(getter.get().await),
            Self::Pipe(pipe) => match pipe.recv().await {
                Err(error) if error.is_closed() => None,
                received => Some(received.expect("it comes")),
            },
        }
    }

    /// Marks the last item as done.
    pub(super) fn blocking_done(&self) {
        if let Self::Joinable(queue) = self {
            queue.blocking_task_done().expect("one was taken");
        }
    }

    pub(super) async fn done(&self) {
        if let Self::Joinable(queue) = self {
            queue.task_done().await.expect("one was taken");
        }
    }
}

fn of_queue(got: Result<Item, concurrent_futures::multiprocessing::QueueError>) -> Option<Item> {
    match got {
        Err(error) if error.is_closed() => None,
        got => Some(got.expect("it comes")),
    }
}
