//! Reads a delivered message. Any program with the right to submit may have written it.

use std::time::Instant;

use async_nats::{HeaderMap, Message};

use crate::cluster::functions::Functions;
use crate::cluster::malformed::Malformed;
use crate::cluster::record::WorkerId;
use crate::cluster::task_message::{MOST_MESSAGE_ITEMS, ReplyTo, TaskMessage};
use crate::executor::options::TaskName;

/// The most characters that are shown of the function name in a malformed message.
const MOST_SHOWN: usize = 200;

/// How a task was delivered.
#[derive(Clone, Copy, Debug)]
pub(super) struct Delivered {
    /// How often the server has delivered it, by its own count. A server that is killed may lose the count.
    pub(super) times: u64,
    /// The latest time to claim it if it has no record.
    pub(super) fresh_until: Instant,
}

/// A task that was delivered.
#[derive(Debug)]
pub(super) struct Assignment {
    pub(super) delivered: Delivered,
    pub(super) items: u32,
    pub(super) retries: u32,
    pub(super) order: TaskOrder,
}

#[derive(Debug)]
pub(super) enum TaskOrder {
    Run(Box<TaskMessage>),
    /// No worker like this one can run it. Its outcome is this reason.
    Refuse {
        task: TaskName,
        reason: String,
    },
}

/// How a delivered message was read.
#[derive(Debug)]
pub(super) enum Assigned {
    Task(ReplyTo, Assignment),
    /// This worker does not have its function. Another worker may have it.
    Unknown,
    /// It contains no address for an outcome.
    Garbage,
}

/// Reads a message that the server has delivered.
pub(super) fn assign(
    functions: &Functions,
    me: &WorkerId,
    message: Message,
    delivered: Delivered,
) -> Assigned {
    let headers = message.headers.unwrap_or_default();
    let task = match TaskMessage::read(|name| header(&headers, name), message.payload) {
        Ok(task) => task,
        Err(malformed) => return refuse(&headers, &malformed, delivered),
    };
    let Some(entry) = functions.entry(&task.function) else {
        return Assigned::Unknown;
    };
    let reply = task.reply.clone();
    let shape = entry.shape().as_str();
    let (items, retries) = (task.items, task.retries);
    let order = if task.shape == shape {
        TaskOrder::Run(Box::new(task))
    } else {
        let WorkerId { id, host, .. } = me;
        let (function, theirs) = (&task.function, &task.shape);
        TaskOrder::Refuse {
            reason: format!(
                "was not run: worker {id} on {host} serves `{function}` as `{shape}`, and the client calls it as \
                 `{theirs}`; build both from the same version of the function, or register the other one under \
                 another name"
            ),
            task: TaskName::Given(task.name.unwrap_or(task.function).into()),
        }
    };
    let assignment = Assignment {
        delivered,
        items,
        retries,
        order,
    };
    Assigned::Task(reply, assignment)
}

/// Reads the address for the outcome from a message that cannot be read otherwise.
#[cold]
fn refuse(headers: &HeaderMap, malformed: &Malformed, delivered: Delivered) -> Assigned {
    let Some(reply) = TaskMessage::read_reply(|name| header(headers, name)) else {
        return Assigned::Garbage;
    };
    let items = header(headers, "Cf-Items").and_then(|items| items.parse().ok());
    let items = items.filter(|items| (1..=MOST_MESSAGE_ITEMS).contains(items));
    let task = header(headers, "Cf-Fn").unwrap_or("(unknown)");
    let task: String = task.chars().take(MOST_SHOWN).collect(); // It may be a megabyte long.
    let assignment = Assignment {
        delivered,
        items: items.unwrap_or(1),
        retries: 0,
        order: TaskOrder::Refuse {
            task: TaskName::Given(task.into()),
            reason: format!("was not run: the worker cannot read its message: {malformed}"),
        },
    };
    Assigned::Task(reply, assignment)
}

fn header<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name).map(|value| value.as_str())
}
