//! Workers that write endlessly. The task that drives them runs on the same thread as the rest of the test.

use std::cell::Cell;
use std::future::poll_fn;
use std::io::Write as _;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::pin::pin;
use std::process::{Command, Stdio};
use std::rc::Rc;
use std::time::Duration;

use concurrent_futures::{ExecutorExt as _, Output, StartMethod, TaskOptions};
use serde::{Deserialize, Serialize};

use super::common::folder::Folder;
use super::common::{Key, within};
use super::inside::{self, BULK, Inside, PROGRESS, TAKEN, frame, message, one_number, outcomes};
use super::methods::{builder, held_by_every_start_method};
use super::trial::{Trial, is_breach};

held_by_every_start_method! { 1;
    a_flood_of_answers_holds_up_no_timeout,
    a_flood_of_answers_leaves_the_other_tasks_of_the_runtime_their_turns,
    a_flood_of_lines_leaves_the_other_tasks_of_the_runtime_their_turns,
    a_process_that_a_dead_worker_left_delays_no_outcome_however_much_it_writes,
    frames_behind_a_large_result_that_never_arrives_are_limited,
}

const MIB: usize = 1 << 20;

/// What a worker writes repeatedly.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
enum Flood {
    /// Frames without outcomes.
    Empty,
    /// Messages about calls that it does not have.
    Progress,
    Taken,
    /// Announcements of large results without parts.
    NoParts,
    /// Frames that contain only names of calls.
    Calls,
    /// Frames with values of a call that it does not have.
    Values,
}

const FLOODS: [Flood; 6] = [
    Flood::Empty,
    Flood::Progress,
    Flood::Taken,
    Flood::NoParts,
    Flood::Calls,
    Flood::Values,
];

impl Flood {
    /// Many such frames.
    fn frames(self) -> Vec<u8> {
        const OTHER: u32 = 1 << 31;
        let frame = match self {
            Self::Empty => outcomes(&[]),
            Self::Progress => message(PROGRESS, &one_number(OTHER)),
            Self::Taken => message(TAKEN, &one_number(OTHER)),
            Self::NoParts => {
                let announced = message(BULK, &[0x91, 0x90]);
                [announced, outcomes(&[])].concat()
            }
            Self::Calls => outcomes(&inside::call(OTHER, 0).repeat(5000)),
            Self::Values => {
                let values = [0, 0].repeat(20_000);
                outcomes(&[inside::call(OTHER, 0), values].concat())
            }
        };
        frame.repeat(64 * 1024 / frame.len() + 1)
    }
}

/// Floods its parent until it is killed.
fn flood(flood: Flood, gate: Key) {
    let (inside, frames) = (Inside::find(), flood.frames());
    gate.wait();
    while (&inside.pipe).write_all(&frames).is_ok() {}
}

/// Waits, sends `len` bytes, and waits again.
fn send(flood: Flood, len: usize, gate: Key) {
    let (inside, frames) = (Inside::find(), flood.frames());
    gate.wait();
    for _ in 0..len / frames.len() {
        inside.send(&frames);
    }
    gate.wait();
}

/// Waits, writes `len` ends of lines to stderr, and waits again.
fn print(len: usize, gate: Key) {
    let _ = rustix::pipe::fcntl_setpipe_size(std::io::stderr(), MIB);
    let lines = vec![b'\n'; MIB];
    gate.wait();
    for _ in 0..len / MIB {
        std::io::stderr().write_all(&lines).expect("it is read");
    }
    gate.wait();
}

/// Awaits `future`. Returns how often other tasks of the runtime ran meanwhile.
async fn turns_during<F: Future>(future: F) -> (F::Output, usize) {
    let turns = Rc::new(Cell::new(0));
    let mut future = pin!(within(future));
    let counter = turns.clone();
    let output = poll_fn(|cx| {
        counter.set(counter.get() + 1);
        let polled = future.as_mut().poll(cx);
        if polled.is_pending() {
            cx.waker().wake_by_ref();
        }
        polled
    });
    (output.await, turns.get())
}

async fn a_flood_of_answers_holds_up_no_timeout(method: StartMethod) {
    let mut trial = Trial::new(builder(method).max_workers(2));
    let options = TaskOptions::new().timeout(Duration::from_millis(300));
    for kind in FLOODS {
        trial.is_quiet().await;
        let key = trial.key();
        let hostile = trial.pool.submit_with(&options, flood, (kind, key));
        trial.hostile().await.let_in().await;
        trial.submit_honest(20);
        let error = within(hostile).await.expect_err("it is endless");
        assert!(error.is_timeout(), "{kind:?}: {error}");
    }
    trial.harms_no_other().await;
}

async fn a_flood_of_answers_leaves_the_other_tasks_of_the_runtime_their_turns(method: StartMethod) {
    const SENT: usize = 4 * MIB;
    let mut trial = Trial::new(builder(method).max_workers(2));
    for kind in FLOODS {
        trial.is_quiet().await;
        let hostile = trial.pool.submit(send, (kind, SENT, trial.key()));
        trial.submit_honest(20);
        trial.hostile().await.let_in().await;
        let (guest, turns) = turns_during(trial.hostile()).await;
        // All of it was read, except for what fits in the pipe.
        assert!(turns >= SENT / (256 * 1024), "{kind:?}: {turns} turns");
        drop(guest);
        within(hostile).await.expect("it returns");
    }
    trial.harms_no_other().await;
}

async fn a_flood_of_lines_leaves_the_other_tasks_of_the_runtime_their_turns(method: StartMethod) {
    const SENT: usize = 2 * MIB;
    let lines = builder(method).max_workers(2).stderr(Output::lines(drop));
    let mut trial = Trial::new(lines);
    let hostile = trial.pool.submit(print, (SENT, trial.key()));
    trial.submit_honest(20);
    trial.hostile().await.let_in().await;
    let (guest, turns) = turns_during(trial.hostile()).await;
    assert!(turns >= SENT / (64 * 1024), "{turns} turns");
    drop(guest);
    within(hostile).await.expect("it returns");
    trial.harms_no_other().await;
}

async fn a_process_that_a_dead_worker_left_delays_no_outcome_however_much_it_writes(
    method: StartMethod,
) {
    /// Leaves processes that write frames into the pipe, and lines to stderr. They are not in the worker's process
    /// group.
    #[expect(clippy::zombie_processes, reason = "the worker dies before them")]
    fn leave_writers(frames: PathBuf) {
        std::fs::write(&frames, Flood::Progress.frames().repeat(32)).expect("a file");
        let inside = Inside::find();
        for (script, stream) in [
            ("while cat \"$0\"; do :; done", Stdio::from(inside.pipe)),
            ("yes ''", Stdio::from(std::io::stderr())),
        ] {
            let mut writer = Command::new("sh");
            let writer = writer.args(["-c", script]).arg(&frames).stdout(stream);
            writer.process_group(0).spawn().expect("it starts");
        }
        std::process::abort();
    }
    let folder = Folder::new();
    let lines = builder(method).max_workers(2).stderr(Output::lines(drop));
    let mut trial = Trial::new(lines);
    let frames = folder.path().join("frames");
    let hostile = trial.pool.submit(leave_writers, frames);
    trial.submit_honest(20);
    let error = within(hostile).await.expect_err("it died");
    assert!(error.is_worker_lost(), "{error}");
    trial.harms_no_other().await; // The writers end with the pipes.
}

async fn frames_behind_a_large_result_that_never_arrives_are_limited(method: StartMethod) {
    /// Announces a part that it never puts into the ring, and continues to send.
    fn send_behind(gate: Key) {
        let inside = Inside::find();
        let part = [0x92, 0, 0xce, 0, 1, 0, 0]; // At 0, 64 KiB.
        inside.send(&message(BULK, &[&[0x91, 0x91][..], &part].concat()));
        let empty = frame(&[67]);
        inside.send(&empty);
        let more = empty.repeat(10_000);
        let mut sent = 0;
        while sent < 64 * MIB && (&inside.pipe).write_all(&more).is_ok() {
            sent += more.len();
        }
        gate.wait(); // The worker was not ended.
    }
    let mut trial = Trial::new(builder(method).max_workers(2));
    let hostile = trial.pool.submit(send_behind, trial.key());
    trial.submit_honest(20);
    let outcome = tokio::select! {
        outcome = within(hostile) => outcome,
        _ = trial.hostile() => panic!("it could send 64 MiB"),
    };
    is_breach(&outcome.expect_err("it was ended"), "sending more");
    trial.harms_no_other().await;
}
