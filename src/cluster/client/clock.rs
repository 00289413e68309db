//! The background task that runs the timers and watches the connection.

use std::future::pending;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::broadcast::error::RecvError;

use super::core::ClientCore;
use crate::cluster::events::{ConnectionEvent, RefusedVerb};

/// How often the workers are counted while there are tasks.
const PRESENCE: Duration = Duration::from_secs(10);

/// Runs until the client is closed and has no task left.
pub(super) async fn watch(me: Arc<ClientCore>) {
    let mut connects = me.nats.connects();
    connects.borrow_and_update();
    let mut events = me.nats.events();
    let mut counted = Instant::now();
    loop {
        let due = me.table().next_due();
        let wait = async {
            match due {
                Some(due) => tokio::time::sleep_until(due.into()).await,
                None => pending().await,
            }
        };
        tokio::select! {
            () = wait => {
                let late = me.questions().expire(Instant::now());
                let is_connected = me.nats.is_connected();
                me.update(|table, now| {
                    if is_connected {
                        late.iter().for_each(|worker| table.worker_silent(worker, now));
                    }
                    table.on_timer(now, is_connected);
                });
                if is_connected && counted.elapsed() >= PRESENCE {
                    counted = Instant::now();
                    me.count_workers();
                }
            }
            event = events.recv() => me.on_event(event),
            Ok(()) = connects.changed() => {
                me.meter.reconnected();
                me.questions().clear();
                me.update(|table, now| table.reconnected(now));
            }
            () = me.wake_clock.notified() => {}
            () = me.over.cancelled() => return,
        }
    }
}

impl ClientCore {
    fn on_event(&self, event: Result<ConnectionEvent, RecvError>) {
        match event {
            Ok(ConnectionEvent::Refused(refusal)) if refusal.verb == RefusedVerb::Publish => {
                let subject = &refusal.subject;
                let reason = format!(
                    "the server permits this user no publish to `{subject}`; permit it, or use other credentials"
                );
                if let Some((lane, function)) = self.names.parse_task(subject) {
                    self.update(|table, _| table.forbidden(lane, &function, &reason));
                } else if let Some(reply) = self.names.parse_record(subject) {
                    self.update(|table, _| table.unwritable(&reply, &reason));
                }
            }
            // Some messages or events were dropped.
            Ok(ConnectionEvent::Overflowed) | Err(RecvError::Lagged(_)) => {
                self.update(|table, now| table.check_all(now));
            }
            Ok(_) | Err(RecvError::Closed) => {}
        }
    }
}
