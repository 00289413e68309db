//! Workers that announce much data, or invent places in the program. Memory is counted, so each test has its own
//! process.

use std::sync::atomic::Ordering;
use std::time::Duration;

use concurrent_futures::{ExecutorExt as _, StartMethod, TaskOptions};
use rustix::process::{Resource, Rlimit, setrlimit};
use serde::{Deserialize, Serialize};

use super::alone::alone;
use super::common::{Key, within};
use super::inside::{BULK, EVENT, Inside, frame, message, outcomes};
use super::methods::builder;
use super::trial::Trial;

const MIB: usize = 1 << 20;
/// What a worker announces: less than the most that a frame may have.
const ANNOUNCED: u32 = 900 << 20;

/// A number of the status of this process, in KiB.
fn status(name: &str) -> usize {
    let status = std::fs::read_to_string("/proc/self/status").expect("/proc");
    let line = status.lines().find(|line| line.starts_with(name));
    let number = line.and_then(|line| line.split_ascii_whitespace().nth(1));
    number.expect("a number").parse().expect("a number")
}

fn limit_memory(bytes: Option<usize>) {
    let current = bytes.map(|bytes| bytes as u64);
    let limit = Rlimit {
        current,
        maximum: None,
    };
    setrlimit(Resource::As, limit).expect("a limit");
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
enum Announcement {
    Frame,
    /// A part that should arrive through the ring, of which little arrives.
    Part,
}

/// Announces a large result, which never arrives.
fn announce(what: Announcement, gate: Key) {
    let inside = Inside::find();
    match what {
        Announcement::Frame => inside.send(&[&ANNOUNCED.to_le_bytes()[..], &[67; 4000]].concat()),
        Announcement::Part => {
            let part = [&[0x92, 0, 0xce][..], &ANNOUNCED.to_be_bytes()].concat();
            inside.send(&message(BULK, &[&[0x91, 0x91][..], &part].concat()));
            inside.send(&outcomes(&[]));
            let moved = message(super::inside::MOVED, &[0xc0]);
            for written in [MIB, 2 * MIB] {
                inside.ring(1, 0).store(written as u64, Ordering::SeqCst);
                inside.send(&moved);
                while inside.ring(1, 128).load(Ordering::SeqCst) as u32 != written as u32 {
                    std::thread::yield_now();
                }
            }
        }
    }
    gate.wait();
}

#[test]
fn the_announcement_of_a_worker_reserves_no_memory() {
    alone(
        "announcements::the_announcement_of_a_worker_reserves_no_memory",
        || async {
            let mut trial = Trial::new(builder(StartMethod::Spawn).max_workers(2));
            within(trial.pool.warm_up()).await.expect("workers");
            trial.submit_honest(20);
            let hostile = [Announcement::Frame, Announcement::Part];
            let options = TaskOptions::new().timeout(Duration::from_secs(3));
            for what in hostile {
                trial.is_quiet().await;
                let task = (what, trial.key());
                let hostile = trial.pool.submit_with(&options, announce, task);
                // An allocation beyond this limit ends this process.
                limit_memory(Some(status("VmSize:") * 1024 + 600 * MIB));
                let error = within(hostile).await.expect_err("it never arrives");
                limit_memory(None);
                assert!(error.is_timeout(), "{what:?}: {error}");
            }
            trial.harms_no_other().await;
        },
    );
}

/// Sends events of places that have nothing in common and have long names.
fn invent_places(count: u32) {
    let inside = Inside::find();
    for number in 0..count {
        let mut target = number.to_string();
        target.push_str(&"x".repeat(100 * 1024));
        let len = u32::try_from(target.len()).expect("a length");
        let level = [0x92, 2, 0xc0];
        let target = [&[0xdb][..], &len.to_be_bytes(), target.as_bytes()].concat();
        // name, target, module, file, line, fields
        let place = [
            &[0x97][..],
            &level,
            &[0xa0],
            &target,
            &[0xc0, 0xc0, 0xc0, 0x90],
        ]
        .concat();
        let fields = [&[0x92, 0xc0, 0x92][..], &place, &[0x90]].concat();
        let encoded = [&[0x92, EVENT][..], &fields].concat();
        let mut head = vec![2];
        let mut rest = encoded.len() << 1;
        while rest >= 0x80 {
            head.push(rest as u8 | 0x80);
            rest >>= 7;
        }
        head.push(rest as u8);
        inside.send(&frame(&[head, encoded].concat()));
    }
}

#[test]
fn places_that_a_worker_invents_take_no_memory() {
    if !cfg!(feature = "tracing") {
        return; // This build has no events.
    }
    alone(
        "announcements::places_that_a_worker_invents_take_no_memory",
        || async {
            let mut trial = Trial::new(builder(StartMethod::Spawn).max_workers(2));
            trial.submit_honest(20);
            trial.is_quiet().await;
            let before = status("VmHWM:");
            within(trial.pool.submit(invent_places, 2000))
                .await
                .expect("it returns");
            let more = status("VmHWM:") - before;
            assert!(more < 50 * 1024, "{more} KiB");
            trial.harms_no_other().await;
        },
    );
}
