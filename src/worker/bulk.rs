//! The worker's ends of the rings. A worker that waits here for the parent has nothing else to do. If the
//! parent exits, the attendant ends the process, and so the wait.

use std::io;
use std::sync::Arc;

use super::inlet::invalid;
use super::log::Log;
use super::outbox::WorkerOutbox;
use crate::wire::Reader;
use crate::wire::bulk::{IncomingPayload, PayloadPart};
use crate::wire::message::{self, FromWorker};
use crate::wire::page::Page;
use crate::wire::ring::RingDirection;

/// Receives the large parts of calls.
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

    /// Parts of the next call come through the ring.
    pub(super) fn announce(&mut self, parts: Vec<PayloadPart>) {
        self.announced = Some(IncomingPayload::new(parts));
    }

    /// The whole payload of a call. `rest` came in the frame. It is read even if the call is no longer
    /// wanted, because the bytes of the next call follow.
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
                self.outbox
                    .send(|out| message::put(out, &FromWorker::Moved))?;
            }
            if moved.len == 0
                && let Some(wait) = ring.want_bytes(parts.missing())
            {
                log.flush()?; // Finished outcomes must not wait for this input.
                wait.block();
            }
        }
        let joined = parts.join(rest);
        joined.ok_or_else(|| invalid("the parent sent parts that do not fit the frame"))
    }
}
