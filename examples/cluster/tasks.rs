//! The functions of the queue. Client and worker have the same list; two programs would share it in a library.

use std::{hint, process};

use concurrent_futures::cluster::Functions;
use concurrent_futures::functions;
use concurrent_futures::worker;

pub(crate) fn functions() -> Functions {
    functions![is_prime, crash] // Their names are as written here.
        .add("primes.count", count_primes) // This name stays the same if the function moves.
        .add("primes.parse", parse)
        .add("primes.spin", spin)
}

pub(crate) fn is_prime(n: u64) -> bool {
    n > 1 && (2..=n.isqrt()).all(|divisor| !n.is_multiple_of(divisor))
}

/// The number of primes below a limit. Reports its progress.
pub(crate) fn count_primes(limit: u64) -> u64 {
    let step = (limit / 100).max(1);
    let mut count = 0;
    for n in 0..limit {
        count += u64::from(is_prime(n));
        if n % step == 0
            && let Some(context) = worker::current()
        {
            context.report_progress(n, limit);
        }
    }
    count
}

/// The function's own error is a value like any other.
pub(crate) fn parse(text: String) -> Result<u64, String> {
    text.parse()
        .map_err(|error| format!("{text:?} is no number: {error}"))
}

/// Crashes, as a C library with a bug might do.
pub(crate) fn crash() {
    eprintln!("about to crash");
    process::abort();
}

/// Never ends by itself.
pub(crate) fn spin() {
    if let Some(context) = worker::current() {
        context.report_progress(0, 0);
    }
    loop {
        hint::spin_loop();
    }
}
