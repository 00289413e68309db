//! The worker's ends of the rings. It has nothing else to do while it waits for the parent there; the
//! thread that watches for the parent's end ends such a wait too.

use std::io;
use std::sync::Arc;

use super::inlet::invalid;
use super::log::Log;
use super::outbox::WorkerOutbox;
use crate::wire::Reader;
use crate::wire::bulk::{IncomingPayload, PayloadPart};
use crate::wire::message;
use crate::wire::page::Page;
use crate::wire::ring::RingDirection;

/// Where the large parts of calls come in.
#[derive(Debug)]
pub(super) struct Dock {
    page: Arc<Page>,
    outbox: Arc<WorkerOutbox>,
    announced: Option<IncomingPayload>,
}

impl Dock {
    pub(super) fn new(page: Arc<Page>, outbox: Arc<WorkerOutbox>) -> Self {
        let announced = None;
        Self {
            page,
            outbox,
            announced,
        }
    }

    /// Parts of the next call come by the ring.
    pub(super) fn announce(&mut self, parts: Vec<PayloadPart>) {
        self.announced = Some(IncomingPayload::new(parts));
    }

    /// The whole payload of a call of which `rest` came in the frame. It is read whether the call is
    /// wanted or not: what belongs to the next one comes behind it.
    pub(super) fn complete(&mut self, rest: Reader, log: &mut Log) -> io::Result<Reader> {
        let mut spare = log.take_spare();
        let Some(mut parts) = self.announced.take() else {
            return Ok(rest); // The task may need the memory of the spare buffer.
        };
        parts.use_spare(&mut spare);
        let ring = self.page.ring(RingDirection::ToWorker);
        while parts.missing() > 0 {
            let moved = parts.take(ring)?;
            if moved.is_awaited {
                self.outbox.send(message::put_moved)?;
            }
            if moved.len == 0
                && let Some(wait) = ring.want_bytes(parts.missing())
            {
                log.flush()?; // What is done is not to wait for what comes.
                wait.block();
            }
        }
        let joined = parts.join(rest);
        joined.ok_or_else(|| invalid("the parent sent parts that do not fit"))
    }
}
