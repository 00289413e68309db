//! The other end of a pipe sends anything: packets that are not values, heads of values that do not arrive, and
//! descriptors of any kind.

use std::fs::File;
use std::io::IoSlice;

use proptest::prelude::*;
use proptest::test_runner::TestRunner;

use super::*;
use crate::common::{Change, cases, changes, memory_of};
use crate::multiprocessing::Lock;
use crate::sys::{self, AsFd as _, OwnedFd};
use crate::wire::descriptors::gather;
use crate::wire::{Chain, codec};

/// The most memory of a case: what a receiver reserves for a large value before it arrives.
const MOST_MEMORY: usize = 20 << 20;

#[derive(Clone, Copy, Debug)]
enum Beside {
    Stream,
    /// A stream that ends.
    Torn,
    /// A file with some bytes.
    File,
    /// A file that is longer than its memory.
    Sparse,
    Device,
}

impl Beside {
    fn open(self, bytes: &[u8]) -> (OwnedFd, Option<OwnedFd>) {
        match self {
            Self::Stream | Self::Torn => {
                let (theirs, ours) = sys::stream_pair().expect("a stream");
                let _ = sys::send_with_fds(ours.as_fd(), &[IoSlice::new(bytes)], &[]);
                (theirs, matches!(self, Self::Stream).then_some(ours))
            }
            Self::File | Self::Sparse => {
                let file = sys::growing_file().expect("memory");
                let len = if matches!(self, Self::File) {
                    4096
                } else {
                    1 << 32
                };
                sys::lengthen(&file, len).expect("memory");
                let _ = sys::write_at(&file, &[IoSlice::new(bytes)], 0);
                (file, None)
            }
            Self::Device => (File::open("/dev/null").expect("a device").into(), None),
        }
    }
}

fn encoded<T: serde::Serialize + 'static>(value: T) -> Vec<u8> {
    let (mut out, mut beside) = (Chain::new(), Vec::new());
    gather(&mut beside, || codec::put(value, &mut out)).expect("it can be sent");
    out.into_bytes().to_vec()
}

/// A packet, and its descriptors.
fn packet() -> impl Strategy<Value = (Vec<u8>, Vec<Beside>)> {
    let bytes = || prop::collection::vec(any::<u8>(), 0..60);
    let large = (
        prop_oneof![Just(70_000_usize), 65_536_usize..300_000],
        0_u8..4,
    );
    let head = large.prop_map(|(len, mark)| {
        let value = encoded(vec![1_u8; len]);
        let head = codec::value_head(&value).expect("a value");
        [&value[..head.own_len], &[mark]].concat()
    });
    let packet = prop_oneof![
        3 => bytes().prop_map(encoded),
        2 => any::<String>().prop_map(encoded),
        2 => any::<u64>().prop_map(encoded),
        1 => Just(()).prop_map(|()| encoded(Lock::new().expect("memory"))),
        4 => head,
        1 => bytes(),
    ];
    let beside = prop_oneof![
        Just(Beside::Stream),
        Just(Beside::Torn),
        Just(Beside::File),
        Just(Beside::Sparse),
        Just(Beside::Device),
    ];
    let changed = (packet, changes()).prop_map(|(bytes, change)| match change {
        Change::Repeat(_) => bytes,
        other => other.make(bytes),
    });
    (changed, prop::collection::vec(beside, 0..3))
}

/// Receives everything that was sent. Returns the number of results.
fn receive_all<T: Data>(socket: OwnedFd, most: usize) -> usize {
    let end = Connection::<(), T>::new(socket.into());
    let (mut received, mut refused) = (0, 0);
    while received + refused <= most {
        match end.try_recv() {
            Ok(value) => {
                drop(value);
                received += 1;
            }
            Err(error) if error.is_empty() || error.is_closed() => break,
            Err(_) => refused += 1,
        }
    }
    received + refused
}

#[test]
fn whatever_the_other_end_of_a_pipe_sends_each_packet_is_a_value_or_an_error() {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.enable_all().build().expect("a runtime");
    let _inside = runtime.enter();
    let mut runner = TestRunner::new(cases(2500));
    let input = (prop::collection::vec(packet(), 0..6), 0_usize..4);
    let tried = runner.run(&input, |(packets, kind)| {
        let (ours, theirs) = sys::packet_pair().expect("sockets");
        let mut open = Vec::new();
        for (bytes, beside) in &packets {
            let (fds, ends): (Vec<_>, Vec<_>) = beside.iter().map(|it| it.open(bytes)).unzip();
            let fds: Vec<_> = fds.iter().map(|fd| fd.as_fd()).collect();
            let _ = sys::send_with_fds(theirs.as_fd(), &[IoSlice::new(bytes)], &fds);
            open.extend(ends.into_iter().flatten());
        }
        let most = packets.len();
        let (results, memory) = memory_of(|| match kind {
            0 => receive_all::<Vec<u8>>(ours, most),
            1 => receive_all::<String>(ours, most),
            2 => receive_all::<u64>(ours, most),
            _ => receive_all::<Lock>(ours, most),
        });
        prop_assert!(results <= most);
        prop_assert!(memory <= MOST_MEMORY, "{} bytes", memory);
        Ok(())
    });
    tried.unwrap_or_else(|failure| panic!("{failure}"));
}
