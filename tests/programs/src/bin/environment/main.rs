//! Changes its surroundings according to its arguments, and then tries everything that the crate offers. It prints a
//! line for each attempt: its name, and `ok` or the error. An attempt that hangs ends the program by SIGALRM.

#![expect(unsafe_code, reason = "changes its surroundings by system calls")]

mod attempts;
mod filter;
mod report;
mod surroundings;

use concurrent_futures::StartMethod;

use self::report::Report;

fn main() {
    let changes: Vec<_> = std::env::args().skip(1).collect();
    // A worker receives no arguments, and inherits the changed surroundings.
    let mut report = None;
    if !changes.is_empty() {
        let stdout = Report::new();
        for change in &changes {
            if let Err(reason) = surroundings::change(change) {
                stdout.skip(&reason);
                return;
            }
        }
        report = Some(stdout);
    }
    concurrent_futures::init();
    let report = report.expect("arguments, or at least `as-it-is`");
    attempts::objects(&report);
    for method in [
        StartMethod::Fork, // First, while there is one thread.
        StartMethod::Spawn,
        StartMethod::ForkServer,
    ] {
        attempts::pool(&report, method);
        attempts::process(&report, method);
    }
    attempts::dead_holders(&report);
    attempts::without_a_runtime(&report);
    attempts::standard_streams(&report);
    attempts::nothing_left(&report);
}
