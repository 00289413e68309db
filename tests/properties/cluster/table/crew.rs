//! Workers: each claims tasks, starts, releases or forgets them, stores outcomes, and is stopped or killed at any step.

use super::servers::{Servers, Stored};
use super::*;
use crate::cluster::record::ClaimRecord;

const WORKERS: usize = 2;

#[derive(Debug)]
pub(super) struct Crew {
    workers: Vec<Member>,
    made: usize,
    outcomes: u64,
    /// The messages whose tasks have started.
    pub(super) started: HashSet<u64>,
}

#[derive(Debug)]
struct Member {
    id: WorkerId,
    stopped: Option<Instant>,
    held: Vec<Held>,
}

/// A task with a claim of this worker.
#[derive(Debug)]
struct Held {
    stored: Stored,
    claim: u64,
    attempt: u32,
    stage: Stage,
}

#[derive(Clone, Copy, Debug)]
enum Stage {
    Claimed,
    Running,
    /// Its message is gone, its outcome is not stored.
    Finished,
}

/// What a worker answers.
pub(super) enum Answer {
    Running,
    Unknown,
    NoResponder,
    Silence,
}

impl Crew {
    pub(super) fn new() -> Self {
        let mut crew = Self {
            workers: Vec::new(),
            made: 0,
            outcomes: 0,
            started: HashSet::new(),
        };
        (0..WORKERS).for_each(|_| crew.hire());
        crew
    }

    fn hire(&mut self) {
        self.made += 1;
        self.workers.push(Member {
            id: WorkerId::example(&format!("w{}", self.made)),
            stopped: None,
            held: Vec::new(),
        });
    }

    /// Kills a worker. Another one takes its place.
    pub(super) fn kill(&mut self, script: &mut Script<'_>) {
        self.workers.remove(script.below(WORKERS));
        self.hire();
    }

    /// Stops a worker, or lets it continue.
    pub(super) fn stop(&mut self, script: &mut Script<'_>, now: Instant) {
        let member = &mut self.workers[script.below(WORKERS)];
        member.stopped = match member.stopped {
            None => Some(now),
            Some(_) => None,
        };
    }

    pub(super) fn resume_all(&mut self) {
        self.workers
            .iter_mut()
            .for_each(|member| member.stopped = None);
    }

    pub(super) fn dismiss_all(&mut self) {
        self.workers.clear();
    }

    pub(super) fn ask(&self, id: &str, reply: &ReplyTo) -> Answer {
        match self.workers.iter().find(|member| member.id.id == id) {
            None => Answer::NoResponder,
            Some(Member {
                stopped: Some(_), ..
            }) => Answer::Silence,
            Some(member) => match member.held.iter().any(|held| held.stored.reply == *reply) {
                true => Answer::Running,
                false => Answer::Unknown,
            },
        }
    }

    pub(super) fn len(&self) -> usize {
        self.workers.len()
    }

    /// A worker does something.
    pub(super) fn step(
        &mut self,
        index: usize,
        servers: &mut Servers,
        script: &mut Script<'_>,
        now: Instant,
    ) {
        if self.workers[index].stopped.is_some() {
            return;
        }
        let held = self.workers[index].held.len();
        match script.below(held + 1) {
            at if at < held && !script.fails(4) => self.advance(index, at, servers, script, now),
            _ => self.pull(index, servers, script, now),
        }
    }

    /// All workers do all that they can.
    pub(super) fn work_off(
        &mut self,
        servers: &mut Servers,
        script: &mut Script<'_>,
        now: Instant,
    ) {
        for index in 0..self.workers.len() {
            while !self.workers[index].held.is_empty() {
                self.advance(index, 0, servers, script, now);
            }
            for _ in 0..servers.messages.len() {
                self.pull(index, servers, script, now);
            }
        }
    }

    /// Takes the next message that no other worker has, as its record says.
    fn pull(&mut self, index: usize, servers: &mut Servers, script: &mut Script<'_>, now: Instant) {
        let waiting = |stored: &&Stored| stored.gone.is_none() && !self.is_held(stored, now);
        let waiting: Vec<&Stored> = servers.messages.iter().filter(waiting).collect();
        if waiting.is_empty() {
            return;
        }
        let stored = waiting[script.below(waiting.len())].clone();
        let (expected, attempt) = match servers.latest(&stored.reply) {
            None => (0, 1),
            Some((seq, Record::Released { attempt })) => (seq, *attempt),
            // Its worker is lost.
            Some((seq, Record::Claim(claim))) if claim.attempt > stored.retries => {
                let (by, attempt) = (claim.by.clone(), claim.attempt);
                let outcome = self.outcome(by, attempt);
                servers.swap(&stored.reply, seq, outcome, now);
                return finish(&stored, servers, now);
            }
            Some((seq, Record::Claim(claim))) => (seq, claim.attempt + 1),
            Some((_, Record::Outcome(_) | Record::Cancelled(_))) => {
                return finish(&stored, servers, now);
            }
        };
        let member = &mut self.workers[index];
        let by = member.id.clone();
        let serial = 1;
        let claim = Record::Claim(ClaimRecord {
            by,
            attempt,
            serial,
            answer_to: Some(stored.reply.to_string()),
        });
        let claim = servers
            .swap(&stored.reply, expected, claim, now)
            .expect("it was read just now");
        member.held.push(Held {
            stored,
            claim,
            attempt,
            stage: Stage::Claimed,
        });
    }

    /// Whether another worker has it, and is not silent for too long.
    fn is_held(&self, stored: &Stored, now: Instant) -> bool {
        let has = |member: &Member| {
            let is_silent =
                |since: Instant| now.saturating_duration_since(since) >= TERMS.lost_after;
            let is_its = |held: &Held| held.stored.seq == stored.seq;
            member.held.iter().any(is_its) && !member.stopped.is_some_and(is_silent)
        };
        self.workers.iter().any(has)
    }

    fn advance(
        &mut self,
        index: usize,
        at: usize,
        servers: &mut Servers,
        script: &mut Script<'_>,
        now: Instant,
    ) {
        let member = &mut self.workers[index];
        let mut held = member.held.remove(at);
        let by = member.id.clone();
        match held.stage {
            Stage::Claimed if script.fails(4) => {
                let attempt = held.attempt;
                servers.swap(
                    &held.stored.reply,
                    held.claim,
                    Record::Released { attempt },
                    now,
                );
                return;
            }
            Stage::Claimed => {
                self.started.insert(held.stored.number);
                held.stage = Stage::Running;
            }
            Stage::Running if script.fails(9) => return, // The worker forgets it.
            Stage::Running if held.attempt <= held.stored.retries => {
                let outcome = self.outcome(by, held.attempt);
                servers.swap(&held.stored.reply, held.claim, outcome, now);
                return finish(&held.stored, servers, now);
            }
            Stage::Running => {
                finish(&held.stored, servers, now);
                held.stage = Stage::Finished;
            }
            Stage::Finished => {
                let outcome = self.outcome(by, held.attempt);
                servers.swap(&held.stored.reply, held.claim, outcome, now);
                return;
            }
        }
        self.workers[index].held.push(held);
    }

    /// An outcome that no other task has.
    fn outcome(&mut self, by: WorkerId, attempt: u32) -> Record {
        self.outcomes += 1;
        let runs = ItemRuns {
            nanos: self.outcomes,
            ..ItemRuns::default()
        };
        let body = OutcomeBody::Inline(runs);
        Record::Outcome(OutcomeRecord { by, attempt, body })
    }
}

/// Removes the message and the payload of a task.
fn finish(stored: &Stored, servers: &mut Servers, now: Instant) {
    servers.delete(stored.seq, false, now);
    if let Some(object) = &stored.object {
        servers.objects.remove(object);
    }
}
