//! Everything that a starting process may send: a greeting and an answer, changed in any way, in any pieces, with
//! descriptors.

use std::net::Shutdown;
use std::time::Duration;

use proptest::prelude::*;
use proptest::strategy::LazyJust;
use proptest::test_runner::TestRunner;

use super::*;
use crate::common::{cases, changes, memory_of};
use crate::wire::message::tests::of_worker;

/// The most memory of a start before the process is ready: messages of the greatest length, decoded.
const MOST_MEMORY: usize = 4 * message::LONGEST;

fn framed(put: impl FnOnce(&mut Chain)) -> Vec<u8> {
    let mut out = Chain::new();
    put(&mut out);
    out.into_bytes().to_vec()
}

fn words() -> impl Strategy<Value = Vec<u8>> {
    let greeting = || framed(|out| BuildIdentity::own().put_greeting(out));
    let other = any::<(u16, Vec<u8>)>().prop_map(|(version, build)| {
        framed(|out| BuildIdentity { version, build }.put_greeting(out))
    });
    prop_oneof![
        6 => LazyJust::new(greeting),
        1 => other,
        4 => Just(framed(|out| message::put(out, &FromWorker::Ready))),
        2 => of_worker().prop_map(|message| framed(|out| message::put(out, &message))),
        1 => prop::collection::vec(any::<u8>(), 0..2000),
    ]
}

/// A message, and the number of its descriptors.
fn said() -> impl Strategy<Value = (Vec<u8>, usize)> {
    let bytes = (words(), changes()).prop_map(|(bytes, change)| change.make(bytes));
    (bytes, prop_oneof![9 => Just(0_usize), 1 => 0_usize..3])
}

/// The parent's verdict, and how much memory it took.
async fn meet(said: &[(Vec<u8>, usize)], keeps: bool) -> (Result<(), StartError>, usize) {
    let (ours, theirs) = sys::socket_pair().expect("a socket pair");
    let theirs = Socket::from(theirs);
    let mut connection = ChildConnection::begin(ours, Chain::new()).expect("a connection");
    if keeps {
        connection.keep_descriptors();
    }
    for (bytes, count) in said {
        let fds = vec![theirs.as_fd(); *count];
        // Bytes that do not fit in the socket are cut off.
        let _ = sys::send_with_fds(theirs.as_fd(), &[std::io::IoSlice::new(bytes)], &fds);
    }
    let _ = theirs.shutdown(Shutdown::Write);
    let mut memory = 0;
    let mut meeting = std::pin::pin!(connection.meet());
    let met = std::future::poll_fn(|cx| {
        let (met, taken) = memory_of(|| meeting.as_mut().poll(cx));
        memory = memory.max(taken);
        met
    });
    let met = timeout(Duration::from_secs(60), met).await;
    (met.expect("it ends with the bytes"), memory)
}

#[test]
fn whatever_a_process_that_starts_sends_it_is_ready_or_an_error_and_takes_little() {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.enable_all().build().expect("a runtime");
    let greeting = framed(|out| BuildIdentity::own().put_greeting(out));
    let ready = framed(|out| message::put(out, &FromWorker::Ready));
    let mut runner = TestRunner::new(cases(4000));
    let input = (prop::collection::vec(said(), 0..5), any::<bool>());
    let tried = runner.run(&input, |(said, keeps)| {
        let (met, memory) = runtime.block_on(meet(&said, keeps));
        prop_assert!(memory <= MOST_MEMORY, "{} bytes", memory);
        let bytes: Vec<u8> = said.iter().flat_map(|(bytes, _)| bytes.clone()).collect();
        let is_ready = bytes.starts_with(&[&greeting[..], &ready].concat());
        let fds: usize = said.iter().map(|(_, count)| count).sum();
        prop_assert!(is_ready || met.is_err());
        prop_assert!(!is_ready || met.is_ok() || fds > 0, "{:?}", met);
        Ok(())
    });
    tried.unwrap_or_else(|failure| panic!("{failure}"));
}
