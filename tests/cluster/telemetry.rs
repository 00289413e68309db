//! The spans and metrics of a task that runs in another program. That program is another process of this one, started
//! for the test `worker_program`.

use std::collections::BTreeMap;
use std::env;
use std::fmt::{self, Write as _};
use std::fs::{self, OpenOptions};
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use cluster_tests::NatsServer;
use concurrent_futures::cluster::{self, ClusterExecutor, Functions, QueueSettings, Worker};
use concurrent_futures::{
    Executor as _, ExecutorExt as _, ProcessPoolExecutor, TaskOptions, functions,
    set_trace_continuer, set_trace_propagator, worker,
};
use futures::TryStreamExt as _;
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use rustix::process::{Pid, Signal, kill_process};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Instrument as _, Span, Subscriber};
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::layer::{Context, Layer, SubscriberExt as _};
use tracing_subscriber::registry::LookupSpan;

concurrent_futures::init_before_main!();

/// The trace of the request.
const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const LIMIT: Duration = Duration::from_secs(60);

async fn within<T>(future: impl Future<Output = T>) -> T {
    let ended = tokio::time::timeout(LIMIT, future).await;
    ended.expect("it ends in time")
}

/// Writes an event, and returns the trace that it belongs to.
fn speak(number: u64) -> Option<String> {
    tracing::info!(number, "spoken");
    worker::current()?.traceparent().map(str::to_owned)
}

fn double(x: u64) -> u64 {
    x * 2
}

fn fail() {
    panic!("on purpose");
}

/// Aborts its process in the first attempt, and returns the number of the other.
fn stumble(log: PathBuf) -> u32 {
    let log = OpenOptions::new().create_new(true).write(true).open(log);
    if log.is_ok() {
        std::process::abort();
    }
    worker::current().expect("a task runs").attempt()
}

/// No worker has it.
fn unknown() {}

fn tasks() -> Functions {
    functions![speak, double, fail, stumble]
}

/// Writes each span that ends and each event as a line. So two programs can be compared.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<String>>>, Option<PathBuf>);

/// The fields of a span.
#[derive(Clone, Default)]
struct Fields(BTreeMap<&'static str, String>);

impl Visit for Fields {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.0.insert(field.name(), value.to_owned());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.0.insert(field.name(), format!("{value:?}"));
    }
}

impl Lines {
    fn write(&self, line: String) {
        if let Some(path) = &self.1 {
            let file = OpenOptions::new().create(true).append(true).open(path);
            let mut file = file.expect("the folder is there");
            file.write_all(format!("{line}\n").as_bytes())
                .expect("written");
        }
        self.0.lock().expect("no panic").push(line);
    }

    /// Waits for a line with these parts.
    async fn find(&self, parts: &[&str]) -> String {
        let read = || match &self.1 {
            Some(path) => fs::read_to_string(path).unwrap_or_default(),
            None => self.0.lock().expect("no panic").join("\n"),
        };
        let found = tokio::time::timeout(LIMIT, async {
            loop {
                let text = read();
                let mut lines = text.lines();
                if let Some(line) = lines.find(|line| parts.iter().all(|part| line.contains(part)))
                {
                    return line.to_owned();
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        });
        let found = found.await;
        found.unwrap_or_else(|_| panic!("no {parts:?} in\n{}", read()))
    }

    fn install(self) {
        let subscriber = tracing_subscriber::registry().with(self);
        let subscriber = subscriber.with(LevelFilter::INFO);
        tracing::subscriber::set_global_default(subscriber).expect("there is no other");
    }
}

/// The value of a field in a line.
fn field<'a>(line: &'a str, name: &str) -> &'a str {
    let start = line
        .find(&format!(" {name}="))
        .unwrap_or_else(|| panic!("no {name} in {line}"));
    let value = &line[start + name.len() + 2..];
    value.split([' ', '>']).next().expect("one part")
}

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Lines {
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let mut fields = Fields::default();
        attributes.record(&mut fields);
        let span = context.span(id).expect("it is new");
        span.extensions_mut().insert(fields);
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, context: Context<'_, S>) {
        let span = context.span(id).expect("it is open");
        if let Some(fields) = span.extensions_mut().get_mut::<Fields>() {
            values.record(fields);
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let mut fields = Fields::default();
        event.record(&mut fields);
        let scope = context.event_scope(event).into_iter();
        let spans = scope.flat_map(|scope| scope.from_root());
        let spans = spans.map(|span| shown(span.name(), span.extensions().get()));
        let spans: Vec<String> = spans.collect();
        self.write(format!(
            "{}> {}",
            spans.join("> "),
            shown("event", Some(&fields))
        ));
    }

    fn on_close(&self, id: Id, context: Context<'_, S>) {
        let span = context.span(&id).expect("it closes");
        let fields = shown(span.name(), span.extensions().get());
        let parent = span.parent().map_or(0, |parent| parent.id().into_u64());
        let id = id.into_u64();
        self.write(format!(
            "closed {fields} span={id:016x} parent={parent:016x}"
        ));
    }
}

fn shown(name: &str, fields: Option<&Fields>) -> String {
    let mut text = name.to_owned();
    for (name, value) in fields.into_iter().flat_map(|fields| &fields.0) {
        let _ = write!(text, " {name}={value}");
    }
    text
}

/// A header of W3C Trace Context.
fn header(trace: &str, span: &Span) -> Option<String> {
    Some(format!("00-{trace}-{:016x}-01", span.id()?.into_u64()))
}

fn render(handle: &PrometheusHandle, name: &str) -> Option<f64> {
    value(&handle.render(), name)
}

/// The value of a metric in the text for Prometheus.
fn value(text: &str, name: &str) -> Option<f64> {
    let mut lines = text.lines();
    let value = lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    value.map(|value| value.parse().expect("a number"))
}

/// The worker program of the other tests.
#[test]
fn worker_program() {
    let (Ok(url), Ok(folder)) = (env::var("CF_TEST_URL"), env::var("CF_TEST_FOLDER")) else {
        return;
    };
    let folder = Path::new(&folder);
    Lines(Arc::default(), Some(folder.join("lines"))).install();
    // As OpenTelemetry would: the span of a task gets the trace of the header, and its children inherit it.
    static TRACE_HERE: OnceLock<String> = OnceLock::new();
    set_trace_continuer(|_, header| {
        let trace = header.split('-').nth(1).expect("a header");
        TRACE_HERE.get_or_init(|| trace.to_owned());
    });
    set_trace_propagator(|span| header(TRACE_HERE.get()?, span));
    let recorder = PrometheusBuilder::new().build_recorder();
    let scrape = recorder.handle();
    metrics::set_global_recorder(recorder).expect("there is no other");
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(async {
        let pool = ProcessPoolExecutor::builder().max_workers(1).name("local");
        let pool = Arc::new(pool.build().expect("a pool"));
        let worker = Worker::connect(url).queue("q").functions(tasks());
        let worker = worker.settings(settings()).build(pool.clone()).await;
        println!("ready");
        let worker = worker.expect("a worker");
        worker.run_until(cluster::sigterm()).await;
        pool.shutdown().await;
    });
    fs::write(folder.join("metrics"), scrape.render()).expect("the folder is there");
}

fn settings() -> QueueSettings {
    QueueSettings::new().ack_wait(Duration::from_secs(1))
}

/// A worker program. Dropping it kills it.
struct WorkerProgram {
    child: Child,
    out: BufReader<ChildStdout>,
    folder: PathBuf,
}

impl WorkerProgram {
    fn start(server: &NatsServer) -> Self {
        let folder = server.folder().join("worker");
        fs::create_dir(&folder).expect("a folder");
        let mut child = Command::new(env::current_exe().expect("this program"))
            .args(["--exact", "worker_program", "--nocapture"])
            .env("CF_TEST_URL", server.url())
            .env("CF_TEST_FOLDER", &folder)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("it starts");
        let mut out = BufReader::new(child.stdout.take().expect("it is piped"));
        let mut line = String::new();
        while !line.contains("ready") {
            line.clear();
            assert!(out.read_line(&mut line).expect("text") > 0, "it ends");
        }
        Self { child, out, folder }
    }

    fn lines(&self) -> Lines {
        Lines(Arc::default(), Some(self.folder.join("lines")))
    }

    /// Ends it, and returns its metrics.
    fn metrics(mut self) -> String {
        kill_process(Pid::from_child(&self.child), Signal::TERM).expect("it is not reaped yet");
        let mut rest = String::new();
        self.out.read_to_string(&mut rest).expect("text");
        self.child.wait().expect("it is a child");
        fs::read_to_string(self.folder.join("metrics")).expect("it ended well")
    }
}

impl Drop for WorkerProgram {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

async fn client(server: &NatsServer, name: &str) -> ClusterExecutor {
    let client = ClusterExecutor::connect(server.url()).queue("q").name(name);
    let client = client
        .functions(tasks().merge(functions![unknown]))
        .settings(settings());
    client.build().await.expect("a client")
}

// One test for all spans: there is one global subscriber, which the thread of the connection uses.
#[tokio::test]
async fn one_trace_leads_from_the_request_to_the_events_of_the_function_on_another_machine() {
    let Some(server) = NatsServer::start("") else {
        return;
    };
    let here = Lines::default();
    here.clone().install();
    set_trace_propagator(|span| header(TRACE, span));
    let program = WorkerProgram::start(&server);
    let there = program.lines();
    let client = client(&server, "traced").await;
    let named = |name: &str| TaskOptions::new().name(name);
    let request = tracing::info_span!("request");
    let id = request.id().expect("it is enabled").into_u64();
    let spoken = async {
        let spoken = client.submit_with(&named("speech"), speak, 7);
        within(spoken).await.expect("a result")
    };
    let seen = spoken.instrument(request).await.expect("a trace");

    // The span of the task in the client, within the request.
    let task = here.find(&["closed task", "task.name=speech"]).await;
    assert_eq!(field(&task, "task.outcome"), "ok");
    assert_eq!(field(&task, "parent"), format!("{id:016x}"));
    // The span of the same task in the worker continues it.
    let remote = there
        .find(&["closed cluster task", "task.function=speak"])
        .await;
    let traceparent = format!("00-{TRACE}-{}-01", field(&task, "span"));
    assert_eq!(field(&remote, "traceparent"), traceparent);
    for same in ["task.id", "task.key", "task.host", "task.outcome"] {
        assert_eq!(field(&remote, same), field(&task, same), "{same}");
    }
    assert_eq!(field(&remote, "task.attempt"), "1");
    assert_eq!(field(&remote, "task.queue"), "q");
    let workers = client.workers().await.expect("the server answers");
    assert_eq!(field(&remote, "task.worker"), workers[0].id());
    // The event of the function, in a process of the worker, is under both spans there.
    let event = there.find(&["message=spoken", "number=7"]).await;
    assert!(event.starts_with("cluster task "), "{event}");
    let local = there.find(&["closed task", "task.name=speech"]).await;
    assert_eq!(seen, format!("00-{TRACE}-{}-01", field(&local, "span")));
    assert_eq!(field(&local, "parent"), field(&remote, "span"));

    // A lost process of the worker: the attempts are counted in all spans.
    let retried = named("stumble").retries(1);
    let log = server.folder().join("stumbled");
    let attempt = within(client.submit_with(&retried, stumble, log)).await;
    attempt.expect("the second attempt");
    let task = here.find(&["closed task", "task.name=stumble"]).await;
    assert_eq!(field(&task, "task.attempt"), "2");
    let remote = there
        .find(&["closed cluster task", "task.function=stumble"])
        .await;
    assert_eq!(field(&remote, "task.attempt"), "2");
    client.shutdown().await;
}

#[tokio::test]
async fn metrics_count_the_work_of_a_client_and_a_worker_of_a_cluster() {
    let Some(mut server) = NatsServer::start("") else {
        return;
    };
    let recorder = PrometheusBuilder::new().build_recorder();
    let scrape = recorder.handle();
    metrics::set_global_recorder(recorder).expect("there is no other");
    let program = WorkerProgram::start(&server);
    let client = client(&server, "measured").await;
    while client.stats().workers == 0 {
        client.workers().await.expect("the server answers");
    }
    let stranger = client.submit(unknown, ());
    assert_eq!(within(client.submit(double, 4)).await.expect("a result"), 8);
    within(client.submit(fail, ())).await.expect_err("a panic");
    stranger.abort();
    within(stranger).await.expect_err("no worker knows it");
    let doubled = client.map(double, 0..100).chunk_size(10).try_collect();
    let doubled: Vec<u64> = within(doubled).await.expect("results");
    assert_eq!(doubled.len(), 100);
    server.restart();
    assert_eq!(
        within(client.submit(double, 5)).await.expect("a result"),
        10
    );
    within(client.shutdown()).await;

    for (name, expected) in [
        (r#"tasks_queued{executor="measured"}"#, 0.0),
        (r#"tasks_running{executor="measured"}"#, 0.0),
        (r#"tasks_total{executor="measured",outcome="ok"}"#, 102.0),
        (
            r#"tasks_total{executor="measured",outcome="panicked"}"#,
            1.0,
        ),
        (
            r#"tasks_total{executor="measured",outcome="cancelled"}"#,
            1.0,
        ),
        (r#"workers{executor="measured"}"#, 1.0),
        (r#"reconnections_total{executor="measured"}"#, 1.0),
    ] {
        let name = format!("concurrent_futures_{name}");
        let seen = render(&scrape, &name);
        assert_eq!(seen, Some(expected), "{name} in\n{}", scrape.render());
    }
    let runs = r#"concurrent_futures_task_run_seconds_count{executor="measured"}"#;
    assert!(
        render(&scrape, runs).is_some_and(|runs| runs >= 102.0),
        "{}",
        scrape.render()
    );

    let there = program.metrics();
    for (name, expected) in [
        (r#"claims_total{queue="q"}"#, 13.0),
        (r#"claims_running{queue="q"}"#, 0.0),
        (r#"claims_ended_total{queue="q",outcome="ok"}"#, 102.0),
        (r#"claims_ended_total{queue="q",outcome="panicked"}"#, 1.0),
        (r#"lost_total{queue="q"}"#, 0.0),
        (r#"waiting{queue="q",lane="normal"}"#, 0.0),
        (r#"reconnections_total{queue="q"}"#, 1.0),
    ] {
        let name = format!("concurrent_futures_cluster_{name}");
        assert_eq!(value(&there, &name), Some(expected), "{name} in\n{there}");
    }
    let given_back = r#"concurrent_futures_cluster_given_back_total{queue="q"}"#;
    assert!(value(&there, given_back) >= Some(1.0), "{there}");
    // The local pool has metrics of its own.
    let local = r#"concurrent_futures_tasks_total{executor="local",outcome="panicked"}"#;
    assert_eq!(value(&there, local), Some(1.0), "{there}");
}
