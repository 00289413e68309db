//! One task with its message and its record, and workers that are killed, stopped and disconnected at every step. Reads
//! and refusals may be old, answers are lost, outcomes expire. The rules under test are [`ClaimRules`] and
//! [`explain_conflict`].

use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::*;
use crate::cluster::script::Script;
use crate::cluster::swap::{Conflict, explain_conflict};

const LOST_AFTER: Duration = Duration::from_secs(10);
const RESULT_TTL: Duration = Duration::from_secs(10);
/// How long after its pull a worker may claim a task that has no record.
const FRESH: Duration = Duration::from_secs(8);
const WORKERS: usize = 3;

/// A record that was written, with the number of the write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Written {
    Claim {
        worker: u32,
        attempt: u32,
        write: u32,
    },
    Released {
        attempt: u32,
        write: u32,
    },
    Outcome {
        expires: bool,
        write: u32,
    },
}

/// The servers.
#[derive(Debug, Default)]
struct Servers {
    /// All records that were stored, with their sequences. `None`: it has expired.
    history: Vec<(Seq, Option<Written>)>,
    /// When the latest record was stored.
    stored: Option<Instant>,
    sequence: Seq,
    /// The message of the task is removed.
    is_finished: bool,
    deliveries: u64,
}

/// A write without an answer. It is repeated until the worker knows whether it was stored.
#[derive(Clone, Copy, Debug)]
struct Write {
    expected: Seq,
    body: Written,
}

/// What a worker does next.
#[derive(Debug)]
enum Stage {
    Idle,
    Claims {
        fresh_until: Instant,
        rules: ClaimRules,
        step: ClaimStep,
        found: Found,
        write: Option<Write>,
    },
    Runs {
        claim: Seq,
        attempt: u32,
    },
    /// Removes the message, then stores the outcome.
    FinishThenStore {
        claim: Seq,
    },
    Store {
        claim: Seq,
        then_finish: bool,
        write: Option<Write>,
    },
    /// Writes that another worker is lost.
    Lose {
        claim: Seq,
        write: Option<Write>,
    },
    /// Removes the message, then lets the record expire.
    Retire {
        record: Option<Seq>,
    },
    Expire {
        record: Seq,
        write: Option<Write>,
    },
    Release {
        claim: Seq,
        attempt: u32,
        write: Option<Write>,
    },
}

#[derive(Debug)]
struct Worker {
    id: u32,
    stage: Stage,
}

struct World<'a> {
    script: Script<'a>,
    servers: Servers,
    workers: Vec<Worker>,
    retries: u32,
    now: Instant,
    writes: u32,
    ids: u32,
    starts: u32,
}

impl Servers {
    fn latest(&self) -> (Seq, Option<Written>) {
        match self.history.last() {
            Some((seq, Some(written))) => (*seq, Some(*written)),
            _ => (0, None),
        }
    }

    /// The answer of a replica without the last `behind` changes.
    fn read(&self, behind: usize) -> Option<(Seq, Written)> {
        let index = self.history.len().checked_sub(1 + behind)?;
        let (seq, written) = self.history[index];
        Some((seq, written?))
    }

    fn swap(&mut self, write: Write, now: Instant) -> Result<Seq, Seq> {
        let (latest, _) = self.latest();
        if latest != write.expected {
            return Err(latest);
        }
        self.sequence += 1;
        self.stored = Some(now);
        self.history.push((self.sequence, Some(write.body)));
        Ok(self.sequence)
    }

    fn expire(&mut self, now: Instant) {
        let is_old = self.stored.is_some_and(|stored| stored + RESULT_TTL <= now);
        if is_old && let (_, Some(Written::Outcome { expires: true, .. })) = self.latest() {
            self.history.push((self.sequence, None));
        }
    }
}

/// What the worker knows about a write.
enum WriteEnd {
    Yes(Seq),
    Other(Seq, Written),
    NotYet,
}

impl World<'_> {
    fn write(&mut self, write: Write) -> WriteEnd {
        let swapped = self.servers.swap(write, self.now);
        if self.script.fails(4) {
            return WriteEnd::NotYet; // The answer is lost.
        }
        let latest = match swapped {
            Ok(seq) => return WriteEnd::Yes(seq),
            // A former leader answers with an older record.
            Err(latest) if self.script.fails(4) => {
                let behind = self.script.below(3);
                let old = self.servers.read(behind).map_or(0, |(seq, _)| seq);
                old.min(latest)
            }
            Err(latest) => latest,
        };
        let found = self.read();
        let seen = found.map(|(seq, body)| (seq, body == write.body));
        match (explain_conflict(write.expected, latest, seen), found) {
            (Conflict::OwnWrite(seq), _) => WriteEnd::Yes(seq),
            (Conflict::OtherWriter, Some((seq, body))) => WriteEnd::Other(seq, body),
            _ => WriteEnd::NotYet,
        }
    }

    fn read(&mut self) -> Option<(Seq, Written)> {
        let behind = match self.script.fails(3) {
            true => self.script.below(4),
            false => 0,
        };
        self.servers.read(behind)
    }

    fn body(&mut self) -> u32 {
        self.writes += 1;
        self.writes
    }

    /// A worker takes its next step, or is killed.
    fn turn(&mut self) {
        let index = self.script.below(WORKERS);
        self.now += Duration::from_millis(100);
        if self.script.fails(11) {
            self.now += RESULT_TTL; // All workers and servers are away for longer than a record lives.
        }
        self.servers.expire(self.now);
        if self.script.fails(17) {
            self.kill(index);
        } else {
            self.step(index);
        }
    }

    fn kill(&mut self, index: usize) {
        self.ids += 1;
        self.workers[index] = Worker {
            id: self.ids,
            stage: Stage::Idle,
        };
    }

    /// Asks a worker, which may be disconnected.
    fn ask(&mut self, worker: u32, asker: u32) -> Reply {
        if worker == asker {
            return Reply::Unknown;
        }
        if self.script.fails(5) {
            return Reply::Silence;
        }
        if self.script.fails(7) {
            return Reply::NoResponder;
        }
        match self.workers.iter().find(|other| other.id == worker) {
            None => Reply::NoResponder,
            Some(Worker {
                stage: Stage::Idle, ..
            }) => Reply::Unknown,
            Some(_) => Reply::Running,
        }
    }

    fn step(&mut self, index: usize) {
        let id = self.workers[index].id;
        let stage = std::mem::replace(&mut self.workers[index].stage, Stage::Idle);
        let next = self.after(id, stage);
        self.workers[index].stage = next;
    }

    fn after(&mut self, id: u32, stage: Stage) -> Stage {
        match stage {
            Stage::Idle => self.deliver(),
            Stage::Claims {
                fresh_until,
                rules,
                step,
                found,
                write,
            } => self.claim(id, fresh_until, rules, step, found, write),
            Stage::Runs { claim, attempt } => {
                self.starts += 1;
                if self.script.fails(9) {
                    return Stage::Idle; // The worker has dropped the task.
                }
                match may_run_again(attempt, self.retries) {
                    true => Stage::Store {
                        claim,
                        then_finish: true,
                        write: None,
                    },
                    false => Stage::FinishThenStore { claim },
                }
            }
            Stage::FinishThenStore { claim } => {
                self.servers.is_finished = true;
                Stage::Store {
                    claim,
                    then_finish: false,
                    write: None,
                }
            }
            Stage::Store {
                claim,
                then_finish,
                write,
            } => {
                let write = write.unwrap_or_else(|| Write {
                    expected: claim,
                    body: Written::Outcome {
                        expires: !then_finish,
                        write: self.body(),
                    },
                });
                match self.write(write) {
                    WriteEnd::Yes(record) => match then_finish {
                        true => Stage::Retire {
                            record: Some(record),
                        },
                        false => Stage::Idle,
                    },
                    WriteEnd::Other(..) => Stage::Idle,
                    WriteEnd::NotYet if self.servers.latest().0 == 0 => Stage::Idle, // It no longer exists.
                    WriteEnd::NotYet => Stage::Store {
                        claim,
                        then_finish,
                        write: Some(write),
                    },
                }
            }
            Stage::Lose { claim, write } => {
                let write = write.unwrap_or_else(|| Write {
                    expected: claim,
                    body: Written::Outcome {
                        expires: false,
                        write: self.body(),
                    },
                });
                match self.write(write) {
                    WriteEnd::Yes(seq) => Stage::Retire { record: Some(seq) },
                    WriteEnd::Other(..) => Stage::Idle,
                    WriteEnd::NotYet => Stage::Lose {
                        claim,
                        write: Some(write),
                    },
                }
            }
            Stage::Retire { record } => {
                self.servers.is_finished = true;
                record.map_or(Stage::Idle, |record| Stage::Expire {
                    record,
                    write: None,
                })
            }
            Stage::Expire { record, write } => {
                let write = write.unwrap_or_else(|| Write {
                    expected: record,
                    body: Written::Outcome {
                        expires: true,
                        write: self.body(),
                    },
                });
                match self.write(write) {
                    WriteEnd::Yes(_) | WriteEnd::Other(..) => Stage::Idle,
                    WriteEnd::NotYet if self.servers.latest().0 == 0 => Stage::Idle,
                    WriteEnd::NotYet => Stage::Expire {
                        record,
                        write: Some(write),
                    },
                }
            }
            Stage::Release {
                claim,
                attempt,
                write,
            } => {
                let write = write.unwrap_or_else(|| Write {
                    expected: claim,
                    body: Written::Released {
                        attempt,
                        write: self.body(),
                    },
                });
                match self.write(write) {
                    WriteEnd::NotYet => Stage::Release {
                        claim,
                        attempt,
                        write: Some(write),
                    },
                    _ => Stage::Idle,
                }
            }
        }
    }

    fn deliver(&mut self) -> Stage {
        if self.servers.is_finished {
            return Stage::Idle;
        }
        self.servers.deliveries += 1;
        let delivered = match self.script.fails(4) {
            true => 1, // A server that was killed has lost its count.
            false => self.servers.deliveries,
        };
        let rules = ClaimRules::new(delivered, self.retries, LOST_AFTER);
        let step = rules.first_step();
        let fresh_until = self.now + FRESH;
        Stage::Claims {
            fresh_until,
            rules,
            step,
            found: Found::Nothing,
            write: None,
        }
    }

    fn claim(
        &mut self,
        id: u32,
        fresh_until: Instant,
        mut rules: ClaimRules,
        step: ClaimStep,
        mut found: Found,
        write: Option<Write>,
    ) -> Stage {
        let step = match step {
            ClaimStep::Claim { expected: 0, .. } if self.now > fresh_until => return Stage::Idle,
            ClaimStep::Claim { expected, attempt } => {
                let write = write.unwrap_or_else(|| Write {
                    expected,
                    body: Written::Claim {
                        worker: id,
                        attempt,
                        write: self.body(),
                    },
                });
                match self.write(write) {
                    WriteEnd::Yes(claim) if self.script.fails(8) => {
                        return Stage::Release {
                            claim,
                            attempt,
                            write: None,
                        };
                    }
                    WriteEnd::Yes(claim) => return Stage::Runs { claim, attempt },
                    WriteEnd::Other(seq, body) => {
                        found = found_in(Some((seq, body)));
                        rules.on_record(&found, self.now)
                    }
                    WriteEnd::NotYet if expected > 0 && self.servers.latest().0 == 0 => {
                        found = Found::Nothing;
                        rules.on_record(&found, self.now)
                    }
                    WriteEnd::NotYet => {
                        let step = ClaimStep::Claim { expected, attempt };
                        return Stage::Claims {
                            fresh_until,
                            rules,
                            step,
                            found,
                            write: Some(write),
                        };
                    }
                }
            }
            ClaimStep::Read => {
                found = found_in(self.read());
                rules.on_record(&found, self.now)
            }
            ClaimStep::Ask { worker, after } => {
                self.now += after;
                let reply = self.ask(worker.parse().expect("a number"), id);
                let reconnected = Some(self.now - Duration::from_secs(5));
                rules.on_reply(&found, reply, reconnected, self.now)
            }
            // The record has a TTL, or its writer ended before it could write one.
            ClaimStep::Finish => {
                let record = match self.servers.latest() {
                    (seq, Some(Written::Outcome { expires: false, .. })) => Some(seq),
                    _ => None,
                };
                return Stage::Retire { record };
            }
            ClaimStep::GiveBack => return Stage::Idle,
            ClaimStep::WriteLoss { expected, .. } => {
                return Stage::Lose {
                    claim: expected,
                    write: None,
                };
            }
        };
        Stage::Claims {
            fresh_until,
            rules,
            step,
            found,
            write: None,
        }
    }
}

fn found_in(record: Option<(Seq, Written)>) -> Found {
    match record {
        None => Found::Nothing,
        Some((
            seq,
            Written::Claim {
                worker, attempt, ..
            },
        )) => {
            let worker = worker.to_string();
            Found::Claimed {
                seq,
                attempt,
                worker,
            }
        }
        Some((seq, Written::Released { attempt, .. })) => Found::Released { seq, attempt },
        Some((_, Written::Outcome { .. })) => Found::Ended,
    }
}

/// Plays a script. Returns how often the task started, and whether its client can report how it ended.
fn play(script: &[u8], retries: u32) -> (u32, bool) {
    let workers = (0..WORKERS as u32).map(|id| Worker {
        id,
        stage: Stage::Idle,
    });
    let mut world = World {
        script: Script::new(script),
        servers: Servers::default(),
        workers: workers.collect(),
        retries,
        now: Instant::now() + Duration::from_secs(3600),
        writes: 0,
        ids: WORKERS as u32,
        starts: 0,
    };
    while !world.script.is_over() {
        world.turn();
    }
    // Now nothing fails.
    for _ in 0..1000 {
        (0..WORKERS).for_each(|index| world.step(index));
        world.now += Duration::from_secs(1);
    }
    assert!(
        world.servers.is_finished,
        "the message still exists: {:?}",
        world.workers
    );
    let was_stored =
        |(_, body): &(Seq, Option<Written>)| matches!(body, Some(Written::Outcome { .. }));
    let has_outcome = world.servers.history.iter().any(was_stored);
    // A worker that was killed before it stored the outcome has left its claim, so the client reports the worker's
    // loss.
    let has_claim = matches!(world.servers.latest(), (_, Some(Written::Claim { .. })));
    (world.starts, has_outcome || has_claim)
}

proptest! {
    #![proptest_config(crate::common::cases(5000))]

    #[test]
    fn no_order_of_kills_stops_stale_reads_and_lost_answers_starts_a_task_too_often(
        script in prop::collection::vec(any::<u8>(), 0..400),
        retries in 0..3_u32,
    ) {
        let (starts, is_decided) = play(&script, retries);
        prop_assert!(starts <= retries + 1, "{} starts", starts);
        prop_assert!(is_decided);
    }
}
