//! Processes are killed at any point. No other process hangs and no value is torn. Only values that a dead
//! process was handling are lost, and none arrives twice.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::hash::{BuildHasher as _, RandomState};
use std::io::Write as _;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use concurrent_futures::multiprocessing::{Connection, pipe};
use concurrent_futures::{ExecutorExt as _, JoinHandle, ProcessPoolExecutor};
use rustix::process::Signal;
use serde::{Deserialize, Serialize};

use super::common::folder::Folder;
use super::common::{eventually, within};
use super::{one_way, pool, signal};

/// One of the values of a sender, counted from 0. With an object in it now and then.
#[derive(Debug, Serialize, Deserialize)]
struct Value {
    who: u64,
    number: u64,
    filler: String,
    object: Option<Connection<u64, ()>>,
}

/// Says that it is time to end.
const LAST: u64 = u64::MAX;

impl Value {
    fn new(who: u64, number: u64, object: Option<&Connection<u64, ()>>) -> Self {
        Self {
            who,
            number,
            filler: "x".repeat(filler(who, number)),
            object: object.filter(|_| number.is_multiple_of(7)).cloned(),
        }
    }

    fn check(&self) {
        assert_eq!(self.filler.len(), filler(self.who, self.number));
        assert!(self.object.is_none() || self.number.is_multiple_of(7));
    }
}

/// Mostly small, sometimes so large that the value travels by its own stream.
fn filler(who: u64, number: u64) -> usize {
    match who.wrapping_mul(31).wrapping_add(number) % 100 {
        97.. => 3_000_000,
        90.. => 200_000,
        80.. => 20_000,
        rest => rest as usize * 3,
    }
}

type To = Connection<Value, ()>;
type From = Connection<(), Value>;

/// Sends values, and notes how many it has sent.
fn send(to: To, who: u64, count: u64, note: PathBuf) {
    let (object, _other) = one_way();
    let note = File::create(note).expect("a file");
    for number in 0..count {
        let value = Value::new(who, number, Some(&object));
        to.blocking_send(value).expect("it is received");
        note.write_all_at(&(number + 1).to_ne_bytes(), 0)
            .expect("it is written");
    }
}

/// Receives values, and notes each.
fn receive(from: From, note: PathBuf) {
    let mut note = File::create(note).expect("a file");
    loop {
        let value = from.blocking_recv().expect("it comes");
        if value.who == LAST {
            return;
        }
        value.check();
        let words = [value.who.to_ne_bytes(), value.number.to_ne_bytes()];
        note.write_all(&words.concat()).expect("it is written");
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
    to: To,
    from: From,
    folder: Folder,
    next: u64,
    participants: Vec<Participant>,
}

const SENDERS: usize = 3;
const RECEIVERS: usize = 3;
const EACH: u64 = 300;
const KILLS: usize = 20;

impl Trial {
    fn new() -> Self {
        let (to, from) = one_way();
        Self {
            to,
            from,
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
            Role::Sender => pool.submit(send, (self.to.clone(), who, EACH, note)),
            Role::Receiver => pool.submit(receive, (self.from.clone(), note)),
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

    /// How many values were noted by processes that have received them.
    fn received(&self) -> u64 {
        let len = |who| fs::metadata(self.note(Role::Receiver, who)).map_or(0, |file| file.len());
        (0..self.next).map(len).sum::<u64>() / 16
    }
}

/// Some number, another one each time.
fn any() -> u64 {
    RandomState::new().hash_one(0)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kills_at_any_point_lose_only_what_the_dead_had_in_hands() {
    let mut trial = Trial::new();
    (0..SENDERS).for_each(|_| trial.start(Role::Sender));
    (0..RECEIVERS).for_each(|_| trial.start(Role::Receiver));
    // Two tasks take part that are not killed.
    let (to, ours) = (trial.to.clone(), LAST - 1);
    let sender = tokio::spawn(async move {
        for number in 0..EACH {
            let sent = to.send(Value::new(ours, number, None)).await;
            sent.expect("it is received");
        }
    });
    let from = trial.from.clone();
    let receiver = tokio::spawn(async move {
        let mut received = Vec::new();
        loop {
            let value = from.recv().await.expect("it comes");
            if value.who == LAST {
                return received;
            }
            value.check();
            received.extend([value.who, value.number]);
        }
    });

    let (mut killed_receivers, mut killed_senders) = (0, BTreeSet::new());
    for _ in 0..KILLS {
        let enough = trial.received() + any() % 50;
        eventually(|| trial.received() >= enough || !trial.is_sending()).await;
        let one = any() as usize % trial.participants.len();
        let one = trial.participants.swap_remove(one);
        let (role, who) = (one.role, one.who);
        if one.kill().await {
            match role {
                Role::Sender => drop(killed_senders.insert(who)),
                Role::Receiver => killed_receivers += 1,
            }
        }
        trial.start(role);
    }

    // Those that are left come to their end.
    let (senders, receivers): (Vec<_>, Vec<_>) = trial
        .participants
        .drain(..)
        .partition(|one| one.role == Role::Sender);
    for sender in senders {
        assert!(!sender.end().await);
    }
    within(sender).await.expect("it ends");
    for _ in 0..=RECEIVERS {
        let last = trial.to.send(Value::new(LAST, 0, None));
        within(last).await.expect("it is received");
    }
    for receiver in receivers {
        assert!(!receiver.end().await);
    }
    let mut notes = vec![within(receiver).await.expect("it ends")];
    assert!(trial.from.try_recv().expect_err("that was all").is_empty());

    // What was received, by whom and in which order.
    notes.extend((0..trial.next).map(|who| words(&trial.note(Role::Receiver, who))));
    let mut received = BTreeSet::new();
    for note in notes {
        let mut last = BTreeMap::new();
        let (values, _) = note.as_chunks();
        for [who, number] in values {
            let is_new = received.insert((*who, *number));
            assert!(is_new, "{number} of {who} came twice");
            let before = last.insert(who, number);
            assert!(before.is_none_or(|before| before < number));
        }
    }
    let mut missing = 0;
    for who in (0..trial.next).chain([ours]) {
        let sent = match words(&trial.note(Role::Sender, who)).first() {
            Some(sent) => *sent,
            None if who == ours => EACH,
            None => 0,
        };
        let is_missing = |number: &u64| !received.contains(&(who, *number));
        missing += (0..sent).filter(is_missing).count();
        // One that was being sent when its sender was killed may have come.
        let most = sent + u64::from(killed_senders.contains(&who));
        assert!(received.range((who, most)..=(who, LAST)).next().is_none());
    }
    assert!(
        missing <= killed_receivers,
        "{missing} were lost with {killed_receivers}"
    );
}

/// A worker that answers is killed again and again; who talks to it learns of it, and begins with another.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_talks_to_a_process_that_is_killed_learns_of_it() {
    fn echo(values: Connection<Vec<u8>, Vec<u8>>) {
        while let Ok(value) = values.blocking_recv() {
            if values.blocking_send(value).is_err() {
                return;
            }
        }
    }
    let pool = pool(1);
    for round in 0..15 {
        let (ours, theirs) = pipe().expect("a pipe");
        let task = pool.submit(echo, theirs);
        let value = vec![7_u8; [10, 60_000, 3_000_000][round % 3]];
        ours.send(value.clone()).await.expect("it is received");
        assert!(within(ours.recv()).await.expect("it comes") == value);
        let pid = pool.workers()[0].pid();
        let after = any() % 200;
        let talk = tokio::spawn(async move {
            let mut killed = false;
            for count in 0.. {
                if count >= after && !killed {
                    signal(pid, Signal::KILL);
                    killed = true;
                }
                if ours
                    .send(value.clone())
                    .await
                    .is_err_and(|error| error.error().is_closed())
                {
                    break;
                }
                match ours.recv().await {
                    Ok(back) => assert!(back == value),
                    Err(error) => {
                        assert!(error.is_closed(), "{error}");
                        break;
                    }
                }
            }
        });
        within(talk).await.expect("it ends");
        let error = within(task).await.expect_err("it was killed");
        assert!(error.is_worker_lost(), "{error}");
    }
    within(pool.shutdown()).await;
}

/// No process is killed: many processes and tasks, and everything that is sent is received once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_processes_and_tasks_lose_nothing_under_load() {
    const TASKS: u64 = 8;
    const MANY: u64 = 3000;
    fn send_many(to: Connection<u64, ()>, from: u64) {
        for number in from..from + MANY {
            to.blocking_send(number).expect("it is received");
        }
    }
    fn receive_many(from: Connection<(), u64>) -> Vec<u64> {
        let numbers = (0..MANY).map(|_| from.blocking_recv().expect("it comes"));
        numbers.collect()
    }
    let ((to, from), pool) = (one_way(), pool(4));
    let receivers = [(); 2].map(|()| pool.submit(receive_many, from.clone()));
    let senders = [0, 1].map(|at| pool.submit(send_many, (to.clone(), at * MANY)));
    let tasks: Vec<_> = (2..2 + TASKS)
        .map(|at| {
            let (to, from) = (to.clone(), from.clone());
            tokio::spawn(async move {
                let mut received = Vec::new();
                for number in 0..MANY {
                    to.send(at * MANY + number).await.expect("it is received");
                    received.push(from.recv().await.expect("it comes"));
                }
                received
            })
        })
        .collect();
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
    assert!(all.into_iter().eq(0..(2 + TASKS) * MANY));
    within(pool.shutdown()).await;
}
