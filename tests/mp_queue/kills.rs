//! Processes are killed at any point. No other process hangs. Only accepted items that a dead process was
//! handling are lost, and none arrives twice.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::hash::{BuildHasher as _, RandomState};
use std::io::Write as _;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use concurrent_futures::multiprocessing::{JoinableQueue, Queue};
use concurrent_futures::{ExecutorExt as _, JoinHandle, ProcessPoolExecutor};
use rustix::process::Signal;
use serde::{Deserialize, Serialize};

use super::common::folder::Folder;
use super::common::{eventually, in_thread, within};
use super::{pool, signal};

/// One of the items of a putter, counted from 0. With an object in it now and then.
#[derive(Debug, Serialize, Deserialize)]
struct Item {
    who: u64,
    number: u64,
    filler: String,
    object: Option<Queue<u64>>,
}

/// Says that it is time to end.
const LAST: u64 = u64::MAX;

impl Item {
    fn new(who: u64, number: u64, object: Option<&Queue<u64>>) -> Self {
        Self {
            who,
            number,
            filler: "x".repeat(filler(who, number)),
            object: object.filter(|_| number.is_multiple_of(7)).cloned(),
        }
    }

    fn check(&self) {
        assert_eq!(self.filler.len(), filler(self.who, self.number));
        if let Some(object) = &self.object {
            assert!(self.number.is_multiple_of(7) && object.capacity() == Some(3));
        }
    }
}

/// Mostly small, sometimes so large that a ring grows, or that the item travels in a file.
fn filler(who: u64, number: u64) -> usize {
    match who.wrapping_mul(31).wrapping_add(number) % 100 {
        99 => 2_500_000,
        98 => 300_000,
        90.. => 20_000,
        rest => rest as usize * 3,
    }
}

/// What the items go through.
#[derive(Clone, Debug, Serialize, Deserialize)]
enum Way {
    Plain(Queue<Item>),
    Joinable(JoinableQueue<Item>),
}

impl Way {
    fn queue(&self) -> &Queue<Item> {
        match self {
            Self::Plain(queue) => queue,
            Self::Joinable(queue) => queue,
        }
    }
}

/// Puts items in, and notes how many were accepted.
fn put(way: Way, who: u64, count: u64, note: PathBuf) {
    let object = Queue::bounded(3).expect("a queue");
    let note = File::create(note).expect("a file");
    for number in 0..count {
        let item = Item::new(who, number, Some(&object));
        way.queue().blocking_put(item).expect("there is room");
        note.write_all_at(&(number + 1).to_ne_bytes(), 0)
            .expect("it is written");
    }
}

/// Takes items out, and notes each.
fn get(way: Way, note: PathBuf) {
    let mut note = File::create(note).expect("a file");
    loop {
        let item = way.queue().blocking_get().expect("an item");
        if item.who == LAST {
            done(&way);
            return;
        }
        item.check();
        let words = [item.who.to_ne_bytes(), item.number.to_ne_bytes()];
        note.write_all(&words.concat()).expect("it is written");
        done(&way);
    }
}

fn done(way: &Way) {
    if let Way::Joinable(queue) = way {
        queue.blocking_task_done().expect("one was taken");
    }
}

fn words(note: &Path) -> Vec<u64> {
    let bytes = fs::read(note).unwrap_or_default();
    let (words, _) = bytes.as_chunks();
    words.iter().map(|word| u64::from_ne_bytes(*word)).collect()
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Role {
    Putter,
    Getter,
}

/// A process that takes part.
struct Participant {
    role: Role,
    who: u64,
    pool: ProcessPoolExecutor,
    task: JoinHandle<()>,
}

impl Participant {
    /// Kills it, wherever it is. False if it was through before.
    async fn kill(self) -> bool {
        eventually(|| self.task.is_running() || self.task.is_finished()).await;
        let workers = self.pool.workers();
        let pids = workers.iter().map(|worker| worker.pid());
        pids.filter(|pid| *pid > 0)
            .for_each(|pid| signal(pid, Signal::KILL));
        self.end().await
    }

    /// Waits for its end. Says whether it was killed.
    async fn end(self) -> bool {
        let outcome = within(self.task).await;
        within(self.pool.shutdown()).await;
        match outcome {
            Ok(()) => false,
            Err(error) => {
                assert!(error.is_worker_lost(), "{error}");
                true
            }
        }
    }
}

struct Trial {
    way: Way,
    folder: Folder,
    next: u64,
    participants: Vec<Participant>,
}

const PUTTERS: usize = 3;
const GETTERS: usize = 3;
const EACH: u64 = 300;
const KILLS: usize = 15;

impl Trial {
    fn new(way: Way) -> Self {
        Self {
            way,
            folder: Folder::new(),
            next: 0,
            participants: Vec::new(),
        }
    }

    fn note(&self, role: Role, who: u64) -> PathBuf {
        self.folder.path().join(format!("{role:?} {who}"))
    }

    fn start(&mut self, role: Role) {
        let who = self.next;
        self.next += 1;
        let (pool, note) = (pool(1), self.note(role, who));
        let task = match role {
            Role::Putter => pool.submit(put, (self.way.clone(), who, EACH, note)),
            Role::Getter => pool.submit(get, (self.way.clone(), note)),
        };
        self.participants.push(Participant {
            role,
            who,
            pool,
            task,
        });
    }

    fn is_putting(&self) -> bool {
        let is_putting = |one: &Participant| one.role == Role::Putter && !one.task.is_finished();
        self.participants.iter().any(is_putting)
    }

    /// How many items were noted by processes that have taken them.
    fn taken(&self) -> u64 {
        let len = |who| fs::metadata(self.note(Role::Getter, who)).map_or(0, |file| file.len());
        (0..self.next).map(len).sum::<u64>() / 16
    }
}

/// Some number, another one each time.
fn any() -> u64 {
    RandomState::new().hash_one(0)
}

async fn kill_again_and_again(way: Way) {
    let mut trial = Trial::new(way.clone());
    (0..PUTTERS).for_each(|_| trial.start(Role::Putter));
    (0..GETTERS).for_each(|_| trial.start(Role::Getter));
    // Two tasks take part that are not killed.
    let (queue, ours) = (way.queue().clone(), LAST - 1);
    let putter = tokio::spawn(async move {
        for number in 0..EACH {
            let put = queue.put(Item::new(ours, number, None)).await;
            put.expect("there is room");
        }
    });
    let getter_way = way.clone();
    let getter = tokio::spawn(async move {
        let mut taken = Vec::new();
        loop {
            let item = getter_way.queue().get().await.expect("an item");
            if let Way::Joinable(queue) = &getter_way {
                queue.task_done().await.expect("one was taken");
            }
            if item.who == LAST {
                return taken;
            }
            item.check();
            taken.extend([item.who, item.number]);
        }
    });

    let joiners = match &way {
        Way::Plain(_) => None,
        Way::Joinable(queue) => Some(Joiners::of(queue)),
    };

    let (mut killed_getters, mut killed_putters) = (0, BTreeSet::new());
    for _ in 0..KILLS {
        let enough = trial.taken() + any() % 50;
        eventually(|| trial.taken() >= enough || !trial.is_putting()).await;
        let one = any() as usize % trial.participants.len();
        let one = trial.participants.swap_remove(one);
        let (role, who) = (one.role, one.who);
        if one.kill().await {
            match role {
                Role::Putter => drop(killed_putters.insert(who)),
                Role::Getter => killed_getters += 1,
            }
        }
        trial.start(role);
    }

    // Those that are left come to their end.
    let (putters, getters): (Vec<_>, Vec<_>) = trial
        .participants
        .drain(..)
        .partition(|one| one.role == Role::Putter);
    for putter in putters {
        assert!(!putter.end().await);
    }
    within(putter).await.expect("it ends");
    for _ in 0..=GETTERS {
        within(way.queue().put(Item::new(LAST, 0, None)))
            .await
            .expect("there is room");
    }
    for getter in getters {
        assert!(!getter.end().await);
    }
    let mut notes = vec![within(getter).await.expect("it ends")];
    assert!(way.queue().is_empty());

    // What was taken, by whom and in which order.
    notes.extend((0..trial.next).map(|who| words(&trial.note(Role::Getter, who))));
    let mut taken = BTreeSet::new();
    for note in notes {
        let mut last = BTreeMap::new();
        let (items, _) = note.as_chunks();
        for [who, number] in items {
            assert!(
                taken.insert((*who, *number)),
                "{number} of {who} came twice"
            );
            assert!(
                last.insert(who, number)
                    .is_none_or(|before| before < number)
            );
        }
    }
    let mut missing = 0;
    for who in (0..trial.next).chain([ours]) {
        let accepted = match words(&trial.note(Role::Putter, who)).first() {
            Some(accepted) => *accepted,
            None if who == ours => EACH,
            None => 0,
        };
        missing += (0..accepted)
            .filter(|number| !taken.contains(&(who, *number)))
            .count();
        // One that was being put in when its putter was killed may be there.
        let most = accepted + u64::from(killed_putters.contains(&who));
        assert!(taken.range((who, most)..=(who, LAST)).next().is_none());
    }
    assert!(
        missing <= killed_getters,
        "{missing} were lost with {killed_getters}"
    );
    if let Way::Joinable(queue) = way {
        let lost = within(queue.join()).await as usize;
        assert!(
            (missing..=killed_getters).contains(&lost),
            "{missing} {lost} {killed_getters}"
        );
    }
    if let Some(joiners) = joiners {
        joiners.end().await;
    }
}

/// A task and a thread that wait again and again for all of a queue to be done.
struct Joiners {
    over: Arc<AtomicBool>,
    task: tokio::task::JoinHandle<()>,
    thread: tokio::task::JoinHandle<()>,
}

impl Joiners {
    fn of(queue: &JoinableQueue<Item>) -> Self {
        let over = Arc::new(AtomicBool::new(false));
        let (is_over, waiting) = (over.clone(), queue.clone());
        let task = tokio::spawn(async move {
            while !is_over.load(Ordering::Relaxed) {
                waiting.join().await;
                tokio::task::yield_now().await;
            }
        });
        let (is_over, waiting) = (over.clone(), queue.clone());
        let thread = tokio::spawn(in_thread(move || {
            while !is_over.load(Ordering::Relaxed) {
                waiting.blocking_join();
                std::thread::yield_now();
            }
        }));
        Self { over, task, thread }
    }

    /// All is done.
    async fn end(self) {
        self.over.store(true, Ordering::Relaxed);
        within(self.task).await.expect("it ends");
        within(self.thread).await.expect("it ends");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kills_at_any_point_lose_only_what_the_dead_had_in_hands() {
    kill_again_and_again(Way::Plain(Queue::unbounded().expect("a queue"))).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kills_at_any_point_hang_nobody_who_waits_for_room() {
    kill_again_and_again(Way::Plain(Queue::bounded(4).expect("a queue"))).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kills_at_any_point_hang_no_join() {
    kill_again_and_again(Way::Joinable(JoinableQueue::bounded(20).expect("a queue"))).await;
}

/// No process is killed: many processes and tasks, and everything that goes in comes out once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_processes_and_tasks_lose_nothing_under_load() {
    const TASKS: u64 = 8;
    const MANY: u64 = 3000;
    fn put_many(queue: Queue<u64>, from: u64) {
        for number in from..from + MANY {
            queue.blocking_put(number).expect("there is room");
        }
    }
    fn get_many(queue: Queue<u64>) -> Vec<u64> {
        (0..MANY)
            .map(|_| queue.blocking_get().expect("an item"))
            .collect()
    }
    for queue in [Queue::unbounded(), Queue::bounded(10)] {
        let (queue, pool) = (queue.expect("a queue"), pool(4));
        let getters: Vec<_> = (0..2)
            .map(|_| pool.submit(get_many, queue.clone()))
            .collect();
        let putters: Vec<_> = (0..2)
            .map(|at| pool.submit(put_many, (queue.clone(), at * MANY)))
            .collect();
        let tasks: Vec<_> = (2..2 + TASKS)
            .map(|at| {
                let queue = queue.clone();
                tokio::spawn(async move {
                    let mut got = Vec::new();
                    for number in 0..MANY {
                        queue.put(at * MANY + number).await.expect("there is room");
                        got.push(queue.get().await.expect("an item"));
                    }
                    got
                })
            })
            .collect();
        let mut all = Vec::new();
        for task in tasks {
            all.extend(within(task).await.expect("it ends"));
        }
        for putter in putters {
            within(putter).await.expect("it ends");
        }
        for getter in getters {
            all.extend(within(getter).await.expect("it ends"));
        }
        all.sort_unstable();
        assert!(all.into_iter().eq(0..(2 + TASKS) * MANY));
        assert!(queue.is_empty());
        within(pool.shutdown()).await;
    }
}
