//! Refusals of the system are reported with the name of the call.

use std::collections::BTreeSet;
use std::error::Error;
use std::time::Duration;

use concurrent_futures::multiprocessing::{
    Array, Barrier, Condition, Event, Lock, Queue, Semaphore, SharedMemory, Value, pipe,
};
use concurrent_futures::{ExecutorExt as _, StartMethod};
use rustix::process::{Resource, Rlimit, Signal, getrlimit, setrlimit};

use super::alone::{alone, descriptors};
use super::common::{eventually, within};
use super::methods::processes;
use super::{builder, kill};

/// Calls that need a descriptor.
const CALLS: &[&str] = &[
    "epoll_create1",
    "eventfd2",
    "fcntl",
    "memfd_create",
    "open",
    "pidfd_open",
    "pipe2",
    "posix_spawn",
    "recvmsg",
    "socketpair",
];

/// An error and its sources.
fn full_text(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text = format!("{text}: {error}");
        source = error.source();
    }
    text
}

/// The errors of all operations that need descriptors.
async fn errors_of_all(method: StartMethod) -> Vec<String> {
    let mut errors = Vec::new();
    let mut note = |error: Option<&dyn Error>| errors.extend(error.map(full_text));
    let start = builder(method).spawn_timeout(Duration::from_secs(20));
    match within(start.spawn(|| (), ())).await {
        Ok(process) => drop(within(process.join()).await),
        Err(error) => note(Some(&error)),
    }
    let name = format!("refused.{}", std::process::id());
    let objects = [
        Array::new(&[1_u64]).err(),
        Barrier::new(2).err(),
        Condition::new().err(),
        Event::new().err(),
        Lock::new().err(),
        Semaphore::new(1).err(),
        SharedMemory::create(1).err(),
        SharedMemory::create_named(&name, 1).err(),
        Value::new(1_u64).err(),
    ];
    for error in objects.iter().flatten() {
        note(Some(error));
    }
    note(
        Queue::<u8>::unbounded()
            .err()
            .as_ref()
            .map(|error| error as &dyn Error),
    );
    note(
        pipe::<u8, u8>()
            .err()
            .as_ref()
            .map(|error| error as &dyn Error),
    );
    errors
}

#[test]
fn an_error_of_the_system_names_the_call() {
    let test = "refused::an_error_of_the_system_names_the_call";
    alone(test, || async {
        for method in [StartMethod::Spawn, StartMethod::ForkServer] {
            let pool = processes(method, 1);
            within(pool.warm_up()).await.expect("a worker");
            // Everything that is created once exists after this.
            let process = within(builder(method).spawn(|| (), ())).await;
            within(process.expect("it starts").join())
                .await
                .expect("it ran");
            let before = getrlimit(Resource::Nofile);
            let mut named = BTreeSet::new();
            // From none up to all of the descriptors that are needed.
            for spare in 0..12 {
                let limit = |most| {
                    let few = Rlimit {
                        current: Some(most),
                        ..before
                    };
                    setrlimit(Resource::Nofile, few).expect("it may have fewer");
                };
                let last = descriptors().into_iter().map(|(fd, _)| fd).max();
                let most = last.expect("some are open").cast_unsigned() as u64 + 1;
                limit(most);
                // A number below the last one may be free.
                let stdin = rustix::stdio::stdin();
                let _others: Vec<_> = std::iter::from_fn(|| rustix::io::dup(stdin).ok()).collect();
                limit(most + spare);
                let mut errors = errors_of_all(method).await;
                kill(pool.workers()[0].pid(), Signal::KILL);
                eventually(|| pool.workers().is_empty()).await;
                let outcome = within(pool.submit(std::process::id, ())).await;
                errors.extend(outcome.err().as_ref().map(|error| full_text(error)));
                setrlimit(Resource::Nofile, before).expect("it may have that many");
                for text in errors {
                    let (reason, _) = text.split_once(": Too many open files").expect(&text);
                    let call = reason.rsplit(' ').next().unwrap_or_default();
                    assert!(CALLS.contains(&call), "{method:?} {spare}: {text}");
                    named.insert(call.to_owned());
                }
                within(pool.submit(|| (), ())).await.expect("it ran");
                eventually(|| pool.workers().len() == 1).await;
            }
            for call in ["memfd_create", "eventfd2", "socketpair"] {
                assert!(named.contains(call), "{method:?}: {call} in {named:?}");
            }
            within(pool.shutdown()).await;
        }
    });
}
