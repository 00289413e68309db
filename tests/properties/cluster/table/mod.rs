//! The client's table of tasks in every order of events: callers that submit, cancel and shut down, a connection that
//! breaks and loses messages, replicas that are behind, workers that are killed and stopped, and time that jumps. The
//! rules under test are those of [`Table`] and [`Questions`]; what the background tasks of a client do for it is here.
//!
//! - [`servers`]: the streams; [`crew`]: the workers;
//! - [`link`]: the connection, and what the client sends by it;
//! - [`callers`]: what callers get, and whether it is true.

mod callers;
mod crew;
mod link;
mod servers;

use std::collections::HashSet;

use proptest::prelude::{Just, any, prop, prop_oneof, proptest};

use self::callers::Callers;
use self::crew::Crew;
use self::link::Link;
use self::servers::Servers;
use super::*;
use crate::cluster::client::in_flight::{ContentPayload, SharedReply, TaskContent};
use crate::cluster::client::questions::Questions;
use crate::cluster::functions::Functions;
use crate::cluster::publish_answer::PublishAnswer;
use crate::cluster::record::{
    CancelRecord, ItemRuns, OutcomeBody, OutcomeRecord, Record, WorkerId,
};
use crate::cluster::script::Script;
use crate::cluster::task_message::{TaskMessage, TaskPayload};
use crate::executor::error::Cause;
use crate::executor::options::TaskOptions;
use crate::executor::promise::{Owed, Ticket};
use crate::executor::room::Room;

const TERMS: TableTerms = TableTerms {
    duplicate_window: Duration::from_secs(120),
    no_stream: Duration::from_secs(10),
    lost_after: Duration::from_secs(30),
    result_ttl: Duration::from_secs(600),
};

/// How long all tasks may take once everything works.
const BOUND: Duration = Duration::from_secs(300);

struct World<'a> {
    script: Script<'a>,
    now: Instant,
    table: Table,
    questions: Questions,
    link: Link,
    servers: Servers,
    crew: Crew,
    callers: Callers,
}

impl<'a> World<'a> {
    fn new(script: &'a [u8]) -> Self {
        Self {
            script: Script::new(script),
            now: Instant::now() + Duration::from_secs(3600),
            table: Table::new("me".into(), TERMS),
            questions: Questions::default(),
            link: Link::new(),
            servers: Servers::default(),
            crew: Crew::new(),
            callers: Callers::default(),
        }
    }

    /// Something happens.
    fn turn(&mut self) {
        if !self.script.fails(3) {
            self.note_connection();
        }
        self.now += Duration::from_millis(1 + self.script.below(20) as u64);
        match self.script.below(32) {
            0..4 => self.submit(),
            4..6 => self.abort(),
            6..11 => self.publish(),
            11..15 => self.serve(),
            15..18 => self.hear_answer(),
            18..21 => self.hear_record(),
            21..23 => self.do_job(),
            23..27 => self.work(),
            27 => self.on_time(),
            28 => self.jump(),
            29 => self.switch_link(),
            30 => self.disturb_workers(),
            _ => self.meddle(),
        }
    }

    fn work(&mut self) {
        let index = self.script.below(self.crew.len());
        let Self {
            crew,
            servers,
            script,
            now,
            ..
        } = self;
        crew.step(index, servers, script, *now);
    }

    fn disturb_workers(&mut self) {
        match self.script.below(2) {
            0 => self.crew.kill(&mut self.script),
            _ => self.crew.stop(&mut self.script, self.now),
        }
    }

    fn on_time(&mut self) {
        let late = self.questions.expire(self.now);
        if self.link.is_up {
            late.iter()
                .for_each(|worker| self.table.worker_silent(worker, self.now));
        }
        self.table.on_timer(self.now, self.link.is_up);
        self.settle();
    }

    /// Nothing happens for some time, in which no message is on its way.
    fn jump(&mut self) {
        self.rest();
        let millis = [250, 1000, 2500, 6000, 31_000, 130_000];
        self.now += Duration::from_millis(millis[self.script.below(millis.len())]);
        self.on_time();
    }

    /// Rare events.
    fn meddle(&mut self) {
        match self.script.below(6) {
            0 => self.table.check_all(self.now),
            1 => self.table.cancel_waiting(self.now),
            2 => self.reattach(),
            3 => self.purge(),
            4 => self.link.is_forbidden = true, // To write records.
            _ => self.link.has_stream = !self.link.has_stream,
        }
        self.settle();
    }

    /// A message is deleted by hand.
    fn purge(&mut self) {
        let waits = |stored: &&servers::Stored| {
            stored.gone.is_none() && self.servers.latest(&stored.reply).is_none()
        };
        let waiting: Vec<u64> = (self.servers.messages.iter().filter(waits))
            .map(|stored| stored.seq)
            .collect();
        if let Some(seq) = waiting.get(self.script.below(waiting.len().max(1))) {
            self.servers.delete(*seq, true, self.now);
        }
    }

    /// From now on all goes well. Ends once nothing is left to do.
    fn calm(&mut self) {
        self.script = Script::new(&[]);
        self.link.is_forbidden = false;
        self.link.has_stream = true;
        self.crew.resume_all();
        self.connect();
        let until = self.now + BOUND;
        loop {
            self.rest();
            self.crew
                .work_off(&mut self.servers, &mut self.script, self.now);
            self.rest();
            if self.table.is_empty() && !self.table.is_retiring() && self.table.orphans.is_empty() {
                return;
            }
            let next = self.table.next_due();
            let next = next.unwrap_or_else(|| {
                panic!(
                    "nothing is due, and it has not ended: {:?}",
                    self.table.tasks
                )
            });
            assert!(next <= until, "it takes too long: {:?}", self.table.tasks);
            self.now = self.now.max(next);
            self.on_time();
        }
    }

    /// All messages arrive, and all workers do what they can.
    fn rest(&mut self) {
        self.note_connection();
        for _ in 0..3 {
            self.publish();
            while self.link.is_up && self.link.has_work() {
                self.serve();
                self.hear_answer();
                self.do_job();
                self.publish();
            }
            while self.link.is_up && !self.servers.news.is_empty() {
                self.hear_record();
            }
        }
    }

    fn assert_nothing_is_left(&self) {
        let Table {
            tasks,
            shared,
            unsent,
            unanswered,
            orphans,
            retirements,
            actions,
            silent,
            ..
        } = &self.table;
        assert!(tasks.is_empty() && shared.is_empty() && orphans.is_empty() && silent.is_empty());
        assert!(
            unsent.is_empty() && actions.is_empty(),
            "{unsent:?} {actions:?}"
        );
        assert_eq!((*unanswered, *retirements), (0, 0));
        assert_eq!(
            (
                self.table.items,
                self.table.claimed_items,
                self.table.cancelling_items
            ),
            (0, 0, 0)
        );
        assert_eq!(self.table.next_due(), None);
    }
}

/// How a script ends.
#[derive(Clone, Copy, Debug)]
enum Finish {
    /// Everything works.
    Calm,
    /// Everything works, but there are no workers, and all tasks are cancelled.
    CancelAll,
    /// The client is shut down at once.
    Abandon,
}

fn play(script: &[u8], finish: Finish) {
    let mut world = World::new(script);
    while !world.script.is_over() {
        world.turn();
    }
    match finish {
        Finish::Calm => {}
        Finish::CancelAll => {
            world.crew.dismiss_all();
            world.abort_all();
        }
        Finish::Abandon => {
            world.table.cancel_waiting(world.now);
            world.table.abandon(world.now);
            world.settle();
        }
    }
    world.calm();
    world.assert_nothing_is_left();
    world
        .callers
        .check(&world.servers, &world.crew, &world.link, finish);
}

proptest! {
    #![proptest_config(crate::common::cases(20_000))]

    #[test]
    fn in_every_order_of_events_each_task_has_one_true_outcome_and_nothing_is_left(
        script in prop::collection::vec(any::<u8>(), 0..250),
        finish in prop_oneof![Just(Finish::Calm), Just(Finish::CancelAll), Just(Finish::Abandon)],
    ) {
        play(&script, finish);
    }
}
