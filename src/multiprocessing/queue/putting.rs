//! Puts an item into a queue: first its descriptors, then the item itself. Also the end by which descriptors are sent.

use std::io;
use std::sync::Arc;

use super::error::QueueError;
use super::ring::ItemHead;
use super::shared::SharedQueue;
use super::state::RingState;
use super::store::step;
use crate::multiprocessing::item::OutgoingItem;
use crate::multiprocessing::known::{Part, recognised};
use crate::multiprocessing::robust::lock::RobustGuard;
use crate::sys::{self, AsFd as _, BorrowedFd};
use crate::wire::descriptors::Descriptor;

/// Where the descriptors of items are sent. The getters of a split queue see when all copies are closed.
#[derive(Debug)]
pub(super) struct SendingEnd(pub(super) Descriptor);

impl SendingEnd {
    /// The known end of this process, if this is the same one.
    pub(super) fn recognised(end: Descriptor) -> Arc<Self> {
        let socket = Part::socket(&end);
        recognised(Self(end), socket, |_| Some(Vec::new()))
    }
}

impl SharedQueue {
    /// Puts an item, and its descriptors into `to`. `None` if there is no room.
    pub(super) fn put(
        &self,
        held: &mut RobustGuard<'_>,
        to: &Descriptor,
        item: &OutgoingItem<'_>,
    ) -> Option<Result<(), QueueError>> {
        let mut state = self.stored_state().load();
        if state.is_closed() {
            return Some(Err(QueueError::CLOSED));
        }
        if self.is_full(&state) {
            return None;
        }
        let mut head = ItemHead {
            len: item.head.len as u64,
            is_plain: item.head.is_plain,
            is_in_file: false,
            parcel: None,
        };
        if !item.beside.is_empty() {
            match self.send(&mut state, to, item) {
                Ok(true) => {
                    head.is_in_file = item.is_in_file;
                    head.parcel = Some(state.parcels);
                }
                _ if item.beside.len() == usize::from(item.is_in_file) => {} // The bytes go through the ring.
                Ok(false) => return None,
                Err(error) => return Some(Err(error.into())),
            }
        }
        if state.len() == 0 {
            held.announce();
        }
        let pieces = [item.value()].into_iter().filter(|_| !head.is_in_file);
        let done = self.ring().put(self.stored_state(), state, head, pieces);
        Some(done.map_err(QueueError::from))
    }

    /// Sends the descriptors of an item under a new number, before the item itself, so that no item is without them. If
    /// this process is killed in between, no item has that number. Returns false if the system accepts no more until
    /// another item is taken.
    fn send(
        &self,
        state: &mut RingState,
        to: &Descriptor,
        item: &OutgoingItem<'_>,
    ) -> io::Result<bool> {
        let beside: Vec<BorrowedFd<'_>> = item.beside.iter().map(|fd| fd.as_fd()).collect();
        state.parcels = state.parcels.wrapping_add(1);
        self.stored_state().commit(state);
        step();
        let sent = sys::send_packet(to, state.parcels, &beside)?;
        if !sent && state.len() == 0 {
            // Only packets of killed processes are left.
            self.drop_packets();
            return sys::send_packet(to, state.parcels, &beside);
        }
        Ok(sent)
    }
}
