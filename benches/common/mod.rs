//! What is compared, and how it is shown. Reading order: [`contender`], [`limit`]; what criterion does not
//! measure: [`heartbeat`], [`queue`], [`starts`]; [`peers`] in Python; [`figure`], [`table`], [`plot`].

use self::contender::WORKERS;

pub(crate) mod contender;
pub(crate) mod figure;
pub(crate) mod heartbeat;
pub(crate) mod limit;
pub(crate) mod peers;
pub(crate) mod plot;
pub(crate) mod queue;
pub(crate) mod starts;
pub(crate) mod table;

/// A runtime of two threads, as in a service, with as many blocking threads as the others have workers.
pub(crate) fn runtime() -> tokio::runtime::Runtime {
    runtime_for(WORKERS)
}

/// As `runtime`, with this number of blocking threads.
pub(crate) fn runtime_for(workers: usize) -> tokio::runtime::Runtime {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .max_blocking_threads(workers)
        .enable_all()
        .build();
    runtime.expect("the threads start")
}
