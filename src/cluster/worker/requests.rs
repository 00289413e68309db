//! Handles the control messages to a worker. They are answered at once, also while the worker drains, because a worker
//! that does not answer counts as lost.

use async_nats::Message;
use bytes::Bytes;

use super::core::WorkerCore;
use super::phase::ServingPhase;
use super::table::HeldEnd;
use crate::cluster::control::{
    Ask, AskAnswer, Cancel, ControlMessage as _, Presence, ServedFunction, Who,
};

/// Handles a message. A malformed one has no effect.
pub(super) async fn handle_request(core: &WorkerCore, phase: ServingPhase, message: Message) {
    let answer = match core.names.parse_worker(&core.me.id, &message.subject) {
        Some(verb) => match &*verb {
            "ask" => answer_ask(core, &message.payload),
            "cancel" => {
                cancel(core, &message.payload);
                None
            }
            _ => None,
        },
        None => {
            let is_who = message.subject.as_str() == core.names.who();
            (is_who && Who::decode(&message.payload).is_ok()).then(|| presence(core, phase))
        }
    };
    // A hostile client must not make the worker publish to subjects that the client may not publish to.
    let reply = message
        .reply
        .filter(|reply| core.names.is_inbox(reply.as_str()));
    if let (Some(answer), Some(reply)) = (answer, reply) {
        core.answer(reply, answer).await;
    }
}

fn answer_ask(core: &WorkerCore, body: &Bytes) -> Option<Bytes> {
    let reply = Ask::decode(body).and_then(|ask| ask.reply()).ok()?;
    let asked = match core.tasks.get(&reply) {
        Some(_) => AskAnswer::Running,
        None => AskAnswer::Unknown,
    };
    Some(asked.encode())
}

fn cancel(core: &WorkerCore, body: &Bytes) {
    let reply = Cancel::decode(body).and_then(|cancel| cancel.reply());
    if let Some(held) = reply.ok().and_then(|reply| core.tasks.get(&reply)) {
        held.end_as(HeldEnd::Cancelled);
    }
}

fn presence(core: &WorkerCore, phase: ServingPhase) -> Bytes {
    let functions = core.functions.entries().map(|entry| ServedFunction {
        name: entry.name().to_string(),
        shape: entry.shape().as_str().to_owned(),
    });
    let slots = core.slots.count();
    let presence = Presence {
        by: core.me.clone(),
        functions: functions.collect(),
        build: build_id(),
        slots,
        running: slots.saturating_sub(core.slots.free()),
        is_draining: phase.is_draining(),
    };
    presence.encode()
}

/// The build of this program, as text.
fn build_id() -> String {
    let bytes = crate::sys::build_identity();
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
