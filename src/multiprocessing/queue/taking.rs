//! Takes an item out of a queue, with the descriptors that were sent for it.

use std::io;

use super::error::QueueError;
use super::holders::Entry;
use super::shared::{MOST_PACKETS, SharedQueue};
use super::store::step;
use crate::multiprocessing::item::IncomingItem;
use crate::multiprocessing::robust::lock::RobustGuard;
use crate::sys;
use crate::wire::CodecError;
use crate::wire::descriptors::Descriptor;

impl SharedQueue {
    /// Takes the first item. `None` while there is none.
    pub(super) fn take(
        &self,
        held: &mut RobustGuard<'_>,
        item: &mut IncomingItem,
    ) -> Option<Result<(), QueueError>> {
        self.take_as(held, item, Entry::Counted)
    }

    /// Like [`take`](Self::take), and records the item as `entry` says, if items are counted.
    pub(super) fn take_as(
        &self,
        held: &mut RobustGuard<'_>,
        item: &mut IncomingItem,
        entry: Entry<'_>,
    ) -> Option<Result<(), QueueError>> {
        self.try_take(held, item, entry).transpose()
    }

    fn try_take(
        &self,
        held: &mut RobustGuard<'_>,
        item: &mut IncomingItem,
        entry: Entry<'_>,
    ) -> Result<Option<()>, QueueError> {
        let state = self.stored_state().load();
        let mut ring = self.ring();
        let Some(head) = ring.first(&state)? else {
            // Checked under the lock: no process puts an item between the two checks.
            return if self.is_closed(&state) {
                Err(QueueError::ENDED)
            } else {
                Ok(None)
            };
        };
        ring.read(&state, &head, &mut item.bytes)?;
        item.is_plain = head.is_plain;
        let (mut was_found, mut is_missing) = (false, false);
        if let Some(number) = head.parcel {
            match self.find(number)? {
                Some(found) => (item.beside, was_found) = (found, true),
                None => is_missing = true,
            }
            if head.is_in_file {
                let file = item.beside.pop();
                let file = file.filter(|file| sys::check_reserved(file, head.len).is_ok());
                is_missing |= file.is_none();
                // Allocates its memory first: without memory, the item must stay.
                sys::enlarge(
                    &mut item.bytes,
                    file.as_ref().map_or(0, |_| head.len as usize),
                )?;
                item.file = file.map(|file| (file, head.len));
            }
        }
        if head.parcel.is_some() || self.is_full(&state) {
            held.announce();
        }
        if self.counts_done {
            self.enter(held, &state, entry)?;
        }
        ring.pass(self.stored_state(), state, &head)?;
        if was_found {
            step(); // If the packet stays, the search for a later one drops it.
            sys::drop_packet(&self.from);
        }
        if is_missing {
            return Err(CodecError::new("a descriptor of the item is missing or invalid").into());
        }
        Ok(Some(()))
    }

    /// Copies of the descriptors that were sent under this number. Earlier packets are from killed processes.
    fn find(&self, number: u64) -> io::Result<Option<Vec<Descriptor>>> {
        let from = &self.from;
        for _ in 0..MOST_PACKETS {
            let Some(next) = sys::next_packet(from)?.filter(|next| *next <= number) else {
                break;
            };
            if next == number {
                let found = sys::descriptors_of_next_packet(from)?;
                return Ok(Some(found.into_iter().map(Descriptor::from).collect()));
            }
            sys::drop_packet(from);
        }
        Ok(None)
    }
}
