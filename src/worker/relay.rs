//! The subscriber of a worker process: what tasks write to their log goes to the parent's subscriber.

use std::fmt;
use std::sync::Arc;

use tracing_core::field::{Field, Visit};
use tracing_core::span::{Attributes, Id, Record};
use tracing_core::{Dispatch, Event, LevelFilter, Metadata, Subscriber, dispatcher};

use super::outbox::Outbox;
use crate::executor::context;
use crate::wire::event::{self, Place, Value};
use crate::wire::message;

/// The most of each text that is sent.
const TEXT: usize = 16 * 1024;
/// The most that an event may take with all its texts; of a larger one only the message is sent.
const EVENT: usize = 128 * 1024;

struct Relay {
    outbox: Arc<Outbox>,
    most: LevelFilter,
}

/// Sends events up to a level, as `observe` tells it, from now on; unless there is a subscriber already,
/// of an initializer's making or from before a fork: that one has its own ways.
pub(super) fn listen(level: u8, outbox: &Arc<Outbox>) {
    let Some(level) = event::level(level) else {
        return; // Nobody listens.
    };
    let (most, outbox) = (LevelFilter::from_level(level), outbox.clone());
    let _ = dispatcher::set_global_default(Dispatch::new(Relay { outbox, most }));
}

impl Subscriber for Relay {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.is_event() && *metadata.level() <= self.most
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(self.most)
    }

    fn event(&self, event: &Event<'_>) {
        let call = context::current().map(|task| (task.key >> 32) as u32);
        let event = record(event);
        // A failure is met again when the worker has to wait.
        let _ = self
            .outbox
            .send(|out| message::put_event(out, call, &event));
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

fn record(event: &Event<'_>) -> event::Event {
    let metadata = event.metadata();
    let fields = metadata.fields();
    let mut values = Values(vec![None; fields.len()]);
    event.record(&mut values);
    let Values(mut values) = values;
    let text = |value: &Option<Value>| match value {
        Some(Value::Text(text) | Value::Debug(text)) => text.len(),
        _ => 0,
    };
    if values.iter().map(text).sum::<usize>() > EVENT {
        for (field, value) in fields.iter().zip(&mut values) {
            value.take_if(|_| field.name() != "message");
        }
    }
    let place = Place {
        level: *metadata.level(),
        name: metadata.name().to_owned(),
        target: metadata.target().to_owned(),
        module: metadata.module_path().map(str::to_owned),
        file: metadata.file().map(str::to_owned),
        line: metadata.line(),
        fields: fields.iter().map(|field| field.name().to_owned()).collect(),
    };
    event::Event { place, values }
}

/// A value for each field that has one.
struct Values(Vec<Option<Value>>);

impl Values {
    fn put(&mut self, field: &Field, value: Value) {
        if let Some(place) = self.0.get_mut(field.index()) {
            *place = Some(value);
        }
    }
}

fn cut(text: &str) -> String {
    let mut ends = (0..=TEXT.min(text.len())).rev();
    let end = ends.find(|end| text.is_char_boundary(*end));
    text[..end.unwrap_or(0)].to_owned()
}

impl Visit for Values {
    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field, Value::Signed(value));
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field, Value::Unsigned(value));
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.put(field, Value::Float(value));
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field, Value::Bool(value));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(field, Value::Text(cut(value)));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.put(field, Value::Debug(cut(&format!("{value:?}"))));
    }
}
