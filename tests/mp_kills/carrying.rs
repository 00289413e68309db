//! Senders and receivers of a queue or a pipe are killed at any point. No other process hangs and no value is torn.
//! Only accepted items that a dead process held are lost, and none arrives twice. When all senders have ended, in any
//! way, the receivers see the end.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::Write as _;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use concurrent_futures::multiprocessing::{JoinableQueue, Queue};
use concurrent_futures::{ExecutorExt as _, JoinHandle, ProcessPoolExecutor};
use rustix::process::{Pid, Signal, kill_process};

use super::carriers::{From, Item, To, Way, by_halves, by_joinable_queue, by_pipe, by_queue};
use super::common::folder::Folder;
use super::common::{eventually, in_thread, within};
use super::crew::{any, leaves_nothing};

/// Sends items, and records how many were accepted.
fn send(to: To, who: u64, count: u64, note: PathBuf) {
    let object = Queue::bounded(3).expect("a queue");
    let note = File::create(note).expect("a file");
    for number in 0..count {
        to.blocking_send(Item::new(who, number, Some(&object)));
        note.write_all_at(&(number + 1).to_ne_bytes(), 0)
            .expect("it is written");
    }
}

/// Receives items until the end, and records each.
fn receive(from: From, note: PathBuf) {
    let mut note = File::create(note).expect("a file");
    while let Some(item) = from.blocking_receive() {
        item.check();
        let words = [item.who.to_ne_bytes(), item.number.to_ne_bytes()];
        note.write_all(&words.concat()).expect("it is written");
        from.blocking_done();
    }
}

fn words(note: &Path) -> Vec<u64> {
    let bytes = fs::read(note).unwrap_or_default();
    let (words, _) = bytes.as_chunks();
    words.iter().map(|word| u64::from_ne_bytes(*word)).collect()
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Role {
    Sender,
    Receiver,
}

/// A process that takes part.
struct Participant {
    role: Role,
    who: u64,
    pool: ProcessPoolExecutor,
    task: JoinHandle<()>,
}

impl Participant {
    /// Kills the process, wherever it is. Returns false if it had ended before.
    async fn kill(self) -> bool {
        eventually(|| self.task.is_running() || self.task.is_finished()).await;
        let workers = self.pool.workers();
        let pids = workers.iter().map(|worker| worker.pid());
        for pid in pids.filter_map(|pid| Pid::from_raw(pid.cast_signed())) {
            let _ = kill_process(pid, Signal::KILL); // It may have ended by itself.
        }
        self.end().await
    }

    /// Waits for its end. Returns whether it was killed.
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
    folder: Folder,
    next: u64,
    participants: Vec<Participant>,
}

const SENDERS: usize = 3;
const RECEIVERS: usize = 3;
const EACH: u64 = 300;
const KILLS: usize = 15;

/// The sender that is a task of this process.
const OURS: u64 = u64::MAX;

impl Trial {
    fn note(&self, role: Role, who: u64) -> PathBuf {
        self.folder.path().join(format!("{role:?} {who}"))
    }

    fn start(&mut self, role: Role, (to, from): &Way) {
        let who = self.next;
        self.next += 1;
        let pool = ProcessPoolExecutor::with_workers(1).expect("a pool");
        let note = self.note(role, who);
        let task = match role {
            Role::Sender => pool.submit(send, (to.clone(), who, EACH, note)),
            Role::Receiver => pool.submit(receive, (from.clone(), note)),
        };
        self.participants.push(Participant {
            role,
            who,
            pool,
            task,
        });
    }

    fn is_sending(&self) -> bool {
        let is_sending = |one: &Participant| one.role == Role::Sender && !one.task.is_finished();
        self.participants.iter().any(is_sending)
    }

    /// How many items the receivers have recorded.
    fn received(&self) -> u64 {
        let len = |who| fs::metadata(self.note(Role::Receiver, who)).map_or(0, |file| file.len());
        (0..self.next).map(len).sum::<u64>() / 16
    }

    fn participants(&mut self, role: Role) -> Vec<Participant> {
        let all = std::mem::take(&mut self.participants);
        let (found, others) = all.into_iter().partition(|one| one.role == role);
        self.participants = others;
        found
    }
}

/// The participants that were killed.
#[derive(Default)]
struct Killed {
    senders: BTreeSet<u64>,
    receivers: usize,
}

/// Returns how many accepted items were lost, and how many receivers were killed.
async fn kill_again_and_again(way: Way) -> (usize, usize) {
    let mut trial = Trial {
        folder: Folder::new(),
        next: 0,
        participants: Vec::new(),
    };
    (0..SENDERS).for_each(|_| trial.start(Role::Sender, &way));
    (0..RECEIVERS).for_each(|_| trial.start(Role::Receiver, &way));
    // Two tasks take part that are not killed.
    let (to, from) = way.clone();
    let sender = tokio::spawn(async move {
        for number in 0..EACH {
            to.send(Item::new(OURS, number, None)).await;
        }
    });
    let receiver = tokio::spawn(async move {
        let mut received = Vec::new();
        while let Some(item) = from.receive().await {
            from.done().await;
            item.check();
            received.extend([item.who, item.number]);
        }
        received
    });

    let mut killed = Killed::default();
    for _ in 0..KILLS {
        let enough = trial.received() + any() % 50;
        eventually(|| trial.received() >= enough || !trial.is_sending()).await;
        let one = any() as usize % trial.participants.len();
        let one = trial.participants.swap_remove(one);
        let (role, who) = (one.role, one.who);
        if one.kill().await {
            match role {
                Role::Sender => drop(killed.senders.insert(who)),
                Role::Receiver => killed.receivers += 1,
            }
        }
        trial.start(role, &way);
    }

    // The remaining senders finish.
    for sender in trial.participants(Role::Sender) {
        assert!(!sender.end().await);
    }
    within(sender).await.expect("it ends");
    let (to, from) = way;
    drop(from);
    within(to.end()).await;
    for receiver in trial.participants(Role::Receiver) {
        assert!(!receiver.end().await);
    }
    let received = within(receiver).await.expect("it ends");
    (missing(&trial, &killed, received), killed.receivers)
}

/// Checks what was received, by whom and in which order. Returns how many accepted items are missing.
fn missing(trial: &Trial, killed: &Killed, ours: Vec<u64>) -> usize {
    let notes = (0..trial.next).map(|who| words(&trial.note(Role::Receiver, who)));
    let mut received = BTreeSet::new();
    for note in notes.chain([ours]) {
        let mut last = BTreeMap::new();
        let (items, _) = note.as_chunks();
        for [who, number] in items {
            let is_new = received.insert((*who, *number));
            assert!(is_new, "{number} of {who} came twice");
            let before = last.insert(who, number);
            assert!(before.is_none_or(|before| before < number));
        }
    }
    let mut missing = 0;
    for who in (0..trial.next).chain([OURS]) {
        let accepted = match words(&trial.note(Role::Sender, who)).first() {
            Some(accepted) => *accepted,
            None if who == OURS => EACH,
            None => 0,
        };
        let is_missing = |number: &u64| !received.contains(&(who, *number));
        missing += (0..accepted).filter(is_missing).count();
        // The item that was being sent when its sender was killed may also arrive.
        let most = accepted + u64::from(killed.senders.contains(&who));
        assert!(
            received
                .range((who, most)..=(who, u64::MAX))
                .next()
                .is_none()
        );
    }
    assert!(
        missing <= killed.receivers,
        "{missing} were lost with {}",
        killed.receivers
    );
    missing
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

    /// Called when all items are done.
    async fn end(self) {
        self.over.store(true, Ordering::Relaxed);
        within(self.task).await.expect("it ends");
        within(self.thread).await.expect("it ends");
    }
}

#[test]
fn kills_at_any_point_lose_only_the_items_of_the_killed() {
    let test = "carrying::kills_at_any_point_lose_only_the_items_of_the_killed";
    leaves_nothing(test, async || {
        kill_again_and_again(by_queue(Queue::unbounded().expect("a queue"))).await;
    });
}

#[test]
fn kills_at_any_point_hang_no_sender_that_waits_for_room() {
    let test = "carrying::kills_at_any_point_hang_no_sender_that_waits_for_room";
    leaves_nothing(test, async || {
        kill_again_and_again(by_queue(Queue::bounded(4).expect("a queue"))).await;
    });
}

#[test]
fn a_queue_ends_with_its_last_putter_though_putters_are_killed() {
    let test = "carrying::a_queue_ends_with_its_last_putter_though_putters_are_killed";
    leaves_nothing(test, async || {
        kill_again_and_again(by_halves(Queue::bounded(20).expect("a queue"))).await;
    });
}

#[test]
fn kills_at_any_point_hang_no_join() {
    let test = "carrying::kills_at_any_point_hang_no_join";
    leaves_nothing(test, async || {
        let queue = JoinableQueue::bounded(20).expect("a queue");
        let joiners = Joiners::of(&queue);
        let (missing, killed) = kill_again_and_again(by_joinable_queue(queue.clone())).await;
        let lost = within(queue.join()).await as usize;
        assert!(
            (missing..=killed).contains(&lost),
            "{missing} {lost} {killed}"
        );
        joiners.end().await;
    });
}

#[test]
fn kills_at_any_point_lose_only_the_messages_of_the_killed() {
    let test = "carrying::kills_at_any_point_lose_only_the_messages_of_the_killed";
    leaves_nothing(test, async || {
        kill_again_and_again(by_pipe()).await;
    });
}

/// No process is killed: many processes and tasks, and every item that is sent is received once.
#[test]
fn many_processes_and_tasks_lose_nothing_under_load() {
    const TASKS: u64 = 8;
    const MANY: u64 = 2000;
    fn send_many(to: To, who: u64) {
        (0..MANY).for_each(|number| to.blocking_send(Item::small(who, number)));
    }
    fn receive_many(from: From) -> Vec<(u64, u64)> {
        let items = std::iter::from_fn(|| from.blocking_receive());
        items
            .take(MANY as usize)
            .map(|item| (item.who, item.number))
            .collect()
    }
    let test = "carrying::many_processes_and_tasks_lose_nothing_under_load";
    leaves_nothing(test, async || {
        for (to, from) in [
            by_queue(Queue::unbounded().expect("a queue")),
            by_queue(Queue::bounded(10).expect("a queue")),
            by_halves(Queue::bounded(10).expect("a queue")),
            by_pipe(),
        ] {
            let pool = ProcessPoolExecutor::with_workers(4).expect("a pool");
            let receivers = [(); 2].map(|()| pool.submit(receive_many, from.clone()));
            let senders = [0, 1].map(|who| pool.submit(send_many, (to.clone(), who)));
            let tasks = (2..2 + TASKS).map(|who| {
                let (to, from) = (to.clone(), from.clone());
                tokio::spawn(async move {
                    let mut received = Vec::new();
                    for number in 0..MANY {
                        to.send(Item::small(who, number)).await;
                        let item = from.receive().await.expect("it is open");
                        received.push((item.who, item.number));
                    }
                    received
                })
            });
            let tasks: Vec<_> = tasks.collect();
            let mut all = Vec::new();
            for task in tasks {
                all.extend(within(task).await.expect("it ends"));
            }
            for sender in senders {
                within(sender).await.expect("it ends");
            }
            for receiver in receivers {
                all.extend(within(receiver).await.expect("it ends"));
            }
            all.sort_unstable();
            let sent = (0..2 + TASKS).flat_map(|who| (0..MANY).map(move |number| (who, number)));
            assert!(all.into_iter().eq(sent));
            within(pool.shutdown()).await;
        }
    });
}
