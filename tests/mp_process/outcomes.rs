//! The outcomes of a function that ran in a process.

use std::fs::{self, File};
use std::io::Read as _;
use std::os::fd::AsRawFd as _;
use std::path::PathBuf;

use concurrent_futures::StartMethod;
use concurrent_futures::multiprocessing::{Process, Stdio};
use rustix::process::{Signal, kill_process};
use serde::{Deserialize, Serialize};

use super::common::folder::Folder;
use super::common::{Gate, within};
use super::methods::held_by_every_start_method;
use super::{builder, wait_at};

held_by_every_start_method! { 1;
    the_value_of_a_function_comes_back_and_its_process_exits_with_0,
    a_panic_is_reported_with_its_place_and_its_process_exits_with_101,
    an_exit_is_reported_by_its_code,
    a_death_by_a_signal_differs_from_an_exit,
    a_failure_to_encode_or_decode_is_reported_where_it_happens,
    a_thread_that_keeps_a_stream_does_not_hold_up_the_end,
    a_function_that_closes_every_descriptor_loses_its_outcome_and_spoils_no_file,
}

fn kill_myself(signal: i32) {
    let signal = Signal::from_named_raw(signal).expect("a signal");
    kill_process(rustix::process::getpid(), signal).expect("it is there");
}

async fn the_value_of_a_function_comes_back_and_its_process_exits_with_0(method: StartMethod) {
    let function = |base: u64, text: String| (base * 2, text.to_uppercase(), std::process::id());
    let process = within(builder(method).spawn(function, (21, "text".to_owned()))).await;
    let process = process.expect("it starts");
    let (number, text, pid) = within(process.join()).await.expect("it ran");
    assert_eq!((number, text.as_str(), pid), (42, "TEXT", process.pid()));
    assert_ne!(pid, std::process::id());
    assert!(!process.is_alive());
    assert_eq!((process.exit_code(), process.signal()), (Some(0), None));
    assert!(process.name().contains("mp_process"), "{}", process.name());
    let named = within(builder(method).name("mine").spawn(|| (), ())).await;
    let named = named.expect("it starts");
    assert_eq!(named.name(), "mine");
    let debug = format!("{named:?}");
    assert!(debug.contains("mine") && debug.contains("pid"), "{debug}");
    within(named.join()).await.expect("it ran");
}

async fn a_panic_is_reported_with_its_place_and_its_process_exits_with_101(method: StartMethod) {
    let builder = builder(method).name("careless").stderr(Stdio::piped());
    let process = within(builder.spawn(|| -> u32 { panic!("out of cheese") }, ())).await;
    let mut process = process.expect("it starts");
    let error = within(process.join()).await.expect_err("it panicked");
    assert!(error.is_panic() && error.was_started(), "{error}");
    assert_eq!(error.panic_message(), Some("out of cheese"));
    let place = error.panic_location().expect("a place");
    assert!(place.file().ends_with("outcomes.rs"), "{place}");
    assert_eq!(error.task_name(), "careless");
    assert_eq!((process.exit_code(), process.signal()), (Some(101), None));
    let mut printed = String::new();
    let stderr = process.take_stderr().expect("it is piped");
    (&stderr)
        .read_to_string(&mut printed)
        .expect("it has ended");
    assert!(printed.contains("out of cheese"), "{printed}");
}

async fn an_exit_is_reported_by_its_code(method: StartMethod) {
    for code in [0, 7] {
        let exit = |code| -> u32 { std::process::exit(code) };
        let process = within(builder(method).spawn(exit, code)).await;
        let process = process.expect("it starts");
        let error = within(process.join()).await.expect_err("it gave nothing");
        assert!(error.is_worker_lost() && error.was_started(), "{error}");
        assert_eq!((error.exit_code(), error.signal()), (Some(code), None));
        assert_eq!(error.worker_pid(), Some(process.pid()));
        assert_eq!((process.exit_code(), process.signal()), (Some(code), None));
    }
}

async fn a_death_by_a_signal_differs_from_an_exit(method: StartMethod) {
    let aborts = builder(method).spawn(|| -> u32 { std::process::abort() }, ());
    let process = within(aborts).await.expect("it starts");
    let error = within(process.join()).await.expect_err("it aborted");
    assert!(error.is_worker_lost() && error.was_started(), "{error}");
    assert_eq!((error.exit_code(), error.signal()), (None, Some(6)));
    assert!(error.to_string().contains("SIGABRT"), "{error}");

    let process = within(builder(method).spawn(kill_myself, Signal::USR1.as_raw())).await;
    let process = process.expect("it starts");
    let error = within(process.join()).await.expect_err("it died");
    assert!(error.is_worker_lost() && error.was_started(), "{error}");
    assert_eq!((error.exit_code(), error.signal()), (None, Some(10)));
    assert!(error.to_string().contains("SIGUSR1"), "{error}");
    assert_eq!((process.exit_code(), process.signal()), (None, Some(10)));
    for (end, signal) in [
        (Process::terminate as fn(&Process<()>), 15),
        (Process::kill, 9),
    ] {
        let gate = Gate::new();
        let process = within(builder(method).spawn(wait_at, gate.key())).await;
        let process = process.expect("it starts");
        let guest = gate.guest().await;
        assert_eq!(guest.pid(), process.pid());
        assert!(process.is_alive());
        assert_eq!((process.exit_code(), process.signal()), (None, None));
        end(&process);
        let error = within(process.join()).await.expect_err("it was ended");
        assert_eq!((error.exit_code(), error.signal()), (None, Some(signal)));
        assert_eq!(process.signal(), Some(signal));
        end(&process); // This affects no other process.
    }
}

/// An argument or a result that can be encoded, or cannot.
#[derive(Debug)]
struct Fickle {
    writes: bool,
    reads: bool,
}

impl Serialize for Fickle {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.writes {
            true => self.reads.serialize(serializer),
            false => Err(serde::ser::Error::custom("not today")),
        }
    }
}

impl<'de> Deserialize<'de> for Fickle {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let writes = true;
        match bool::deserialize(deserializer)? {
            true => Ok(Self {
                writes,
                reads: true,
            }),
            false => Err(serde::de::Error::custom("not tomorrow")),
        }
    }
}

async fn a_failure_to_encode_or_decode_is_reported_where_it_happens(method: StartMethod) {
    let of = |writes, reads| Fickle { writes, reads };
    let error = within(builder(method).spawn(|_: Fickle| (), of(false, true))).await;
    let error = error.expect_err("it cannot be sent");
    assert!(
        error.is_codec() && error.to_string().contains("not today"),
        "{error}"
    );

    let process = within(builder(method).spawn(|_: Fickle| (), of(true, false))).await;
    let process = process.expect("it starts");
    let error = within(process.join()).await.expect_err("it cannot be read");
    assert!(error.is_codec() && !error.was_started(), "{error}");
    assert!(error.to_string().contains("not tomorrow"), "{error}");
    assert_eq!(process.exit_code(), Some(1));

    let give = |writes, reads| Fickle { writes, reads };
    let process = within(builder(method).spawn(give, (false, true))).await;
    let process = process.expect("it starts");
    let error = within(process.join())
        .await
        .expect_err("it cannot be sent back");
    assert!(error.is_codec() && error.was_started(), "{error}");
    assert!(error.to_string().contains("not today"), "{error}");
    assert_eq!(process.exit_code(), Some(1));

    let process = within(builder(method).spawn(give, (true, false))).await;
    let process = process.expect("it starts");
    let error = within(process.join())
        .await
        .expect_err("it cannot be read here");
    assert!(error.is_codec() && error.was_started(), "{error}");
    assert!(error.to_string().contains("not tomorrow"), "{error}");
    assert_eq!(process.exit_code(), Some(0));
}

async fn a_thread_that_keeps_a_stream_does_not_hold_up_the_end(method: StartMethod) {
    fn leave_a_thread() -> u8 {
        let (has_it, waits) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            let _stdout = std::io::stdout().lock();
            has_it.send(()).expect("it waits");
            loop {
                std::thread::park();
            }
        });
        waits.recv().expect("the thread runs");
        7
    }
    let process = within(builder(method).spawn(leave_a_thread, ())).await;
    let process = process.expect("it starts");
    assert_eq!(within(process.join()).await.expect("it ran"), 7);
    assert_eq!(process.exit_code(), Some(0));
}

async fn a_function_that_closes_every_descriptor_loses_its_outcome_and_spoils_no_file(
    method: StartMethod,
) {
    fn close_all_and_open_a_file(path: PathBuf) -> u32 {
        #[expect(
            unsafe_code,
            reason = "closes what it does not own, as some libraries do"
        )]
        // SAFETY: no code of this test uses any of them later.
        unsafe {
            libc::close_range(3, libc::c_uint::MAX, 0);
        }
        let file = File::create(path).expect("a file");
        // The file gets all the numbers that were free.
        while let Ok(another) = rustix::io::dup(&file)
            && another.as_raw_fd() < 2000
        {
            std::mem::forget(another);
        }
        std::mem::forget(file);
        7
    }
    let folder = Folder::new();
    let path = folder.path().join("file");
    let builder = builder(method).stderr(Stdio::piped());
    let process = within(builder.spawn(close_all_and_open_a_file, path.clone())).await;
    let mut process = process.expect("it starts");
    let mut stderr = process.take_stderr().expect("it is piped");
    let error = within(process.join())
        .await
        .expect_err("its outcome is lost");
    assert!(error.is_worker_lost() && error.was_started(), "{error}");
    assert_eq!(process.exit_code(), Some(1));
    let mut text = String::new();
    stderr.read_to_string(&mut text).expect("it has ended");
    assert!(text.contains("descriptors of its worker"), "{text}");
    assert_eq!(fs::read(path).expect("a file"), b"");
}
