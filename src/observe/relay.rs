//! Passes the events of tasks in worker processes to this process's subscriber, as if they were written
//! here.

use std::collections::HashMap;
use std::sync::{Mutex, OnceLock, PoisonError};

use tracing::field::display;
use tracing::{Metadata, Value, dispatcher};
use tracing_core::callsite::{self, Callsite, Identifier};
use tracing_core::field::FieldSet;
use tracing_core::{Event, Interest, Kind, LevelFilter};

use super::Trace;
use crate::wire::event::{self, CallsitePlace};
use crate::wire::level::EventLevel;

pub(super) fn level() -> Option<EventLevel> {
    LevelFilter::current().into_level().map(EventLevel::from)
}

/// Passes an event to the subscriber. Its parent is the span of its task.
pub(crate) fn tell(event: event::LogEvent, task: Option<&Trace>) {
    let site: &'static dyn Callsite = site(event.place);
    let metadata = site.metadata();
    let values = event.values.into_iter().map(|value| value.map(boxed));
    let values: Vec<Option<Box<dyn Value>>> = values.collect();
    let values: Vec<Option<&dyn Value>> = values.iter().map(Option::as_deref).collect();
    let span = task.and_then(Trace::span).and_then(|span| span.id());
    dispatcher::get_default(|subscriber| {
        if subscriber.enabled(metadata) {
            let values = metadata.fields().value_set_all(&values);
            subscriber.event(&Event::new_child_of(span.clone(), metadata, &values));
        }
    });
}

fn boxed(value: event::FieldValue) -> Box<dyn Value> {
    match value {
        event::FieldValue::Signed(number) => Box::new(number),
        event::FieldValue::Unsigned(number) => Box::new(number),
        event::FieldValue::Float(number) => Box::new(number),
        event::FieldValue::Bool(is_set) => Box::new(is_set),
        event::FieldValue::Text(text) => Box::new(text),
        event::FieldValue::Debug(text) => Box::new(display(text)),
    }
}

/// This process's callsite for a place in the program where a worker writes an event.
struct Site(OnceLock<Metadata<'static>>);

impl Callsite for Site {
    fn set_interest(&self, _: Interest) {} // `tell` asks the subscriber for each event.

    fn metadata(&self) -> &Metadata<'_> {
        self.0.get().expect("`site` sets it")
    }
}

/// Finds or creates the site of a place. There are as many sites as places in the program. Like the
/// program's own callsites, they are never freed.
fn site(place: CallsitePlace) -> &'static Site {
    static SITES: Mutex<Option<HashMap<CallsitePlace, &'static Site>>> = Mutex::new(None);
    let mut sites = SITES.lock().unwrap_or_else(PoisonError::into_inner);
    let sites = sites.get_or_insert_default();
    if let Some(site) = sites.get(&place) {
        return site;
    }
    let site: &'static Site = Box::leak(Box::new(Site(OnceLock::new())));
    let CallsitePlace {
        level,
        name,
        target,
        module,
        file,
        line,
        fields,
    } = place.clone();
    let fields: Vec<&'static str> = fields.into_iter().map(|field| &*field.leak()).collect();
    let metadata = Metadata::new(
        name.leak(),
        target.leak(),
        level.into(),
        file.map(|file| &*file.leak()),
        line,
        module.map(|module| &*module.leak()),
        FieldSet::new(fields.leak(), Identifier(site)),
        Kind::EVENT,
    );
    site.0.get_or_init(|| metadata);
    callsite::register(site);
    sites.insert(place, site);
    site
}
