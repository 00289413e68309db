//! What a worker costs by the way it is started: the time to the first result of a new pool, the time
//! that one more worker takes, and the memory of one that idles. And what a process of one's own takes from
//! its start to its join, beside the command `true`. `cargo bench --bench starts`

#[path = "common/starts.rs"]
mod starts;

use std::time::Duration;

use concurrent_futures::StartMethod;
use criterion::{Criterion, SamplingMode};

use self::starts::{command, first_result, memory, one_more, process};

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
