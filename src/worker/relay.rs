//! The subscriber of a worker process. It sends the events of tasks to the parent's subscriber.

use std::fmt;
use std::sync::Arc;

use tracing_core::field::{Field, Visit};
use tracing_core::span::{Attributes, Id, Record};
use tracing_core::{Dispatch, Event, LevelFilter, Metadata, Subscriber, dispatcher};

use super::outbox::WorkerOutbox;
use crate::executor::context;
use crate::wire::event::{self, CallsitePlace, FieldValue};
use crate::wire::level::EventLevel;
use crate::wire::message::{self, FromWorker};
use crate::wire::text;

/// The most bytes of each text that is sent.
const TEXT: usize = 16 * 1024;
/// The most bytes of all texts of an event. Of a larger event, only the message is sent.
const EVENT: usize = 128 * 1024;

struct EventRelay {
    outbox: Arc<WorkerOutbox>,
    most: LevelFilter,
}

/// From now on, sends events up to `level`. Does nothing if the process already has a subscriber, from an initializer
/// or from before a fork.
pub(super) fn listen(level: EventLevel, outbox: &Arc<WorkerOutbox>) {
    let (most, outbox) = (LevelFilter::from_level(level.into()), outbox.clone());
    let _ = dispatcher::set_global_default(Dispatch::new(EventRelay { outbox, most }));
}

impl Subscriber for EventRelay {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.is_event() && *metadata.level() <= self.most
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(self.most)
    }

    fn event(&self, event: &Event<'_>) {
        let call = context::current().map(|task| (task.key >> 32) as u32);
        let event = record(event);
        // If this write fails, so does the next one before the worker waits.
        let _ = self
            .outbox
            .send(|out| message::put(out, &FromWorker::Event { call, event }));
    }

    // Spans are not enabled.
    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

fn record(event: &Event<'_>) -> event::LogEvent {
    let metadata = event.metadata();
    let fields = metadata.fields();
    let mut values = FieldValues(vec![None; fields.len()]);
    event.record(&mut values);
    let FieldValues(mut values) = values;
    let text = |value: &Option<FieldValue>| match value {
        Some(FieldValue::Text(text) | FieldValue::Debug(text)) => text.len(),
        _ => 0,
    };
    if values.iter().map(text).sum::<usize>() > EVENT {
        for (field, value) in fields.iter().zip(&mut values) {
            value.take_if(|_| field.name() != "message");
        }
    }
    let place = CallsitePlace {
        level: (*metadata.level()).into(),
        name: metadata.name().to_owned(),
        target: metadata.target().to_owned(),
        module: metadata.module_path().map(str::to_owned),
        file: metadata.file().map(str::to_owned),
        line: metadata.line(),
        fields: fields.iter().map(|field| field.name().to_owned()).collect(),
    };
    event::LogEvent { place, values }
}

/// A value for each field that has one.
struct FieldValues(Vec<Option<FieldValue>>);

impl FieldValues {
    fn put(&mut self, field: &Field, value: FieldValue) {
        if let Some(place) = self.0.get_mut(field.index()) {
            *place = Some(value);
        }
    }
}

impl Visit for FieldValues {
    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field, FieldValue::Signed(value));
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field, FieldValue::Unsigned(value));
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.put(field, FieldValue::Float(value));
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field, FieldValue::Bool(value));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(field, FieldValue::Text(text::cut(value, TEXT)));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.put(
            field,
            FieldValue::Debug(text::cut(&format!("{value:?}"), TEXT)),
        );
    }
}
