//! One end of a pipe in this process.

use super::inbox::PipeInbox;
use super::outbox::PipeOutbox;
use crate::wire::descriptors::Descriptor;

/// An end, as one process sees it.
#[derive(Debug)]
pub(super) struct ConnectionEnd {
    pub(super) socket: Descriptor,
    pub(super) outbox: PipeOutbox,
    pub(super) inbox: PipeInbox,
}

impl ConnectionEnd {
    pub(super) fn new(socket: Descriptor) -> Self {
        Self {
            outbox: PipeOutbox::new(socket.clone()),
            inbox: PipeInbox::new(socket.clone()),
            socket,
        }
    }
}
