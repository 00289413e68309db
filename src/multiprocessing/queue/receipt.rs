//! [`Receipt`]: the name of one taken item, which any process may mark as done.

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::error::QueueError;
use super::holders::ItemPlace;
use super::shared::SharedQueue;

/// Names an item that was taken from a [`JoinableQueue`](super::JoinableQueue). It is plain data, which can be sent to
/// another process in any way.
///
/// Dropping it does nothing: the item stays unfinished until the process that has it ends.
///
/// # Platform
/// Linux.
#[derive(Debug, PartialEq, Eq)]
pub struct Receipt {
    queue: u64,
    place: ItemPlace,
}

impl Receipt {
    pub(super) fn of(queue: &SharedQueue, place: ItemPlace) -> Self {
        let queue = queue.number();
        Self { queue, place }
    }

    /// The place of its item. Fails if it is the receipt of another queue.
    pub(super) fn in_queue(&self, queue: &SharedQueue) -> Result<ItemPlace, QueueError> {
        if self.queue == queue.number() {
            Ok(self.place)
        } else {
            Err(QueueError::NOTHING_TAKEN)
        }
    }
}

impl Serialize for Receipt {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        (self.queue, self.place.place, self.place.number).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Receipt {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let (queue, place, number) = Deserialize::deserialize(deserializer)?;
        let place = ItemPlace { place, number };
        Ok(Self { queue, place })
    }
}
