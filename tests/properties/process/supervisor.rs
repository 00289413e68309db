//! Two workers of a pool, each a page, a pipe, a socket and two streams that this test holds. One of them is honest.
//! The other one is honest only at times: it changes what it sends, writes anywhere in its page, and reports about
//! calls that it does not have. Then it dies, and the honest one must get everything that it did not begin.

use std::cell::RefCell;
use std::collections::{HashSet, VecDeque};
use std::fs::File;
use std::io::{PipeWriter, Read as _, Write as _};
use std::process::Command;
use std::sync::Mutex;
use std::time::Duration;

use proptest::prelude::*;
use proptest::test_runner::TestRunner;

use super::*;
use crate::TaskOptions;
use crate::common::{Change, cases, changes, memory_of};
use crate::executor::context::Wanted;
use crate::executor::encoded::EncodedCall;
use crate::executor::error::{Death, TaskError};
use crate::executor::promise::{Promise, TaskOwner, Ticket};
use crate::process::link::Tenure;
use crate::process::output::{Outlets, Output};
use crate::process::pool::ProcessPoolConfig;
use crate::process::start::Recipe;
use crate::sys::{self, ChildProcess, Socket};
use crate::wire::bulk::PayloadPart;
use crate::wire::mark::Token;
use crate::wire::message::tests::of_worker;
use crate::wire::message::{CallHead, ParentFrame, ToWorker, outcomes_head, put};
use crate::wire::outcomes::{begin_value, put_call, put_failure, put_time};
use crate::wire::page::{OUTBOX, Page, ProgressReport};
use crate::wire::{Chain, FunctionOffset, codec};

/// The most items of a call.
const ITEMS: u32 = 4;
/// The longest frame.
const LIMIT: usize = 1 << 20;
/// The most memory of a case: some frames and results of the greatest length, and the values decoded from them.
const MOST_MEMORY: usize = 12 * LIMIT;
/// The most turns until everything that a worker has sent is settled.
const MOST_TURNS: usize = 2000;
/// The room in a pipe, however it is written.
const ROOM: usize = 24 * 1024;
/// The number of words in front of the outbox, and of all words before the bytes of the rings.
const HEAD_WORDS: usize = 512;
const WORDS: usize = (4096 + OUTBOX + 4096) / 8;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    Value(Option<u64>),
    Lost,
    TimedOut,
    Failed,
}

/// A promise that keeps all outcomes of each item.
struct Recorded {
    ticket: Ticket,
    outcomes: Mutex<[Vec<Outcome>; ITEMS as usize]>,
    items: u32,
}

impl Recorded {
    fn record(&self, item: u32, outcome: Outcome) {
        assert!(item < self.items);
        self.outcomes.lock().expect("no panic")[item as usize].push(outcome);
    }

    fn is_complete(&self) -> bool {
        let outcomes = self.outcomes.lock().expect("no panic");
        let mut items = outcomes[..self.items as usize].iter();
        self.ticket.is_closed() || items.all(|item| !item.is_empty())
    }
}

impl Wanted for Recorded {
    fn is_wanted(&self, _: u64) -> bool {
        true
    }

    fn report(&self, item: u64, _: u64, _: u64) {
        assert!(item < self.items.into());
    }
}

impl Promise for Recorded {
    fn ticket(&self) -> &Ticket {
        &self.ticket
    }

    fn fail(&self, item: u32, error: TaskError) {
        let outcome = match error {
            error if error.is_worker_lost() => Outcome::Lost,
            error if error.is_timeout() => Outcome::TimedOut,
            _ => Outcome::Failed,
        };
        self.record(item, outcome);
    }
}

impl PromiseEncoded for Recorded {
    fn fulfil_encoded(&self, values: Values) {
        let mut items = values.items();
        values.read(|value| {
            let item = items.next().expect("a value for each item");
            self.record(item, Outcome::Value(codec::get(value).ok()));
        });
        assert_eq!(items.next(), None);
    }

    fn takes_bytes(&self) -> bool {
        true
    }
}

/// The value of an item.
fn value_of(task: u64, item: u32) -> u64 {
    task * u64::from(ITEMS) + u64::from(item)
}

fn framed(message: FromWorker) -> Vec<u8> {
    let mut out = Chain::new();
    put(&mut out, &message);
    out.into_bytes().to_vec()
}

/// An item that a worker has claimed.
struct BegunItem {
    seq: u32,
    item: u32,
    task: u64,
}

/// The worker's ends of its resources.
struct WorkerSide {
    page: Page,
    answers: PipeWriter,
    socket: Socket,
    streams: [File; 2],
    token: Token,
    frames: FrameBuffer,
    calls: VecDeque<CallHead>,
    /// The items that were sent to it: the task, and the number.
    sent: HashSet<(u64, u32)>,
}

impl WorkerSide {
    fn receive(&mut self) {
        let mut bytes = [0; 4096];
        while let Ok(len @ 1..) = self.socket.read(&mut bytes) {
            self.frames.push(&bytes[..len]);
        }
        while let Some(frame) = self.frames.next().expect("the parent sends frames") {
            match ParentFrame::parse(Reader::from(frame)).expect("the parent sends messages") {
                ParentFrame::Call(head, _) => {
                    let items = head.first..head.end;
                    self.sent.extend(items.map(|item| (head.task_id, item)));
                    self.calls.push_back(head);
                }
                ParentFrame::Message(ToWorker::Probe) => {
                    let alive = framed(FromWorker::Alive);
                    self.answers.write_all(&alive).expect("there is room");
                }
                ParentFrame::Message(_) => {}
            }
        }
    }

    /// Runs the next item as an honest worker. Returns false if there is none.
    fn run_one(&mut self) -> bool {
        self.receive();
        if self.calls.is_empty() {
            return false;
        }
        if let Some(begun) = self.begin_one() {
            self.finish(begun);
        }
        true
    }

    /// Claims the next item of a call that it has received.
    fn begin_one(&mut self) -> Option<BegunItem> {
        let head = self.calls.front_mut()?;
        let (seq, item, task) = (head.seq, head.first, head.task_id);
        head.first += 1;
        let is_last = head.first >= head.end;
        let runs = self.page.claim(seq, item, sys::monotonic_nanos());
        if is_last || !runs {
            self.calls.pop_front();
        }
        runs.then_some(BegunItem { seq, item, task })
    }

    fn finish(&mut self, BegunItem { seq, item, task }: BegunItem) {
        let mut entries = Chain::new();
        put_call(entries.tail(), seq, item);
        put_time(entries.tail(), 7);
        begin_value(&mut entries);
        codec::put(value_of(task, item), &mut entries).expect("a number");
        let entries = entries.into_bytes();
        let frame = [&outcomes_head(entries.len()), &entries[..]].concat();
        self.answers.write_all(&frame).expect("there is room");
        self.page.slot(seq).finish(item);
    }
}

#[derive(Clone, Debug)]
enum Step {
    Submit {
        items: u32,
        timeout: Option<u8>,
        grace: u8,
    },
    Cancel(usize),
    /// The parent settles what has arrived, for one turn.
    Turn,
    Deadline,
    HonestRuns,
    /// The steps from here on are those of the hostile worker.
    Runs,
    Says(Vec<u8>, Change),
    Forges {
        place: usize,
        word: u64,
    },
    Posts(Vec<u8>),
    Puts(usize),
    Reports(u32, u32),
    Prints {
        stream: usize,
        task: Option<u64>,
        text: String,
        change: Change,
    },
}

/// Near the numbers of the calls and items in flight, or any number.
fn number() -> impl Strategy<Value = u32> {
    prop_oneof![8 => 0_u32..8, 1 => any::<u32>()]
}

fn entry() -> impl Strategy<Value = Vec<u8>> {
    let of = |put: fn(&mut Chain, u64)| {
        move |number: u64| {
            let mut out = Chain::new();
            put(&mut out, number);
            out.into_bytes().to_vec()
        }
    };
    prop_oneof![
        4 => (number(), prop_oneof![4 => 0_u32..5, 1 => any::<u32>()]).prop_map(|(seq, item)| {
            let mut out = Vec::new();
            put_call(&mut out, seq, item);
            out
        }),
        1 => any::<u64>().prop_map(of(|out, nanos| put_time(out.tail(), nanos))),
        4 => any::<u64>().prop_map(of(|out, number| {
            begin_value(out);
            codec::put(number, out).expect("a number");
        })),
        1 => any::<u64>().prop_map(of(|out, _| put_failure(out, ItemFailure::Invalid))),
        1 => any::<u64>().prop_map(of(|out, _| put_failure(out, ItemFailure::Dropped))),
        1 => prop::collection::vec(any::<u8>(), 0..40),
    ]
}

fn entries() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(entry(), 0..8).prop_map(|entries| entries.concat())
}

fn frame() -> impl Strategy<Value = Vec<u8>> {
    let part = (0_u32..40, 32_768_u32..200_000).prop_map(|(at, len)| PayloadPart { at, len });
    let parts = prop::collection::vec(part, 0..4);
    prop_oneof![
        8 => entries().prop_map(|entries| [&outcomes_head(entries.len())[..], &entries].concat()),
        1 => of_worker().prop_map(framed),
        1 => number().prop_map(FromWorker::Progress).prop_map(framed),
        1 => number().prop_map(FromWorker::Taken).prop_map(framed),
        2 => parts.prop_map(FromWorker::Bulk).prop_map(framed),
        1 => Just(vec![1, 0, 0, 0, 67]),
        1 => prop::collection::vec(any::<u8>(), 0..40),
    ]
}

fn word() -> impl Strategy<Value = u64> {
    let claim = (
        number(),
        number(),
        prop_oneof![8 => 0_u8..8, 1 => any::<u8>()],
    );
    let claim = claim.prop_map(|(seq, item, stage)| {
        u64::from(seq) << 32 | u64::from(item) << 8 & 0xffff_ff00 | u64::from(stage)
    });
    prop_oneof![4 => claim, 1 => 0_u64..100, 1 => any::<u64>(), 1 => Just(u64::MAX)]
}

fn step() -> impl Strategy<Value = Step> {
    let place = prop_oneof![
        6 => 0_usize..8,
        4 => 0..HEAD_WORDS,
        1 => 0..WORDS,
        2 => WORDS - HEAD_WORDS..WORDS - HEAD_WORDS + 64,
    ];
    let text = "[a-c\u{1e}\u{1b}\n]{0,20}";
    prop_oneof![
        6 => (1..=ITEMS, prop::option::weighted(0.3, 0_u8..2), 0_u8..2)
            .prop_map(|(items, timeout, grace)| Step::Submit { items, timeout, grace }),
        1 => (0_usize..8).prop_map(Step::Cancel),
        6 => Just(Step::Turn),
        1 => Just(Step::Deadline),
        3 => Just(Step::HonestRuns),
        6 => Just(Step::Runs),
        6 => (frame(), changes()).prop_map(|(frame, change)| Step::Says(frame, change)),
        3 => (place, word()).prop_map(|(place, word)| Step::Forges { place, word }),
        1 => entries().prop_map(Step::Posts),
        1 => (0_usize..300_000).prop_map(Step::Puts),
        1 => (number(), number()).prop_map(|(seq, item)| Step::Reports(seq, item)),
        1 => (0_usize..2, any::<Option<u64>>(), text, changes()).prop_map(
            |(stream, task, text, change)| Step::Prints { stream, task, text, change }),
    ]
}

/// A pool that starts no workers.
fn pool() -> Arc<Pool> {
    let lines = || Some(Output::lines(|_| ()));
    let recipe = Recipe {
        max_frame_length: LIMIT,
        ..Recipe::plain(Outlets::new(lines(), lines()))
    };
    Pool::new(ProcessPoolConfig::example(recipe, 2), |_, _| {})
}

/// A worker of a pool, and its own side. `child` is the process that it is named after.
fn worker(pool: &Arc<Pool>, id: u64, child: Child) -> (SupervisedWorker, WorkerSide) {
    let (page, fd) = Page::create().expect("memory");
    let (answers, theirs) = sys::pipe().expect("a pipe");
    let (ours, socket) = Socket::pair().expect("sockets");
    for socket in [&ours, &socket] {
        socket.set_nonblocking(true).expect("a socket");
    }
    let ours = Arc::new(ours);
    let outlets = &pool.config.recipe.outlets;
    let (ends, pipes) = outlets.open().expect("streams");
    let side = WorkerSide {
        page: Page::open(fd).expect("the same page"),
        answers: theirs.into(),
        socket,
        streams: [ends.stdout.into(), ends.stderr.into()],
        token: outlets.captured(&pipes).expect("lines").token,
        frames: FrameBuffer::new(LIMIT),
        calls: VecDeque::new(),
        sent: HashSet::new(),
    };
    let link = Link::new(id, 1, page, ours.clone(), Tenure::default());
    let outputs = outlets.attend(pipes, id, 1).expect("streams");
    let watch = WorkerWatch::new(answers, ours);
    let frames = FrameBuffer::new(LIMIT);
    let worker = SupervisedWorker::new(Arc::new(link), watch, frames, child, outputs, 0);
    pool.worker_ready(&worker.link);
    (worker, side)
}

/// Runs a turn of a worker's task. Returns false if the worker must be killed.
fn take_turn(worker: &mut SupervisedWorker, pool: &Arc<Pool>) -> bool {
    worker.turn = Turn::new();
    if worker.has_more {
        let _ = worker.handle(SupervisorEvent::Resumed, pool);
    } else if let Ok(len @ 1..) = worker.watch.read_now(&mut worker.frames) {
        let _ = worker.handle(SupervisorEvent::Read(Ok(len)), pool);
    }
    let _ = worker.handle(SupervisorEvent::Woken, pool);
    worker.link.fate() != Fate::Kill
}

struct Scene {
    pool: Arc<Pool>,
    promises: Vec<Arc<Recorded>>,
    honest: (SupervisedWorker, WorkerSide),
    hostile: (SupervisedWorker, WorkerSide),
}

impl Scene {
    fn new([first, second]: [Child; 2]) -> Self {
        let pool = pool();
        Self {
            honest: worker(&pool, 1, first),
            hostile: worker(&pool, 2, second),
            promises: Vec::new(),
            pool,
        }
    }

    fn submit(&mut self, items: u32, timeout: Option<u8>, grace: u8) {
        let mut options = TaskOptions::new().grace_period(Duration::from_nanos(grace.into()));
        if let Some(timeout) = timeout {
            options = options.timeout(Duration::from_nanos(timeout.into()));
        }
        let promise = Arc::new(Recorded {
            ticket: Ticket::new("test", Some(Arc::new(options))),
            outcomes: Mutex::default(),
            items,
        });
        let owed = Owed::new(promise.clone(), 0..items);
        self.promises.push(promise);
        let call = EncodedCall {
            owed: owed.map(|promise| promise as Arc<dyn PromiseEncoded>),
            function: FunctionOffset(0),
            base: 0,
            payload: Chain::new().finish(),
            expiry: None,
            strikes: 0,
        };
        self.pool.give_back(vec![call]);
    }

    /// Returns false if the hostile worker must be killed.
    fn take(&mut self, step: Step) -> bool {
        let (worker, side) = &mut self.hostile;
        match step {
            Step::Submit {
                items,
                timeout,
                grace,
            } => self.submit(items, timeout, grace),
            Step::Cancel(which) => {
                if let Some(promise) = self.promises.get(which)
                    && promise.ticket.close()
                {
                    TaskOwner::abort(&*self.pool, &promise.ticket, &mut |_| ());
                }
            }
            Step::Turn => return take_turn(worker, &self.pool),
            Step::Deadline => {
                let _ = worker.handle(SupervisorEvent::Deadline, &self.pool);
                return worker.link.fate() != Fate::Kill;
            }
            Step::HonestRuns => {
                let (worker, side) = &mut self.honest;
                side.run_one();
                assert!(take_turn(worker, &self.pool), "it is honest");
            }
            Step::Runs if worker.watch.waiting() < ROOM => drop(side.run_one()),
            Step::Says(bytes, change) if worker.watch.waiting() < ROOM => {
                let mut bytes = change.make(bytes);
                bytes.truncate(ROOM / 3);
                side.answers.write_all(&bytes).expect("there is room");
            }
            Step::Runs | Step::Says(..) => {}
            Step::Forges { place, word } => side.page.forge(place, word),
            Step::Posts(entries) => {
                let len = side.page.posted().min(OUTBOX - entries.len());
                side.page.post(len, &entries);
            }
            Step::Puts(len) => {
                let ring = side.page.ring(RingDirection::FromWorker);
                ring.put(&vec![7; len]);
            }
            Step::Reports(seq, item) => {
                let (done, total) = (u64::MAX, 0);
                side.page.put_report(ProgressReport {
                    seq,
                    item,
                    done,
                    total,
                });
            }
            Step::Prints {
                stream,
                task,
                text,
                change,
            } => {
                let bytes = format!("{}{text}", side.token.mark(task)).into_bytes();
                let mut bytes = change.make(bytes);
                bytes.truncate(1000); // A case has few steps, so everything fits in the pipe.
                side.streams[stream]
                    .write_all(&bytes)
                    .expect("there is room");
            }
        }
        true
    }

    /// The hostile worker dies, and the honest one runs the rest. Returns the processes.
    async fn end(self) -> [Child; 2] {
        let (mut hostile, mut side) = self.hostile;
        side.receive();
        let writer = OutputWriter::from(&*hostile.link);
        hostile.outputs.read_rest(writer).await;
        hostile.read_rest_after_death(&self.pool).await;
        let loss = match hostile.link.ending() {
            Some(Ending::TimedOut { limit }) => Cause::TimedOut { limit },
            Some(Ending::Cancelled) => Cause::Cancelled,
            _ => Cause::WorkerLost(Death::default()),
        };
        let remains = hostile.link.settle_death(&loss);
        let (unstarted, lost) = (remains.unstarted, remains.lost);
        assert!(lost <= ITEMS as usize, "only its own task is lost");
        self.pool.free_place(hostile.link.id, Departure::Crashed);
        self.pool.give_back(unstarted);
        self.pool
            .worker_gone(hostile.link.id, Some(Departure::Crashed), lost);

        let (mut honest, mut own) = self.honest;
        let mut turns = 0;
        while !self.promises.iter().all(|promise| promise.is_complete()) {
            own.run_one();
            assert!(take_turn(&mut honest, &self.pool), "it is honest");
            turns += 1;
            assert!(turns < MOST_TURNS, "a task has no outcome");
        }
        assert_eq!(honest.link.ending(), None, "it is honest");
        check(&self.promises, &side.sent);
        [honest.child, hostile.child]
    }
}

/// Each item has one outcome, and the right one unless the hostile worker got it. `touched`: the items that it got.
fn check(promises: &[Arc<Recorded>], touched: &HashSet<(u64, u32)>) {
    let mut lost = HashSet::new();
    for promise in promises {
        let task = promise.ticket.id();
        let outcomes = promise.outcomes.lock().expect("no panic");
        for (item, outcomes) in (0..promise.items).zip(&*outcomes) {
            let is_closed = promise.ticket.is_closed();
            let is_one = outcomes.len() == 1 || (is_closed && outcomes.is_empty());
            assert!(is_one, "{outcomes:?} of item {item} of {task}");
            let Some(outcome) = outcomes.first() else {
                continue;
            };
            if *outcome == Outcome::Lost {
                lost.insert(task);
            }
            if !is_closed && !touched.contains(&(task, item)) {
                let value = value_of(task, item);
                assert_eq!(
                    *outcome,
                    Outcome::Value(Some(value)),
                    "item {item} of {task}"
                );
            }
        }
    }
    assert!(lost.len() <= 1, "a death costs the task that ran: {lost:?}");
}

/// Processes that only wait, and give workers their names. A case that has passed leaves them to the next.
#[derive(Default)]
struct Names(RefCell<Vec<Child>>);

impl Names {
    fn two(&self) -> [Child; 2] {
        let next = || {
            let kept = self.0.borrow_mut().pop();
            kept.unwrap_or_else(|| {
                let process = ChildProcess::spawn(Command::new("sleep").arg("3600"));
                Child::from(process.expect("a process"))
            })
        };
        [next(), next()]
    }
}

#[test]
fn whatever_a_worker_does_every_task_of_another_worker_has_its_outcome() {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.enable_all().build().expect("a runtime");
    let _inside = runtime.enter();
    let names = Names::default();
    let mut runner = TestRunner::new(cases(2500));
    let steps = prop::collection::vec(step(), 0..40);
    let tried = runner.run(&steps, |steps| {
        let children = names.two();
        let ((), memory) = memory_of(|| {
            let mut scene = Scene::new(children);
            for step in steps {
                if !scene.take(step) {
                    break;
                }
            }
            names.0.borrow_mut().extend(runtime.block_on(scene.end()));
        });
        prop_assert!(memory <= MOST_MEMORY, "{} bytes", memory);
        Ok(())
    });
    tried.unwrap_or_else(|failure| panic!("{failure}"));
}

/// A task can see that its time is over before its worker is killed. The pool has decided by then, whatever the worker
/// still does.
#[test]
fn after_a_timeout_no_outcome_and_no_claim_of_the_worker_counts() {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.enable_all().build().expect("a runtime");
    let _inside = runtime.enter();
    let names = Names::default();
    for (returns, is_read, stage) in [
        (true, false, None),
        (true, true, None),
        (false, false, Some(0_u64)),
        (false, false, Some(3)),
        (true, false, Some(2)),
    ] {
        // The item returns or not; the parent reads that before the worker's death or after it; the worker writes a
        // stage into the page.
        let mut scene = Scene::new(names.two());
        scene.submit(2, Some(0), 0);
        let (worker, side) = &mut scene.hostile;
        side.receive();
        let begun = side.begin_one().expect("it is idle");
        assert!(matches!(worker.link.fate(), Fate::Serve(Some(_))));
        assert!(!scene.take(Step::Deadline), "the worker is to be killed");
        let (_, side) = &mut scene.hostile;
        let seq = begun.seq;
        if returns {
            side.finish(begun);
        }
        if is_read {
            let _ = take_turn(&mut scene.hostile.0, &scene.pool);
        }
        if let Some(stage) = stage {
            scene.hostile.1.page.forge(0, u64::from(seq) << 32 | stage);
        }
        let promise = scene.promises[0].clone();
        names.0.borrow_mut().extend(runtime.block_on(scene.end()));
        let outcomes = promise.outcomes.lock().expect("no panic");
        let second = Outcome::Value(Some(value_of(promise.ticket.id(), 1)));
        assert_eq!(outcomes[..2], [vec![Outcome::TimedOut], vec![second]]);
    }
}
