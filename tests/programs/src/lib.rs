//! The crate in a shared library, and code that several programs share.

pub mod tasks;

use concurrent_futures::multiprocessing::Process;
use concurrent_futures::{BuildError, ProcessPoolExecutor, StartMethod, ThreadPoolExecutor};

/// The results of the constructors, one per line.
fn what_the_constructors_say() -> String {
    concurrent_futures::init();
    let mut lines = Vec::new();
    let mut say = |what: String, outcome: Result<(), BuildError>| {
        let outcome = outcome.map_err(|error| match error.is_unsupported() {
            true => format!("unsupported: {error}"),
            false => error.to_string(),
        });
        lines.push(format!(
            "{what}: {}",
            outcome.err().unwrap_or_else(|| "ok".to_owned())
        ));
    };
    for method in StartMethod::available() {
        let pool = ProcessPoolExecutor::builder().start_method(method).build();
        say(format!("{method:?}"), pool.map(drop));
    }
    say("threads".to_owned(), ThreadPoolExecutor::new().map(drop));
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    let process = runtime.block_on(Process::spawn(u64::pow, (2, 8)));
    lines.push(match process {
        Ok(_) => "process: ok".to_owned(),
        Err(error) => format!("process: {error}"),
    });
    lines.join("\n")
}

/// As an extension module: calls `take` with the results of the constructors.
#[unsafe(no_mangle)]
#[expect(unsafe_code, reason = "another language calls it by its name")]
pub extern "C" fn programs_what_the_constructors_say(take: extern "C" fn(*const u8, usize)) {
    let text = what_the_constructors_say();
    take(text.as_ptr(), text.len());
}
