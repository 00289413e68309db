//! Each transition of a task, without a server: the actions that an event leads to, and how the task ends.

mod endings;
mod lost;
mod publishing;
mod records;

use super::*;
use crate::cluster::client::in_flight::{ContentPayload, SharedReply, TaskContent};
use crate::cluster::functions::Functions;
use crate::cluster::malformed::Malformed;
use crate::cluster::publish_answer::PublishAnswer;
use crate::cluster::record::{
    CancelRecord, ClaimRecord, ItemRuns, OutcomeBody, OutcomeRecord, Record, WorkerId,
};
use crate::executor::error::Cause;
use crate::executor::handle::OutcomeCell;
use crate::executor::options::TaskOptions;
use crate::executor::promise::Owed;
use crate::executor::promise::Ticket;
use crate::executor::room::Room;
use crate::executor::served::PromiseEncoded;

const TERMS: TableTerms = TableTerms {
    duplicate_window: Duration::from_secs(120),
    no_stream: Duration::from_secs(10),
    lost_after: Duration::from_secs(30),
    result_ttl: Duration::from_secs(600),
};

/// A table, and its time.
struct TestTable {
    table: Table,
    now: Instant,
}

impl TestTable {
    fn new() -> Self {
        Self {
            table: Table::new("me".into(), TERMS),
            now: Instant::now(),
        }
    }

    /// Submits a task, and returns its number.
    fn submit(&mut self, options: TaskOptions) -> u64 {
        let expires = options.queue_timeout.map(|limit| self.now + limit);
        let (number, task) = task(options, None);
        self.table.insert(number, task, false, expires, self.now);
        number
    }

    /// Submits a task, and publishes it.
    fn sent(&mut self, options: TaskOptions) -> u64 {
        let number = self.submit(options);
        assert_eq!(self.published(), [number]);
        number
    }

    /// Submits a task that the stream has as its message 5.
    fn stored(&mut self, options: TaskOptions) -> u64 {
        let number = self.sent(options);
        self.answer(number, 5);
        number
    }

    /// Like `stored`, with the claim of a worker as record 10.
    fn claimed(&mut self, options: TaskOptions) -> u64 {
        let number = self.stored(options);
        self.record(number, 10, claim("w1", 1));
        number
    }

    fn answer(&mut self, number: u64, seq: u64) {
        let is_duplicate = false;
        let answer = PublishAnswer::Stored { seq, is_duplicate };
        self.table.answered(number, answer, self.now);
    }

    fn refuse(&mut self, number: u64, code: u64) {
        let description = "no".to_owned();
        let answer = PublishAnswer::Refused { code, description };
        self.table.answered(number, answer, self.now);
    }

    fn record(&mut self, number: u64, seq: u64, record: Record) {
        self.table.record(&reply(number), seq, record, self.now);
    }

    fn swapped(&mut self, number: u64, seq: u64) {
        let is_duplicate = false;
        let answer = PublishAnswer::Stored { seq, is_duplicate };
        self.table.swapped(number, &answer);
    }

    /// A read that is asked now finds no record.
    fn no_record(&mut self, number: u64) {
        self.table.no_record(number, self.now);
    }

    /// A search of the stream finds the task under this sequence, or does not find it.
    fn found(&mut self, number: u64, seq: Option<u64>) {
        let task = self.table.tasks.get_mut(&number).expect("it is open");
        task.is_searched = true;
        self.table.found(number, seq, self.now);
    }

    /// No search finds the task.
    fn never_found(&mut self, number: u64) {
        while self.table.tasks[&number].stage != SendStage::Missing {
            self.found(number, None);
        }
    }

    fn wait(&mut self, time: Duration) {
        self.now += time;
        self.table.on_timer(self.now, true);
    }

    /// The tasks that are published now.
    fn published(&mut self) -> Vec<u64> {
        let outgoing = self.table.take_unsent(usize::MAX, self.now, true);
        outgoing.into_iter().map(|task| task.number).collect()
    }

    fn actions(&mut self) -> Vec<Action> {
        self.table.take_actions().into()
    }

    /// How the tasks ended.
    fn ends(&mut self) -> Vec<End> {
        let ended = self.table.take_completions().ended;
        ended.into_iter().map(|(_, end)| end).collect()
    }
}

fn task(options: TaskOptions, reply: Option<ReplyTo>) -> (u64, TaskInFlight) {
    let ticket = Ticket::new("root", Some(Arc::new(options)));
    let number = *numbers_of(ticket.id()).start();
    let owed = Owed::new(Arc::new(OutcomeCell::<u64>::new(ticket)), 0..1);
    let functions = Functions::new().add("root", u64::isqrt);
    let shared = |reply| SharedReply {
        reply,
        _subscription: None,
    };
    let stage = SendStage::Unsent { first: None };
    let owed = owed.map(|promise| promise as Arc<dyn PromiseEncoded>);
    let task = TaskInFlight {
        content: Some(Box::new(TaskContent {
            function: functions.entry("root").expect("it is listed").clone(),
            payload: ContentPayload::Here(bytes::Bytes::new()),
        })),
        reply: reply.map(|reply| Box::new(shared(reply))),
        ..TaskInFlight::new(owed, stage, Room::unbounded())
    };
    (number, task)
}

fn reply(number: u64) -> ReplyTo {
    ReplyTo {
        client: "me".into(),
        number,
    }
}

fn claim(id: &str, attempt: u32) -> Record {
    let by = WorkerId::example(id);
    let serial = 1;
    Record::Claim(ClaimRecord {
        by,
        attempt,
        serial,
        answer_to: Some(format!("answer.{id}")),
    })
}

fn outcome() -> Record {
    Record::Outcome(OutcomeRecord {
        by: WorkerId::example("w1"),
        attempt: 1,
        body: OutcomeBody::Inline(ItemRuns::default()),
    })
}

fn once() -> TaskOptions {
    TaskOptions::new()
}
