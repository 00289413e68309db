//! Where `unsafe` may occur.

use crate::model::{Model, Part};
use crate::sources::sources;

/// The system's calls, and the number that becomes a function. Also the callers of an unsafe function in these files,
/// each of which keeps the function's promise: an array's guard, the forks, a scope, and a worker that runs the
/// function that its parent names.
const UNSAFE: &[&str] = &[
    "sys/",
    "function.rs",
    "multiprocessing/memory/array.rs",
    "process/start/fork_here.rs",
    "process/start/forkserver.rs",
    "thread/scope.rs",
    "worker/desk.rs",
];

#[test]
fn unsafe_code_stays_where_it_is_explained() {
    let model = Model::of_crate();
    let (explained, elsewhere): (Vec<&Part>, Vec<&Part>) = model
        .parts()
        .filter(|part| part.is_unsafe())
        .partition(|part| UNSAFE.iter().any(|place| part.file.starts_with(place)));
    assert!(!explained.is_empty(), "the source was read");
    let elsewhere: Vec<&str> = elsewhere.iter().map(|part| part.file.as_str()).collect();
    assert!(elsewhere.is_empty(), "unsafe code in {elsewhere:?}");
}

/// The package `properties` compiles the same files, so `cfg(test)` alone would run a unit test twice.
#[test]
fn each_unit_test_runs_in_one_package() {
    for (name, text) in sources() {
        let runs_twice = text.contains("#[cfg(test)]\nmod tests") && text.contains("#[test]");
        assert!(
            !runs_twice,
            "{name}: its unit tests need #[cfg(all(test, not(properties)))]"
        );
    }
}
