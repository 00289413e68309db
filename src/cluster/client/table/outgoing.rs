//! The message of a task that is published.

use crate::cluster::client::in_flight::{ContentPayload, TaskContent, TaskInFlight};
use crate::cluster::task_message::{ReplyTo, TaskMessage, TaskPayload};
use crate::executor::options::TaskName;

/// A task to publish.
pub(in crate::cluster::client) struct Outgoing {
    pub(in crate::cluster::client) number: u64,
    pub(in crate::cluster::client) lane: u8,
    pub(in crate::cluster::client) message: TaskMessage,
}

/// The lane for tasks of this priority.
pub(super) fn lane_of(priority: i32) -> u8 {
    match priority {
        1.. => 0,
        0 => 1,
        _ => 2,
    }
}

pub(super) fn message_of(
    task: &TaskInFlight,
    content: &TaskContent,
    reply: ReplyTo,
) -> TaskMessage {
    let ticket = task.ticket();
    let options = ticket.options();
    TaskMessage {
        function: content.function.name().as_ref().to_owned(),
        shape: content.function.shape().as_str().to_owned(),
        items: task.owed.remaining(),
        reply,
        id: ticket.id(),
        name: match ticket.name() {
            TaskName::Given(name) => Some(name.as_ref().to_owned()),
            TaskName::Function(_) => None,
        },
        timeout: options.timeout,
        grace_period: options.grace_period,
        retries: options.retries,
        first_attempt: ticket.attempt(0),
        traceparent: ticket
            .traceparent()
            .map(|header| header.as_ref().to_owned()),
        payload: match &content.payload {
            ContentPayload::Here(bytes) => TaskPayload::Inline(bytes.clone()),
            ContentPayload::Object { name, size } => TaskPayload::Object {
                name: name.clone(),
                size: *size,
            },
        },
    }
}
