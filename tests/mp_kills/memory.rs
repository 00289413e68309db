//! Memory, with a name and without: killed owners do not affect the others, and leave nothing.

use std::fs;
use std::io::ErrorKind;

use concurrent_futures::ExecutorExt as _;
use concurrent_futures::multiprocessing::SharedMemory;

use super::board::{Board, MOST, Member};
use super::common::eventually;
use super::crew::{Crew, STEPS, leaves_nothing};

/// Opens the memory that all have, writes to its own part of it, and creates other memory that is dropped again.
fn work(name: &str, member: &Member) {
    let memory = SharedMemory::open(name).expect("it has an owner");
    let steps = member.own(STEPS) + 1;
    memory.write(8 * member.who, &steps.to_ne_bytes());
    let own = format!("{name}.{}", member.who);
    drop(create(&own));
    let nameless = SharedMemory::create(5000).expect("memory");
    assert_eq!(nameless.to_vec(), [0; 5000]);
    member.count(STEPS);
}

/// The owner of this name has dropped its old memory. But a process that was just being started also shares that
/// memory, until it executes its program.
fn create(name: &str) -> SharedMemory {
    loop {
        match SharedMemory::create_named(name, 5000) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => std::thread::yield_now(),
            memory => return memory.expect("memory"),
        }
    }
}

fn work_on(name: String, member: Member) {
    while !member.board.is_over() {
        work(&name, &member);
    }
}

#[test]
fn killed_owners_of_memory_take_nothing_from_the_others_and_leave_nothing() {
    let test = "memory::killed_owners_of_memory_take_nothing_from_the_others_and_leave_nothing";
    leaves_nothing(test, async || {
        let board = Board::new();
        let name = format!("kills.{}", std::process::id());
        let memory = SharedMemory::create_named(&name, 8 * MOST).expect("memory");
        let serve = |member: Member| {
            let name = name.clone();
            async move {
                while !member.board.is_over() {
                    work(&name, &member);
                    tokio::task::yield_now().await;
                }
            }
        };
        let mut crew = Crew::new(&board, serve, |pool, member| {
            pool.submit(work_on, (name.clone(), member))
        });
        crew.kill_again_and_again().await;
        board.end();
        crew.end().await;
        // Each member has written to its part; killed ones may not have counted their last write.
        let written = memory.to_vec();
        let (words, _) = written.as_chunks();
        for (word, steps) in words.iter().zip(board.all(STEPS)) {
            let written = u64::from_ne_bytes(*word);
            assert!((steps..=steps + 1).contains(&written), "{written} {steps}");
        }
        drop(memory);
        eventually(|| SharedMemory::open(&name).is_err()).await;
        // The next process that creates a name removes the names of killed ones.
        eventually(|| {
            drop(SharedMemory::create_named(&format!("{name}.last"), 1).expect("memory"));
            let names = fs::read_dir("/dev/shm").expect("it is there").flatten();
            let names = names.map(|entry| entry.file_name().to_string_lossy().into_owned());
            let left: Vec<_> = names.filter(|left| left.contains(&name)).collect();
            left.is_empty()
        })
        .await;
    });
}
