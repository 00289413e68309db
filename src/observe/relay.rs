//! Passes the events of tasks in worker processes to this process's subscriber, as if they were written here. A worker
//! is not trusted: it may invent places in the program, and a place that the subscriber keeps is never freed.

use std::collections::HashMap;
use std::sync::{LazyLock, Mutex, Once, OnceLock, PoisonError};

use tracing::field::display;
use tracing::{Metadata, Value, dispatcher};
use tracing_core::callsite::{self, Callsite, Identifier};
use tracing_core::field::FieldSet;
use tracing_core::{Event, Interest, Kind, LevelFilter};

use super::Trace;
use crate::wire::event::{self, CallsitePlace};
use crate::wire::level::EventLevel;

static SITES: LazyLock<Mutex<Sites>> = LazyLock::new(Mutex::default);

/// The most places that this process keeps, and so the most memory: 16 MiB.
const MOST_PLACES: usize = 4096;
/// The most bytes of all texts of a place.
const MOST_TEXT: usize = 4096;
/// The most fields of an event. The macros of `tracing` allow fewer.
const MOST_FIELDS: usize = 64;

pub(super) fn level() -> Option<EventLevel> {
    LevelFilter::current().into_level().map(EventLevel::from)
}

/// Passes an event to the subscriber. Its parent is the span of its task.
pub(crate) fn pass_on(event: event::LogEvent, task: Option<&Trace>) {
    // A worker may send an event although the subscriber does not accept its level.
    if level().is_none_or(|most| most < event.place.level) {
        return;
    }
    let found = SITES
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .find(event.place);
    // Called without the lock: a subscriber is code of another crate.
    let site = match found {
        Ok(site) => site,
        Err(Unkept { is_first: true }) => {
            return tracing::warn!(
                most_places = MOST_PLACES,
                most_text = MOST_TEXT,
                most_fields = MOST_FIELDS,
                "concurrent-futures drops events of workers: they come from too many places in the program, or a place \
                 has too many fields or too long names; this is reported once"
            );
        }
        Err(Unkept { is_first: false }) => return,
    };
    site.register();
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

/// This process's callsite for a place in the program where a worker writes events.
struct Site {
    metadata: OnceLock<Metadata<'static>>,
    registered: Once,
}

impl Site {
    fn register(&'static self) {
        self.registered.call_once(|| callsite::register(self));
    }
}

impl Callsite for Site {
    fn set_interest(&self, _: Interest) {} // `pass_on` queries the subscriber for each event.

    fn metadata(&self) -> &Metadata<'_> {
        self.metadata.get().expect("`create` sets it")
    }
}

/// The sites of the places that have sent an event. Like the program's own callsites, they are never freed.
#[derive(Default)]
struct Sites {
    by_place: HashMap<CallsitePlace, &'static Site>,
    has_dropped: bool,
}

/// A place that has no site, because it is too large or there are too many.
struct Unkept {
    is_first: bool,
}

impl Sites {
    /// Finds or creates the site of a place.
    fn find(&mut self, place: CallsitePlace) -> Result<&'static Site, Unkept> {
        if let Some(site) = self.by_place.get(&place) {
            return Ok(site);
        }
        if self.by_place.len() >= MOST_PLACES || !is_small(&place) {
            let is_first = !std::mem::replace(&mut self.has_dropped, true);
            return Err(Unkept { is_first });
        }
        let site = create(place.clone());
        self.by_place.insert(place, site);
        Ok(site)
    }
}

fn is_small(place: &CallsitePlace) -> bool {
    let options = [&place.module, &place.file];
    let texts = [&place.name, &place.target].into_iter();
    let texts = texts.chain(options.into_iter().flatten());
    let len: usize = texts.chain(&place.fields).map(String::len).sum();
    len <= MOST_TEXT && place.fields.len() <= MOST_FIELDS
}

fn create(place: CallsitePlace) -> &'static Site {
    let site: &'static Site = Box::leak(Box::new(Site {
        metadata: OnceLock::new(),
        registered: Once::new(),
    }));
    let CallsitePlace {
        level,
        name,
        target,
        module,
        file,
        line,
        fields,
    } = place;
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
    site.metadata.get_or_init(|| metadata);
    site
}

#[cfg(all(test, not(properties)))]
mod tests {
    use super::*;

    fn place(number: usize) -> CallsitePlace {
        CallsitePlace {
            level: EventLevel::Info,
            name: format!("place {number}"),
            target: "target".to_owned(),
            module: None,
            file: Some("file".to_owned()),
            line: Some(7),
            fields: vec!["message".to_owned()],
        }
    }

    #[test]
    fn events_that_no_one_listens_to_keep_no_place() {
        let place = place(usize::MAX);
        let values = vec![Some(event::FieldValue::Text("text".to_owned()))];
        let event = event::LogEvent {
            place: place.clone(),
            values,
        };
        pass_on(event, None);
        let sites = SITES.lock().expect("no panic");
        assert!(!sites.by_place.contains_key(&place));
    }

    #[test]
    fn places_are_kept_up_to_a_number_and_a_size_and_the_first_excess_is_reported() {
        let mut sites = Sites::default();
        let kept = sites.find(place(0)).ok().expect("there is room");
        let too_large = CallsitePlace {
            target: "t".repeat(MOST_TEXT),
            ..place(1)
        };
        let too_many_fields = CallsitePlace {
            fields: vec![String::new(); MOST_FIELDS + 1],
            ..place(1)
        };
        let unkept = [too_large, too_many_fields].map(|place| sites.find(place).err());
        let is_first = unkept.map(|unkept| unkept.expect("the place is too large").is_first);
        assert_eq!(is_first, [true, false]);
        let found = (0..2 * MOST_PLACES).filter(|number| sites.find(place(*number)).is_ok());
        assert_eq!(found.count(), MOST_PLACES);
        let again = sites.find(place(0)).ok().expect("the place has a site");
        assert!(std::ptr::eq(kept, again));
    }
}
