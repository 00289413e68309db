//! What a subscriber of the parent sees of its tasks, and of the events that they write in other processes.

#[path = "../common/mod.rs"]
mod common;

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

#[cfg(target_os = "linux")]
use concurrent_futures::Isolation;
use concurrent_futures::{
    Executor, ExecutorExt as _, JoinHandle, ProcessPoolExecutor, Retry, TaskOptions,
    ThreadPoolExecutor, retry, set_trace_propagator, worker,
};
use futures::TryStreamExt as _;
use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::span::{Attributes, Id, Record};
use tracing::subscriber::DefaultGuard;
use tracing::{Event, Instrument as _, Level, Subscriber};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt as _};
use tracing_subscriber::registry::LookupSpan;

use self::common::{eventually, within};

concurrent_futures::init_before_main!();

type Fields = BTreeMap<&'static str, String>;

#[derive(Clone, Debug, Default)]
struct SeenSpan {
    name: &'static str,
    parent: Option<u64>,
    fields: Fields,
    is_closed: bool,
}

#[derive(Clone, Debug)]
struct SeenEvent {
    level: Level,
    target: &'static str,
    line: Option<u32>,
    span: Option<u64>,
    fields: Fields,
}

/// Notes all spans and events.
#[derive(Clone, Default)]
struct Notes {
    spans: Arc<Mutex<HashMap<u64, SeenSpan>>>,
    events: Arc<Mutex<Vec<SeenEvent>>>,
}

struct Collect<'a>(&'a mut Fields);

impl Visit for Collect<'_> {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.0.insert(field.name(), format!("{value:?}"));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.0.insert(field.name(), format!("{value:?}"));
    }
}

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Notes {
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let parent = context
            .span(id)
            .and_then(|span| span.parent())
            .map(|span| span.id().into_u64());
        let name = attributes.metadata().name();
        let mut seen = SeenSpan {
            name,
            parent,
            ..SeenSpan::default()
        };
        attributes.record(&mut Collect(&mut seen.fields));
        self.spans
            .lock()
            .expect("no panic")
            .insert(id.into_u64(), seen);
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, _: Context<'_, S>) {
        if let Some(seen) = self.spans.lock().expect("no panic").get_mut(&id.into_u64()) {
            values.record(&mut Collect(&mut seen.fields));
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let metadata = event.metadata();
        let mut seen = SeenEvent {
            level: *metadata.level(),
            target: metadata.target(),
            line: metadata.line(),
            span: context.event_span(event).map(|span| span.id().into_u64()),
            fields: Fields::new(),
        };
        event.record(&mut Collect(&mut seen.fields));
        self.events.lock().expect("no panic").push(seen);
    }

    fn on_close(&self, id: Id, _: Context<'_, S>) {
        if let Some(seen) = self.spans.lock().expect("no panic").get_mut(&id.into_u64()) {
            seen.is_closed = true;
        }
    }
}

impl Notes {
    /// Records what this thread's subscriber receives from now on, up to a level.
    fn begin(most: LevelFilter) -> (Self, DefaultGuard) {
        let notes = Self::default();
        let subscriber = tracing_subscriber::registry()
            .with(most)
            .with(notes.clone());
        (notes, tracing::subscriber::set_default(subscriber))
    }

    /// The span of a task by its name.
    fn task(&self, name: &str) -> (u64, SeenSpan) {
        let name = format!("{name:?}");
        let spans = self.spans.lock().expect("no panic");
        let found = spans
            .iter()
            .find(|(_, seen)| seen.fields.get("task.name") == Some(&name));
        found
            .map(|(id, seen)| (*id, seen.clone()))
            .unwrap_or_else(|| panic!("no {name} in {spans:#?}"))
    }

    fn events(&self) -> Vec<SeenEvent> {
        self.events.lock().expect("no panic").clone()
    }
}

fn named(name: &str) -> TaskOptions {
    TaskOptions::new().name(name)
}

#[tokio::test]
async fn a_task_has_a_span_within_its_callers_until_its_outcome() {
    let (notes, _guard) = Notes::begin(LevelFilter::INFO);
    let threads = ThreadPoolExecutor::with_workers(1).expect("a pool");
    let processes = ProcessPoolExecutor::with_workers(1).expect("a pool");
    let caller = tracing::info_span!("caller");
    let id = caller.id().expect("it is enabled").into_u64();
    let tasks = async {
        let on_thread = threads.submit_with(&named("thread"), |x: u32| x + 1, 1);
        let number = on_thread.id();
        assert_eq!(within(on_thread).await.expect("a result"), 2);
        let in_process = processes.submit_with(&named("process"), |x: u32| x + 1, 1);
        assert_eq!(within(in_process).await.expect("a result"), 2);
        number
    };
    let number = tasks.instrument(caller).await;
    for name in ["thread", "process"] {
        let (_, span) = notes.task(name);
        assert_eq!(
            (span.name, span.parent, span.is_closed),
            ("task", Some(id), true)
        );
        assert_eq!(span.fields["task.outcome"], "\"ok\"");
        for number in ["task.worker", "task.queue_wait_us", "task.run_time_us"] {
            span.fields[number].parse::<u64>().expect("a number");
        }
    }
    assert_eq!(notes.task("thread").1.fields["task.id"], number.to_string());
    processes.shutdown().await;
}

#[tokio::test]
async fn a_span_tells_how_its_task_ended() {
    let (notes, _guard) = Notes::begin(LevelFilter::INFO);
    let pool = ProcessPoolExecutor::with_workers(1).expect("a pool");
    let _ = within(pool.submit_with(&named("crash"), crashing, ())).await;
    let _ = within(pool.submit_with(&named("panic"), panicking, ())).await;
    let cancelled = pool.submit_with(&named("cancel"), endless, ());
    cancelled.abort();
    pool.shutdown().await;
    let _ = within(pool.submit_with(&named("late"), endless, ())).await;
    for (name, outcome) in [
        ("crash", "worker_lost"),
        ("panic", "panicked"),
        ("cancel", "cancelled"),
        ("late", "shutdown"),
    ] {
        let (_, span) = notes.task(name);
        assert_eq!(
            span.fields["task.outcome"],
            format!("{outcome:?}"),
            "{name}"
        );
        assert!(span.is_closed, "{name}");
    }
    drop(cancelled); // Its span has closed before this.
}

#[tokio::test]
async fn the_span_of_an_attempt_has_its_number() {
    let (notes, _guard) = Notes::begin(LevelFilter::INFO);
    let threads = ThreadPoolExecutor::with_workers(1).expect("a pool");
    let processes = ProcessPoolExecutor::with_workers(1).expect("a pool");
    for pool in [&threads as &dyn Executor, &processes] {
        let mut attempt = 0;
        let retrying = retry(Retry::new(2).on_panic(), || {
            attempt += 1;
            pool.submit_with(&named(&format!("try {attempt}")), panicking, ())
        });
        within(retrying).await.expect_err("each attempt panics");
        for attempt in 1..=3 {
            let (id, span) = notes.task(&format!("try {attempt}"));
            assert_eq!(span.fields["task.attempt"], attempt.to_string());
            assert_eq!(span.fields["task.outcome"], "\"panicked\"");
            notes.spans.lock().expect("no panic").remove(&id);
        }
    }
    let again = named("again").retries(2);
    let _ = within(processes.submit_with(&again, crashing, ())).await;
    assert_eq!(notes.task("again").1.fields["task.attempt"], "3");
    within(processes.submit_with(&named("once"), || 1, ()))
        .await
        .expect("a result");
    assert_eq!(notes.task("once").1.fields.get("task.attempt"), None);
    processes.shutdown().await;
}

fn crashing() {
    std::process::abort();
}

fn panicking() {
    panic!("on purpose");
}

fn endless() {
    loop {
        std::thread::park();
    }
}

/// Writes an event of each kind of value, and one that is below the level.
fn write_events(number: u64) -> u32 {
    tracing::debug!("below the level");
    tracing::warn!(
        target: "inside",
        number,
        negative = -7_i64,
        half = 0.5,
        is_set = true,
        text = "some \"text\"",
        debugged = ?Some(1),
        "the number is {number}"
    );
    line!() - 10
}

#[tokio::test]
async fn events_of_a_task_in_a_process_reach_the_parent_under_its_span() {
    let (notes, _guard) = Notes::begin(LevelFilter::INFO);
    let pool = ProcessPoolExecutor::with_workers(1).expect("a pool");
    let mut line = 0;
    for _ in 0..2 {
        line = within(pool.submit_with(&named("writer"), write_events, 9))
            .await
            .expect("a result");
    }
    let events = notes.events();
    assert_eq!(events.len(), 2, "{events:#?}");
    let [first, second] = [&events[0], &events[1]];
    assert_eq!(
        (first.level, first.target, first.line),
        (Level::WARN, "inside", Some(line))
    );
    assert!(
        std::ptr::eq(first.target, second.target),
        "a place in the program is known once"
    );
    let expected = [
        ("debugged", "Some(1)"),
        ("half", "0.5"),
        ("is_set", "true"),
        ("message", "the number is 9"),
        ("negative", "-7"),
        ("number", "9"),
        ("text", "\"some \\\"text\\\"\""),
    ];
    let fields: Vec<_> = first
        .fields
        .iter()
        .map(|(name, value)| (*name, &value[..]))
        .collect();
    assert_eq!(fields, expected);
    let spans = [first, second].map(|event| event.span.expect("it has a span"));
    let spans = spans.map(|span| notes.spans.lock().expect("no panic")[&span].clone());
    assert!(
        spans
            .iter()
            .all(|span| span.fields["task.name"] == "\"writer\"")
    );
    assert_ne!(
        spans[0].fields["task.id"], spans[1].fields["task.id"],
        "each has its own"
    );
    pool.shutdown().await;
}

fn last_words() {
    tracing::error!("about to die");
    std::process::abort();
}

#[tokio::test]
async fn output_of_a_task_that_killed_its_worker_is_reported() {
    let (notes, _guard) = Notes::begin(LevelFilter::INFO);
    let pool = ProcessPoolExecutor::with_workers(1).expect("a pool");
    let lost = within(pool.submit_with(&named("dying"), last_words, ())).await;
    assert!(lost.expect_err("it died").is_worker_lost());
    let (id, _) = notes.task("dying");
    eventually(|| notes.events().iter().any(|event| event.span == Some(id))).await;
    pool.shutdown().await;
}

#[tokio::test]
async fn a_worker_sends_no_events_without_a_subscriber() {
    let (notes, _guard) = Notes::begin(LevelFilter::ERROR);
    let pool = ProcessPoolExecutor::with_workers(1).expect("a pool");
    within(pool.submit(write_events, 9))
        .await
        .expect("a result");
    assert!(notes.events().is_empty());
    assert!(
        notes.spans.lock().expect("no panic").is_empty(),
        "a task's span is of the level INFO"
    );
    pool.shutdown().await;
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn an_isolated_worker_sends_its_events() {
    let (notes, _guard) = Notes::begin(LevelFilter::INFO);
    // Only what every system has: the rest is tested elsewhere.
    let isolation = Isolation::new().share_network().best_effort();
    let builder = ProcessPoolExecutor::builder().max_workers(1);
    let pool = builder.isolation(isolation).build().expect("a pool");
    let written = within(pool.submit_with(&named("isolated"), write_events, 9)).await;
    written.expect("a result");
    let (id, _) = notes.task("isolated");
    eventually(|| notes.events().iter().any(|event| event.span == Some(id))).await;
    pool.shutdown().await;
}

#[tokio::test]
async fn a_task_knows_the_trace_that_it_belongs_to() {
    let seen = || worker::current().and_then(|task| task.traceparent().map(str::to_owned));
    let threads = ThreadPoolExecutor::with_workers(1).expect("a pool");
    let processes = ProcessPoolExecutor::with_workers(1).expect("a pool");
    let given = named("given").traceparent("00-trace-span-01");
    assert_eq!(
        within(threads.submit_with(&given, seen, ()))
            .await
            .expect("a result")
            .as_deref(),
        Some("00-trace-span-01")
    );
    assert_eq!(
        within(processes.submit_with(&given, seen, ()))
            .await
            .expect("a result")
            .as_deref(),
        Some("00-trace-span-01")
    );
    assert_eq!(
        within(processes.submit(seen, ())).await.expect("a result"),
        None,
        "the next has its own"
    );

    let (notes, _guard) = Notes::begin(LevelFilter::INFO);
    assert!(set_trace_propagator(|span| Some(format!(
        "00-{}-01",
        span.id()?.into_u64()
    ))));
    assert!(!set_trace_propagator(|_| None));
    let found = within(processes.submit_with(&named("traced"), seen, ()))
        .await
        .expect("a result");
    assert_eq!(found, Some(format!("00-{}-01", notes.task("traced").0)));
    let items: Vec<Option<String>> = within(
        processes
            .map(
                |_: u32| worker::current()?.traceparent().map(str::to_owned),
                0..3,
            )
            .try_collect(),
    )
    .await
    .expect("results");
    assert!(items.iter().all(Option::is_some), "{items:?}");
    processes.shutdown().await;
}

/// Checks whether a task runs, at each notification about its span.
struct Asks(Arc<OnceLock<JoinHandle<()>>>);

impl<S: Subscriber> Layer<S> for Asks {
    fn on_record(&self, _: &Id, _: &Record<'_>, _: Context<'_, S>) {
        let _ = self.0.get().map(JoinHandle::is_running);
    }
}

#[test]
fn a_subscriber_may_ask_for_the_task_of_an_event() {
    let (done, ended) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let task = Arc::new(OnceLock::new());
        let subscriber = tracing_subscriber::registry().with(Asks(task.clone()));
        let _default = tracing::subscriber::set_default(subscriber);
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build();
        runtime.expect("a runtime").block_on(async {
            let pool = ProcessPoolExecutor::with_workers(1).expect("the settings are valid");
            let handle = pool.submit(|| (), ());
            let handle = task.get_or_init(|| handle);
            eventually(|| handle.is_finished()).await;
            within(pool.shutdown()).await;
        });
        let _ = done.send(());
    });
    let ended = ended.recv_timeout(Duration::from_secs(60));
    ended.expect("no lock is held while a subscriber runs");
}
