//! Those who submit tasks. Each item of a task is answered once, and the answer is true.

use std::sync::{LazyLock, Mutex, PoisonError};

use super::crew::Crew;
use super::servers::Servers;
use super::*;
use crate::cluster::client::in_flight::TaskInFlight;
use crate::executor::context::Wanted;
use crate::executor::error::TaskError;
use crate::executor::promise::Promise;
use crate::executor::served::PromiseEncoded;
use crate::wire::outcomes::Values;

const MOST_OPEN: usize = 5;

static LISTED: LazyLock<Functions> = LazyLock::new(|| Functions::new().add("root", u64::isqrt));

/// Which answer an item has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Answer {
    /// The outcome with this number.
    Outcome(u64),
    Failed {
        started: bool,
    },
}

/// The caller of a ticket.
struct Caller {
    ticket: Ticket,
    answers: Mutex<Vec<Option<Answer>>>,
}

/// A message of a ticket.
#[derive(Clone)]
struct Part {
    number: u64,
    reply: ReplyTo,
    is_reattached: bool,
    ended: Option<How>,
}

/// How a message ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum How {
    Outcome,
    Lost,
    /// It does not run: no server has it, or its record says so.
    NotRun,
    Undecided,
    NotFound,
    Abandoned,
}

struct Handle {
    caller: Arc<Caller>,
    items: u32,
    parts: Vec<Part>,
}

#[derive(Default)]
pub(super) struct Callers(BTreeMap<u64, Handle>);

impl Caller {
    fn answer(&self, item: u32, answer: Answer) {
        let mut answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        let before = answers[item as usize].replace(answer);
        assert_eq!(before, None, "item {item} has two answers");
    }

    fn answers(&self) -> Vec<Option<Answer>> {
        self.answers
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

impl Wanted for Caller {
    fn is_wanted(&self, _key: u64) -> bool {
        true
    }

    fn report(&self, _key: u64, _done: u64, _total: u64) {}
}

impl Promise for Caller {
    fn ticket(&self) -> &Ticket {
        &self.ticket
    }

    fn fail(&self, item: u32, error: TaskError) {
        let started = error.was_started();
        self.answer(item, Answer::Failed { started });
    }
}

impl PromiseEncoded for Caller {
    fn fulfil_encoded(&self, _values: Values) {}

    fn takes_bytes(&self) -> bool {
        false
    }
}

impl World<'_> {
    /// A caller submits a task, or the two parts of a chunk.
    pub(super) fn submit(&mut self) {
        if self.table.tasks.len() >= MOST_OPEN {
            return;
        }
        let mut options = TaskOptions::new().retries(self.script.below(3) as u32);
        let limit = [None, None, Some(500), Some(3000)][self.script.below(4)];
        if let Some(millis) = limit {
            options = options.queue_timeout(Duration::from_millis(millis));
        }
        let (parts, id) = match self.script.below(6) {
            0 => (2, None),
            1 => (1, Some(self.script.below(2))),
            _ => (1, None),
        };
        let is_large = self.script.below(5) == 4;
        let expires = options.queue_timeout.map(|limit| self.now + limit);
        let items = 1 + self.script.below(2) as u32;
        let shared = id.map(|id| ReplyTo {
            client: format!("~{id}").into(),
            number: 0,
        });
        let stage = SendStage::Unsent { first: None };
        let function = LISTED.entry("root").expect("it is listed");
        for mut task in self.callers.open(options, parts, items, shared, false) {
            let number = self.callers.number_of(&task);
            task.stage = stage.clone();
            task.content = Some(Box::new(TaskContent {
                function: function.clone(),
                payload: ContentPayload::Here(bytes::Bytes::new()),
            }));
            self.table.insert(number, task, is_large, expires, self.now);
        }
        self.settle();
    }

    /// A handle of a task that was submitted before.
    pub(super) fn reattach(&mut self) {
        let parts = self.callers.0.values().flat_map(|handle| &handle.parts);
        let replies: Vec<ReplyTo> = parts.map(|part| part.reply.clone()).collect();
        if replies.is_empty() || self.table.tasks.len() >= MOST_OPEN {
            return;
        }
        let reply = replies[self.script.below(replies.len())].clone();
        let is_it = |stored: &&servers::Stored| stored.reply == reply;
        let seq = match self.script.fails(2) {
            true => None,
            false => self
                .servers
                .messages
                .iter()
                .find(is_it)
                .map(|stored| stored.seq),
        };
        for mut task in self
            .callers
            .open(TaskOptions::new(), 1, 1, Some(reply.clone()), true)
        {
            task.stage = SendStage::Stored { seq };
            task.pause = Duration::from_secs(60);
            let number = self.callers.number_of(&task);
            self.table.insert(number, task, false, None, self.now);
        }
        self.settle();
    }

    pub(super) fn abort(&mut self) {
        let open: Vec<u64> = self.callers.open_tickets();
        if let Some(ticket) = open.get(self.script.below(open.len().max(1))) {
            self.table.abort(*ticket, self.now);
            self.settle();
        }
    }

    pub(super) fn abort_all(&mut self) {
        for ticket in self.callers.open_tickets() {
            self.table.abort(ticket, self.now);
        }
        self.settle();
    }

    /// Passes on what callers get.
    pub(super) fn settle(&mut self) {
        let Completions {
            ended, undecided, ..
        } = self.table.take_completions();
        undecided
            .into_iter()
            .for_each(|owed| owed.cancel_rest(true));
        for (task, end) in ended {
            self.callers.end(task, end, &self.servers);
        }
    }
}

impl Callers {
    /// The messages of a new ticket.
    fn open(
        &mut self,
        options: TaskOptions,
        parts: u32,
        items: u32,
        shared: Option<ReplyTo>,
        is_reattached: bool,
    ) -> Vec<TaskInFlight> {
        let ticket = Ticket::new("root", Some(Arc::new(options)));
        let id = ticket.id();
        let answers = vec![None; (parts * items) as usize];
        let caller = Arc::new(Caller {
            ticket,
            answers: Mutex::new(answers),
        });
        let mut handle = Handle {
            caller: caller.clone(),
            items,
            parts: Vec::new(),
        };
        let tasks = (0..parts).map(|part| {
            let number = numbers_of(id).start() + u64::from(part);
            let own = ReplyTo {
                client: "me".into(),
                number,
            };
            handle.parts.push(Part {
                number,
                reply: shared.clone().unwrap_or(own),
                is_reattached,
                ended: None,
            });
            let owed = Owed::new(caller.clone(), part * items..(part + 1) * items);
            let owed = owed.map(|promise| promise as Arc<dyn PromiseEncoded>);
            let reply = shared.clone().map(|reply| {
                Box::new(SharedReply {
                    reply,
                    _subscription: None,
                })
            });
            let stage = SendStage::Unsent { first: None };
            TaskInFlight {
                base: part * items,
                reply,
                ..TaskInFlight::new(owed, stage, Room::unbounded())
            }
        });
        let tasks = tasks.collect();
        self.0.insert(id, handle);
        tasks
    }

    fn number_of(&self, task: &TaskInFlight) -> u64 {
        let ticket = task.ticket().id();
        let part = task.base / self.0[&ticket].items;
        numbers_of(ticket).start() + u64::from(part)
    }

    fn open_tickets(&self) -> Vec<u64> {
        let is_open =
            |(_, handle): &(&u64, &Handle)| handle.parts.iter().any(|part| part.ended.is_none());
        self.0
            .iter()
            .filter(is_open)
            .map(|(ticket, _)| *ticket)
            .collect()
    }

    /// As the client settles a task.
    fn end(&mut self, mut task: TaskInFlight, end: End, servers: &Servers) {
        let number = self.number_of(&task);
        let handle = self
            .0
            .get_mut(&task.ticket().id())
            .expect("it was submitted");
        let index = (number - handle.parts[0].number) as usize;
        let part = &mut handle.parts[index];
        let has_started = end.has_started(&task);
        let how = match end {
            End::Outcome(outcome) => {
                let nanos = nanos_of(&outcome);
                let latest = servers.latest(&part.reply);
                let is_it = matches!(latest, Some((_, Record::Outcome(latest))) if nanos_of(latest) == nanos);
                assert!(
                    is_it,
                    "task {number} has outcome {nanos}, and its record is {latest:?}"
                );
                let items = task.owed.next()..task.owed.next() + task.owed.remaining();
                task.owed.take_until(items.end);
                items.for_each(|item| handle.caller.answer(item, Answer::Outcome(nanos)));
                How::Outcome
            }
            End::Lost { .. } => How::Lost,
            End::Cancelled | End::Expired { .. } | End::Refused(_) => How::NotRun,
            End::Undecided(_) | End::Unreadable(_) => How::Undecided,
            End::NotFound => How::NotFound,
            End::Abandoned => How::Abandoned,
        };
        let error = task.ticket().error(has_started, Cause::Cancelled);
        while task.owed.remaining() > 0 {
            task.owed
                .answer_next(|promise, item| promise.fail(item, error.clone()));
        }
        assert_eq!(part.ended.replace(how), None, "task {number} ends twice");
    }

    /// Whether all answers were true, once everything has ended.
    pub(super) fn check(&self, servers: &Servers, crew: &Crew, link: &Link, finish: Finish) {
        for handle in self.0.values() {
            let answers = handle.caller.answers();
            for (index, part) in handle.parts.iter().enumerate() {
                let first = index * handle.items as usize;
                let answers = &answers[first..first + handle.items as usize];
                part.check(answers, servers, crew);
            }
        }
        if let Finish::CancelAll = finish {
            self.check_stream(servers, link);
        }
        if let Finish::Calm | Finish::CancelAll = finish {
            self.check_payloads(servers);
        }
    }

    fn part(&self, number: u64) -> &Part {
        let ticket = number >> PART_BITS;
        let of_it = |part: &&Part| part.number == number;
        let part = self.0[&ticket].parts.iter().find(of_it);
        part.expect("it was submitted")
    }

    /// The client itself removes the messages of cancelled tasks.
    fn check_stream(&self, servers: &Servers, link: &Link) {
        let is_left = |stored: &&servers::Stored| {
            let latest = servers.latest(&stored.reply);
            stored.gone.is_none() && matches!(latest, Some((_, Record::Cancelled(_))))
        };
        for stored in servers.messages.iter().filter(is_left) {
            if *stored.reply.client != *"me" {
                continue; // Several messages may have one deduplication id.
            }
            // The answer to one publish may pass for that to another, which is lost. A worker removes the message.
            if link.is_repeated_and_lost(stored.number) {
                continue;
            }
            let how = self.part(stored.number).ended;
            assert!(
                how == Some(How::Undecided) || link.lost_deletions.contains(&stored.seq),
                "task {} ended {how:?}, and its message is left",
                stored.number
            );
        }
    }

    /// No payload is left of a task that is decided.
    fn check_payloads(&self, servers: &Servers) {
        for object in &servers.objects {
            let number = object.trim_start_matches('o').parse().expect("a number");
            let part = self.part(number);
            let is_decided = match part.ended {
                // A loss that another handle has written is the outcome.
                Some(How::Outcome) => match servers.latest(&part.reply) {
                    Some((_, Record::Outcome(outcome))) => nanos_of(outcome) > 0,
                    _ => true,
                },
                how => matches!(how, Some(How::Lost | How::NotRun)),
            };
            assert!(
                !is_decided || *part.reply.client != *"me",
                "task {number} ended {:?}, and its payload is left",
                part.ended
            );
        }
    }
}

impl Part {
    fn check(&self, answers: &[Option<Answer>], servers: &Servers, crew: &Crew) {
        let number = self.number;
        let ended = self
            .ended
            .unwrap_or_else(|| panic!("task {number} has not ended"));
        let is_same = answers.iter().all(|answer| *answer == answers[0]);
        let answer = answers[0].unwrap_or_else(|| panic!("task {number} has no answer"));
        assert!(is_same, "task {number}: {answers:?}");
        let of_it = |stored: &&servers::Stored| match self.is_reattached {
            true => stored.reply == self.reply,
            false => stored.number == number,
        };
        let messages: Vec<_> = servers.messages.iter().filter(of_it).collect();
        if let Answer::Failed { started: false } = answer {
            let has_started = messages
                .iter()
                .any(|stored| crew.started.contains(&stored.number));
            assert!(
                !has_started,
                "task {number} has started, and its answer denies it: {ended:?}"
            );
        }
        let Some((_, Record::Outcome(outcome))) = servers.latest(&self.reply) else {
            assert!(
                ended != How::Outcome,
                "task {number} has an outcome that is not stored"
            );
            return;
        };
        match (ended, answer) {
            (How::Outcome, Answer::Outcome(nanos)) => assert_eq!(nanos, nanos_of(outcome)),
            // The loss is the outcome.
            (How::Lost, _) => assert_eq!(nanos_of(outcome), 0),
            // The caller did not wait for it.
            (How::Outcome | How::Undecided | How::Abandoned, Answer::Failed { started }) => {
                assert!(started)
            }
            // Another handle's message was run for it, or it was reattached before that was stored.
            (How::NotRun | How::NotFound, _) if messages.is_empty() || self.is_reattached => {}
            _ => panic!(
                "task {number} ended {ended:?} with {answer:?}, and has the outcome {outcome:?}"
            ),
        }
    }
}

fn nanos_of(outcome: &OutcomeRecord) -> u64 {
    match &outcome.body {
        OutcomeBody::Inline(runs) => runs.nanos,
        OutcomeBody::Object { .. } => 0,
    }
}
