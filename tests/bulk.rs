//! Large arguments and results, which are sent through memory that parent and worker share. They arrive complete and in
//! order, whatever is killed or cancelled meanwhile, and no memory remains afterwards.

#![cfg(feature = "process")]
#![cfg(target_os = "linux")]

#[path = "common/again.rs"]
mod again;
#[path = "common/alone.rs"]
mod alone;
mod common;
#[path = "common/methods.rs"]
mod methods;

use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;

use bytes::Bytes;
use concurrent_futures::{ExecutorExt as _, ProcessPoolExecutor, StartMethod, TaskOptions};
use futures::StreamExt as _;
use rustix::process::{Pid, Signal, kill_process};

use self::alone::{alone, children, descriptors};
use self::common::{Gate, Key, eventually, within};
use self::methods::{held_by_every_start_method, processes};

concurrent_futures::init_before_main!();

held_by_every_start_method! { 1;
    bytes_come_back_as_they_were_whatever_their_number,
    several_large_arguments_of_one_call_keep_their_places,
    large_and_small_calls_in_flight_are_not_mixed_up,
    kills_in_the_middle_of_large_payloads_leave_those_of_others_whole,
    cancels_in_the_middle_of_large_payloads_leave_those_of_others_whole,
}

const KIB: usize = 1024;
const MIB: usize = 1024 * KIB;

/// Sizes around each threshold, and many times the size of the ring.
const SIZES: &[usize] = &[
    0,
    1,
    16 * KIB,
    32 * KIB - 1,
    32 * KIB,
    60 * KIB,
    64 * KIB + 1,
    256 * KIB,
    256 * KIB + 1,
    MIB - 1,
    MIB,
    MIB + 1,
    5 * MIB + 7,
    17 * MIB + 3,
];

fn same<T>(value: T) -> T {
    value
}

/// Bytes that occur nowhere else.
fn noise(seed: u64, len: usize) -> Vec<u8> {
    let word = |n: usize| (n as u64 + (seed << 32)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let words: Vec<u64> = (0..len.div_ceil(8)).map(word).collect();
    let mut bytes: Vec<u8> = bytemuck::cast_slice(&words).to_vec();
    bytes.truncate(len);
    bytes
}

/// The same for several, made once.
fn noises(count: u64, len: usize) -> Vec<Vec<u8>> {
    (0..count).map(|seed| noise(seed, len)).collect()
}

async fn bytes_come_back_as_they_were_whatever_their_number(method: StartMethod) {
    let pool = processes(method, 1);
    for (seed, size) in (0..).zip(SIZES) {
        let bytes = noise(seed, *size);
        let handle = pool.submit(same, bytes.clone());
        assert!(within(handle).await.expect("an echo") == bytes, "{size}");
    }
    let text = "tüte".repeat(MIB);
    let echo = within(pool.submit(same, text.clone())).await;
    assert!(echo.expect("an echo") == text);
    let numbers: Vec<f64> = (0..MIB).map(|n| n as f64).collect();
    let echo = within(pool.submit(same, numbers.clone())).await;
    assert!(echo.expect("an echo") == numbers);
    let names: BTreeMap<u32, String> = (0..60_000).map(|n| (n, n.to_string())).collect();
    let echo = within(pool.submit(same, names.clone())).await;
    assert!(echo.expect("an echo") == names);
}

type Pieces = (Vec<u8>, u32, Bytes, String, Vec<u64>, Option<Vec<String>>);

async fn several_large_arguments_of_one_call_keep_their_places(method: StartMethod) {
    fn pack(
        a: Vec<u8>,
        b: u32,
        c: Bytes,
        d: String,
        e: Vec<u64>,
        f: Option<Vec<String>>,
    ) -> Pieces {
        (a, b, c, d, e, f)
    }
    fn join(items: Vec<Vec<u8>>) -> Vec<u8> {
        items.concat()
    }
    let pool = processes(method, 1);
    for (seed, size) in (0..).zip(&SIZES[..12]) {
        let pieces: Pieces = (
            noise(seed, *size),
            7,
            noise(seed + 100, MIB - size / 20).into(),
            "x".repeat(*size / 3),
            (0..*size as u64 / 9).collect(),
            Some(vec!["some text".to_owned(); *size / 500]),
        );
        let (a, b, c, d, e, f) = pieces.clone();
        let packed = within(pool.submit(pack, (a, b, c, d, e, f))).await;
        assert!(packed.expect("it came back") == pieces, "{size}");
    }
    let items: Vec<_> = (0..9).map(|seed| noise(seed, 200_000)).collect();
    let joined = within(pool.submit(join, items.clone())).await;
    assert!(joined.expect("it came back") == items.concat());
}

/// Of items of all sizes, in chunks and one by one, each result is that of its item.
async fn large_and_small_calls_in_flight_are_not_mixed_up(method: StartMethod) {
    fn size(n: u64) -> usize {
        [3, 40 * KIB, 500, 700 * KIB, 64 * KIB, 2 * MIB][n as usize % 6]
    }
    for workers in [1, 2] {
        let pool = processes(method, workers);
        let singles: Vec<_> = (0..40)
            .map(|n| pool.submit(same, noise(n, size(n))))
            .collect();
        let many = pool.map(same, (0..120).map(|n| noise(n, size(n) / 4)));
        let mut many = std::pin::pin!(many.chunk_size(20));
        for (n, single) in (0..).zip(singles) {
            let bytes = within(single).await.expect("an echo");
            assert!(bytes == noise(n, size(n)), "{n}");
        }
        for n in 0..120 {
            let bytes = within(many.next())
                .await
                .expect("as many")
                .expect("an echo");
            assert!(bytes == noise(n, size(n) / 4), "{n}");
        }
    }
}

/// Waits for some turns of the runtime, more in each round: in the last rounds, all work is done by then.
async fn turns(count: u64) {
    for _ in 0..count {
        tokio::task::yield_now().await;
    }
}

async fn kills_in_the_middle_of_large_payloads_leave_those_of_others_whole(method: StartMethod) {
    let pool = processes(method, 2);
    let payloads = noises(4, 3 * MIB);
    let mut lost = 0;
    for round in 0..30 {
        let submit = |payload: &Vec<u8>| pool.submit(same, payload.clone());
        let handles: Vec<_> = payloads.iter().map(submit).collect();
        turns(round * round % 131).await;
        if let Some(worker) = pool.workers().first() {
            let pid = Pid::from_raw(worker.pid() as i32).expect("a process");
            let _ = kill_process(pid, Signal::KILL);
        }
        for (payload, handle) in payloads.iter().zip(handles) {
            match within(handle).await {
                Ok(bytes) => assert!(bytes == *payload),
                Err(error) => {
                    assert!(error.is_worker_lost(), "{error}");
                    lost += 1;
                }
            }
        }
    }
    assert!(lost <= 30, "each kill costs one task: {lost}");
}

async fn cancels_in_the_middle_of_large_payloads_leave_those_of_others_whole(method: StartMethod) {
    let pool = processes(method, 1);
    let graceful = TaskOptions::new().grace_period(Duration::from_secs(60));
    let payloads = noises(5, 2 * MIB);
    for round in 0..40 {
        let submit = |payload: &Vec<u8>| pool.submit_with(&graceful, same, payload.clone());
        let handles: Vec<_> = payloads.iter().map(submit).collect();
        turns(round * round % 97).await;
        for (n, handle) in handles.iter().enumerate() {
            if n % 2 == round as usize % 2 {
                handle.abort();
            }
        }
        for (payload, handle) in payloads.iter().zip(handles) {
            match within(handle).await {
                Ok(bytes) => assert!(bytes == *payload),
                Err(error) => assert!(error.is_cancelled(), "{error}"),
            }
        }
    }
}

/// The parent sends a call that is larger than the ring, and takes it back before the worker, which is busy, has read
/// any of it.
#[tokio::test]
async fn large_arguments_that_are_taken_back_are_passed_over() {
    fn wait_at(gate: Key) {
        gate.wait();
    }
    let pool = ProcessPoolExecutor::with_workers(1).expect("a pool");
    for _ in 0..3 {
        let quick = within(pool.submit(same, 1_u8)).await; // So that calls are sent ahead.
        assert_eq!(quick.expect("it ran"), 1);
        let gate = Gate::new();
        let first = pool.submit(wait_at, gate.key());
        let guest = gate.guest().await;
        let unwanted = pool.submit(same, noise(1, 9 * MIB));
        let wanted = pool.submit(same, noise(2, 3 * MIB));
        unwanted.abort();
        guest.let_in().await;
        within(first).await.expect("it was let in");
        assert!(
            within(unwanted)
                .await
                .expect_err("it is unwanted")
                .is_cancelled()
        );
        assert!(within(wanted).await.expect("an echo") == noise(2, 3 * MIB));
    }
}

/// How many KiB parent and worker may share besides the memory for large payloads.
const OTHERS: usize = 100;

/// A field of a process's status in `/proc`, in KiB.
fn status(process: &str, field: &str) -> usize {
    let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix(field));
    let number = line.and_then(|line| line.trim_matches([':', '\t', ' ', 'k', 'B']).parse().ok());
    number.expect("a number of KiB")
}

fn shared_while_it_runs(_: Vec<u8>) -> usize {
    status("self", "RssShmem")
}

#[test]
fn large_payloads_leave_no_descriptor_and_no_memory_when_the_worker_idles() {
    alone(
        "large_payloads_leave_no_descriptor_and_no_memory_when_the_worker_idles",
        || async {
            let pool = ProcessPoolExecutor::with_workers(1).expect("a pool");
            within(pool.submit(same, 1_u8)).await.expect("it ran");
            let worker = pool.workers()[0].pid().to_string();
            let (own, theirs) = (status("self", "RssShmem"), status(&worker, "RssShmem"));
            let before = descriptors();
            for round in 0..3 {
                let mut bytes = vec![round; 64 * MIB];
                for _ in 0..5 {
                    bytes = within(pool.submit(same, bytes)).await.expect("an echo");
                }
                assert!(bytes == vec![round; 64 * MIB]);
                let shared = within(pool.submit(shared_while_it_runs, bytes)).await;
                assert!(shared.expect("it ran") > theirs + OTHERS);
                // The shared memory is freed, and so are the buffers that both sides kept for the next payload.
                eventually(|| status("self", "RssShmem") < own + OTHERS).await;
                eventually(|| status(&worker, "RssShmem") < theirs + OTHERS).await;
                // The allocator may keep up to 32 MiB of a buffer's memory from before it grew.
                eventually(|| status(&worker, "RssAnon") < 56 * KIB).await;
                eventually(|| status("self", "RssAnon") < 56 * KIB).await;
                assert_eq!(descriptors(), before, "{round}");
            }
            within(pool.shutdown()).await;
            eventually(|| children().is_empty()).await;
        },
    );
}

/// Makes the system report to this process, and to those that it starts, that there is no memory for shared pages.
#[expect(unsafe_code, reason = "installs a filter of system calls")]
fn refuse_memory() {
    use libc::{BPF_ABS, BPF_JEQ, BPF_JMP, BPF_K, BPF_LD, BPF_RET, BPF_W, sock_filter};
    let load = |k| sock_filter {
        code: (BPF_LD | BPF_W | BPF_ABS) as u16,
        jt: 0,
        jf: 0,
        k,
    };
    let skip_unless = |k, jf| sock_filter {
        code: (BPF_JMP | BPF_JEQ | BPF_K) as u16,
        jt: 0,
        jf,
        k,
    };
    let answer = |k| sock_filter {
        code: (BPF_RET | BPF_K) as u16,
        jt: 0,
        jf: 0,
        k,
    };
    const NUMBER: u32 = 0;
    const THIRD_ARGUMENT: u32 = 16 + 2 * 8;
    let mut filter = [
        load(NUMBER),
        skip_unless(libc::SYS_madvise as u32, 3),
        load(THIRD_ARGUMENT),
        skip_unless(libc::MADV_POPULATE_WRITE as u32, 1),
        answer(libc::SECCOMP_RET_ERRNO | libc::ENOMEM as u32),
        answer(libc::SECCOMP_RET_ALLOW),
    ];
    let program = libc::sock_fprog {
        len: filter.len() as u16,
        filter: filter.as_mut_ptr(),
    };
    // SAFETY: the call takes four numbers.
    let locked = unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) };
    assert_eq!(locked, 0);
    // SAFETY: the program is valid, and the system copies it before the call returns; it applies to all threads and
    // changes the result of one call.
    let installed = unsafe {
        let all_threads = libc::SECCOMP_FILTER_FLAG_TSYNC;
        libc::syscall(
            libc::SYS_seccomp,
            libc::SECCOMP_SET_MODE_FILTER,
            all_threads,
            &program,
        )
    };
    assert_eq!(installed, 0);
}

#[test]
fn without_memory_to_share_large_payloads_go_by_the_socket() {
    alone(
        "without_memory_to_share_large_payloads_go_by_the_socket",
        || async {
            refuse_memory();
            let pool = ProcessPoolExecutor::with_workers(1).expect("a pool");
            within(pool.submit(same, 1_u8)).await.expect("it ran");
            let own = status("self", "RssShmem");
            for (seed, size) in (0..).zip(SIZES) {
                let bytes = noise(seed, *size);
                let handle = pool.submit(same, bytes.clone());
                assert!(within(handle).await.expect("an echo") == bytes, "{size}");
            }
            assert!(status("self", "RssShmem") < own + OTHERS);
        },
    );
}
