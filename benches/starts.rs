//! What a worker costs by the way it is started: the time to the first result of a new pool, the time
//! that one more worker takes, and the memory of one that idles. And what a process of one's own takes from
//! its start to its join, beside the command `true`. `cargo bench -p benches --bench starts`

#[path = "common/starts.rs"]
mod starts;

use std::process::Command;
use std::time::{Duration, Instant};

use concurrent_futures::StartMethod;
use concurrent_futures::multiprocessing::Process;
use criterion::{Criterion, SamplingMode};
use tokio::runtime::Builder;

use self::starts::{first_result, memory, one_more};

/// Measures something for a start method.
type Measure = fn(StartMethod) -> Duration;

fn main() {
    concurrent_futures::init();
    let mut criterion = Criterion::default()
        .warm_up_time(Duration::from_millis(400))
        .measurement_time(Duration::from_millis(1600))
        .configure_from_args();
    let measures: [(&str, Measure); 3] = [
        ("new pool to first result", first_result),
        ("one more worker", one_more),
        ("a process of one's own", process),
    ];
    for (name, measure) in measures {
        let mut group = criterion.benchmark_group(name);
        group.sample_size(20).sampling_mode(SamplingMode::Flat);
        for method in StartMethod::available() {
            group.bench_function(format!("{method:?}"), |bencher| {
                bencher.iter_custom(|times| (0..times).map(|_| measure(method)).sum());
            });
        }
    }
    criterion.bench_function("the command `true`", |bencher| {
        bencher.iter_custom(|times| (0..times).map(|_| command()).sum());
    });
    criterion.final_summary();
    for method in StartMethod::available() {
        let (private, proportional) = memory(method);
        println!(
            "an idle worker by {method:?}: {private} KiB for itself, {proportional} KiB in proportion"
        );
    }
}

/// From the start of a process of one's own to what its function gives. The fork server is there already.
fn process(method: StartMethod) -> Duration {
    let runtime = Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime").block_on(async {
        let run = async || {
            let process = Process::builder().start_method(method).spawn(|| (), ());
            process
                .await
                .expect("it starts")
                .join()
                .await
                .expect("it runs");
        };
        run().await;
        let begun = Instant::now();
        run().await;
        begun.elapsed()
    })
}

/// What the least of programs takes, to compare.
fn command() -> Duration {
    let begun = Instant::now();
    let status = Command::new("true").status().expect("there is a `true`");
    assert!(status.success());
    begun.elapsed()
}
