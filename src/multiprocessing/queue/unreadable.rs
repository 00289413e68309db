//! An item that a process took with a receipt and cannot decode. It is marked as done. Otherwise `join` would wait for
//! it as long as that process runs, since no one has its receipt.

use std::sync::Arc;

use super::error::QueueError;
use super::holders::ItemPlace;
use super::shared::SharedQueue;
use crate::home::start_thread;
use crate::multiprocessing::waiting::driver::Driver;

pub(super) struct UnreadableItem {
    queue: Arc<SharedQueue>,
    /// `None` once it is done.
    place: Option<ItemPlace>,
}

impl UnreadableItem {
    pub(super) fn new(queue: &Arc<SharedQueue>, place: ItemPlace) -> Self {
        Self {
            queue: queue.clone(),
            place: Some(place),
        }
    }

    pub(super) async fn done<D: Driver>(mut self, driver: &D) -> Result<(), QueueError> {
        let (queue, place) = (self.queue.clone(), &mut self.place);
        let done = queue.locked(driver, |held| {
            let place = place.take();
            place.map_or(Ok(()), |place| queue.item_done(held, place))
        });
        done.await
    }
}

impl Drop for UnreadableItem {
    /// The receiver was dropped while it waited for the lock. A task must not block, so a thread waits.
    fn drop(&mut self) {
        let Some(place) = self.place.take() else {
            return;
        };
        let mark = |(queue, place): (Arc<SharedQueue>, ItemPlace)| {
            // An error: it is done, or the queue is damaged.
            let _ = queue.blocking_locked(|held| queue.item_done(held, place));
        };
        let started = start_thread("cf-queue", (self.queue.clone(), place), mark);
        if let Err((Some(unmarked), _)) = started {
            mark(unmarked); // The lock is held for short times only.
        }
    }
}

#[cfg(all(test, target_os = "linux", not(properties)))]
mod tests {
    use std::sync::mpsc::{Receiver, Sender, channel};
    use std::sync::{Mutex, PoisonError};
    use std::time::Duration;

    use futures::FutureExt as _;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use super::super::{JoinableQueue, SharedQueue};

    /// Called when an item is decoded.
    static ON_DECODE: Mutex<Option<Box<dyn FnOnce() + Send>>> = Mutex::new(None);

    #[derive(Debug)]
    struct Unreadable;

    impl Serialize for Unreadable {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            serializer.serialize_unit()
        }
    }

    impl<'de> Deserialize<'de> for Unreadable {
        fn deserialize<D: Deserializer<'de>>(_: D) -> Result<Self, D::Error> {
            let mut on_decode = ON_DECODE.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(on_decode) = on_decode.take() {
                on_decode();
            }
            Err(serde::de::Error::custom("it cannot be read"))
        }
    }

    /// Holds the lock of the queue in a thread, until `release`.
    fn hold(queue: &SharedQueue, held: &Sender<()>, release: &Receiver<()>) {
        queue.blocking_locked(|_| {
            held.send(()).expect("the test waits");
            release.recv().expect("the test releases it");
        });
    }

    #[tokio::test]
    async fn an_item_that_cannot_be_decoded_is_done_though_its_receiver_is_dropped() {
        let queue = JoinableQueue::unbounded().expect("a queue");
        queue.put(Unreadable).await.expect("there is room");
        let ((is_held, held), (release, released)) = (channel(), channel());
        let shared = queue.shared.clone();
        *ON_DECODE.lock().expect("no panic") = Some(Box::new(move || {
            std::thread::spawn(move || hold(&shared, &is_held, &released));
            held.recv().expect("it takes the lock");
        }));
        let received = queue.get_with_receipt().now_or_never();
        assert!(received.is_none(), "it waits for the lock, and is dropped");
        release.send(()).expect("it waits");
        let joined = tokio::time::timeout(Duration::from_secs(30), queue.join());
        assert_eq!(joined.await.expect("no item is left"), 0);
    }
}
