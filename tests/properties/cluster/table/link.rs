//! The connection. Requests on their way, and their answers, are lost when it breaks, or one by one. Requests of a
//! client without a connection are sent by the next one. Jobs are repeated until they are done.

use super::crew::Answer as WorkerAnswer;
use super::*;
use crate::cluster::client::in_flight::MessagePlace;
use crate::cluster::publish_answer::{
    DUPLICATE_IN_PROCESS, STORE_FAILED, TOO_MANY_REQUESTS, WRITE_IN_PROCESS, WRONG_LAST_SEQUENCE,
};

/// How many tasks are published at a time.
const BATCH: usize = 64;

/// A refusal of a server that has no memory left. It precedes the search for a duplicate.
const NO_MEMORY: u64 = 10023;

#[derive(Default)]
pub(super) struct Link {
    pub(super) is_up: bool,
    /// The client does not know yet that the connection is new.
    is_new: bool,
    pub(super) has_stream: bool,
    /// The server refuses writes of records.
    pub(super) is_forbidden: bool,
    requests: VecDeque<Request>,
    answers: VecDeque<Answer>,
    jobs: VecDeque<Job>,
    questions: u64,
    /// The messages whose deletion was lost.
    pub(super) lost_deletions: HashSet<u64>,
    /// How often each task was published, and how often the answer was lost.
    publishes: HashMap<u64, (u32, u32)>,
}

enum Request {
    Publish(Outgoing),
    Swap {
        number: u64,
        reply: ReplyTo,
        expected: u64,
        by: CancelRecord,
    },
    Delete(u64),
    Read {
        question: u64,
        replies: Vec<ReplyTo>,
    },
    Ask {
        number: u64,
        worker: Arc<WorkerId>,
        reply: ReplyTo,
    },
    Look {
        number: u64,
        seq: u64,
    },
}

enum Answer {
    Published(u64, Option<PublishAnswer>),
    Swapped(u64, PublishAnswer),
    Unwritable(ReplyTo),
    Read(u64, Vec<(ReplyTo, u64, Record)>),
    Asked(u64, WorkerAnswer),
    Missing(u64),
}

enum Job {
    Upload(u64),
    Discard(String),
    Find {
        number: u64,
        reply: ReplyTo,
        found: Option<Option<u64>>,
    },
    Retire {
        reply: ReplyTo,
        place: MessagePlace,
        record: u64,
        body: Record,
    },
    WriteLoss(LossToWrite),
    LossWritten(LossToWrite, Option<(u64, Record)>),
}

impl Link {
    pub(super) fn new() -> Self {
        Self {
            is_up: true,
            has_stream: true,
            ..Self::default()
        }
    }

    pub(super) fn is_repeated_and_lost(&self, number: u64) -> bool {
        matches!(self.publishes.get(&number), Some((2.., 1..)))
    }

    fn lose(&mut self, answer: Option<Answer>) {
        if let Some(Answer::Published(number, _)) = answer {
            self.publishes.entry(number).or_default().1 += 1;
        }
    }

    pub(super) fn has_work(&self) -> bool {
        !self.requests.is_empty() || !self.answers.is_empty() || !self.jobs.is_empty()
    }
}

impl World<'_> {
    pub(super) fn connect(&mut self) {
        self.link.is_new |= !self.link.is_up;
        self.link.is_up = true;
    }

    /// The connection breaks, or is there again.
    pub(super) fn switch_link(&mut self) {
        if !self.link.is_up {
            return self.connect();
        }
        let arrive = self.script.below(self.link.requests.len() + 1);
        let requests = std::mem::take(&mut self.link.requests);
        for (index, request) in requests.into_iter().enumerate() {
            match request {
                _ if index < arrive => {
                    let answer = self.answer_to(request);
                    self.link.lose(answer);
                }
                Request::Delete(seq) => drop(self.link.lost_deletions.insert(seq)),
                _ => {}
            }
        }
        self.link.is_up = false;
        for answer in std::mem::take(&mut self.link.answers) {
            self.link.lose(Some(answer));
        }
        self.link
            .jobs
            .retain(|job| !matches!(job, Job::Find { .. }));
        self.servers.news.clear();
    }

    /// The client notes that the connection is new.
    pub(super) fn note_connection(&mut self) {
        if self.link.is_up && std::mem::take(&mut self.link.is_new) {
            self.questions.clear();
            self.table.reconnected(self.now);
            self.settle();
        }
    }

    /// The client sends what it has to send.
    pub(super) fn publish(&mut self) {
        for action in self.table.take_actions() {
            self.send(action);
        }
        for task in self.table.take_unsent(BATCH, self.now, self.link.is_up) {
            self.link.publishes.entry(task.number).or_default().0 += 1;
            self.link.requests.push_back(Request::Publish(task));
        }
        self.settle();
    }

    fn send(&mut self, action: Action) {
        let request = match action {
            Action::UploadPayload(number) => return self.link.jobs.push_back(Job::Upload(number)),
            Action::DeletePayload { object } => {
                return self.link.jobs.push_back(Job::Discard(object));
            }
            Action::RetireRecord(retirement) => {
                return self.link.jobs.push_back(Job::Retire {
                    reply: retirement.reply,
                    place: retirement.place,
                    record: retirement.record,
                    body: Record::Cancelled(retirement.cancelled),
                });
            }
            Action::WriteLoss(loss) if self.table.get(loss.number).is_some() => {
                return self.link.jobs.push_back(Job::WriteLoss(loss));
            }
            Action::WriteLoss(_) => return self.table.retired(),
            Action::FindMessage { number, reply } => {
                let found = None;
                return self.link.jobs.push_back(Job::Find {
                    number,
                    reply,
                    found,
                });
            }
            Action::CancelAtWorker { .. } => return, // The worker is free to ignore it.
            Action::Redeliver { .. } => return,      // The servers deliver it again in any case.
            Action::WriteCancel {
                number,
                reply,
                expected,
                by,
            } => Request::Swap {
                number,
                reply,
                expected,
                by,
            },
            Action::DeleteMessage { seq } => Request::Delete(seq),
            Action::ReadRecords(tasks) => {
                self.link.questions += 1;
                let question = self.link.questions;
                let replies = tasks.iter().map(|(_, reply)| reply.clone()).collect();
                self.questions.read(question, tasks, self.now);
                Request::Read { question, replies }
            }
            Action::AskWorker {
                worker,
                number,
                reply,
            } => {
                self.questions.ask(number, worker.clone(), self.now);
                Request::Ask {
                    number,
                    worker,
                    reply,
                }
            }
            Action::CheckMessage { number, seq } => Request::Look { number, seq },
        };
        self.link.requests.push_back(request);
    }

    /// A request arrives at the server.
    pub(super) fn serve(&mut self) {
        if !self.link.is_up {
            return;
        }
        let Some(request) = self.link.requests.pop_front() else {
            return;
        };
        if self.script.fails(13) {
            if let Request::Delete(seq) = request {
                self.link.lost_deletions.insert(seq);
            }
            return;
        }
        let answer = self.answer_to(request);
        match self.script.fails(11) {
            true => self.link.lose(answer),
            false => self.link.answers.extend(answer),
        }
    }

    fn answer_to(&mut self, request: Request) -> Option<Answer> {
        let now = self.now;
        let refused = |code| PublishAnswer::Refused {
            code,
            description: String::new(),
        };
        Some(match request {
            Request::Publish(task) => Answer::Published(task.number, self.store(&task)),
            Request::Swap { reply, .. } if self.link.is_forbidden && self.script.fails(4) => {
                Answer::Unwritable(reply)
            }
            Request::Swap { number, .. } if self.script.fails(12) => {
                Answer::Swapped(number, refused(WRITE_IN_PROCESS))
            }
            Request::Swap {
                number,
                reply,
                expected,
                by,
            } => {
                let stored = self
                    .servers
                    .swap(&reply, expected, Record::Cancelled(by), now);
                let is_duplicate = false;
                let stored = stored.map(|seq| PublishAnswer::Stored { seq, is_duplicate });
                Answer::Swapped(number, stored.unwrap_or(refused(WRONG_LAST_SEQUENCE)))
            }
            Request::Delete(seq) => {
                self.servers.delete(seq, false, now);
                return None;
            }
            Request::Read { question, replies } => {
                let is_behind = self.script.fails(4);
                // The answer has each subject once.
                let replies: HashSet<ReplyTo> = replies.into_iter().collect();
                let records = replies.into_iter().filter_map(|reply| {
                    let (seq, record) = self.servers.read(&reply, is_behind, now)?;
                    Some((reply, seq, record))
                });
                Answer::Read(question, records.collect())
            }
            Request::Ask {
                number,
                worker,
                reply,
            } => Answer::Asked(number, self.crew.ask(&worker.id, &reply)),
            Request::Look { number, seq } => {
                let is_behind = self.script.fails(4);
                match self.servers.has(seq, is_behind, now) {
                    true => return None,
                    false => Answer::Missing(number),
                }
            }
        })
    }

    fn store(&mut self, task: &Outgoing) -> Option<PublishAnswer> {
        if !self.link.has_stream {
            return None;
        }
        let is_known = self.servers.is_known(&task.message.reply, self.now);
        let codes: &[u64] = match is_known {
            true => &[DUPLICATE_IN_PROCESS, TOO_MANY_REQUESTS, NO_MEMORY],
            false => &[TOO_MANY_REQUESTS, STORE_FAILED, NO_MEMORY],
        };
        if self.script.fails(9) {
            let code = codes[self.script.below(codes.len())];
            let description = "no".to_owned();
            return Some(PublishAnswer::Refused { code, description });
        }
        Some(self.servers.publish(task.number, &task.message, self.now))
    }

    /// An answer arrives at the client.
    pub(super) fn hear_answer(&mut self) {
        let Some(answer) = self.link.answers.pop_front() else {
            return;
        };
        let now = self.now;
        match answer {
            Answer::Published(number, Some(answer)) => self.table.answered(number, answer, now),
            Answer::Published(number, None) => self.table.no_stream(number, now),
            Answer::Swapped(number, answer) => self.table.swapped(number, &answer),
            Answer::Unwritable(reply) => self.table.unwritable(&reply, "no"),
            Answer::Missing(number) => self.table.found(number, None, now),
            Answer::Read(question, records) => {
                for (reply, seq, record) in records {
                    self.questions.record(question, &reply);
                    self.table.record(&reply, seq, record, now);
                }
                for (number, asked) in self.questions.end_read(question) {
                    self.table.no_record(number, asked);
                }
            }
            Answer::Asked(_, WorkerAnswer::Silence) => {}
            Answer::Asked(number, answer) => {
                if let Some(worker) = self.questions.end_ask(number) {
                    match answer {
                        WorkerAnswer::NoResponder => self.table.worker_absent(number, &worker, now),
                        WorkerAnswer::Running => self.table.worker_answered(&worker.id),
                        WorkerAnswer::Unknown => {
                            self.table.worker_answered(&worker.id);
                            self.table.not_running(number);
                        }
                        WorkerAnswer::Silence => {}
                    }
                }
            }
        }
        self.settle();
    }

    /// A notification about a record arrives, or is lost.
    pub(super) fn hear_record(&mut self) {
        if let Some((reply, seq, record)) = self.servers.news.pop_front()
            && self.link.is_up
            && !self.script.fails(6)
        {
            self.table.record(&reply, seq, record, self.now);
            self.settle();
        }
    }

    /// The next step of a job.
    pub(super) fn do_job(&mut self) {
        if !self.link.is_up {
            return;
        }
        let Some(job) = self.link.jobs.pop_front() else {
            return;
        };
        let next = self.after(job);
        self.link.jobs.extend(next);
        self.settle();
    }

    fn after(&mut self, job: Job) -> Option<Job> {
        let now = self.now;
        match job {
            Job::Upload(number) if self.table.get(number).is_none() => None,
            Job::Upload(number) => {
                if self.script.fails(5) {
                    self.table.uploaded(number, Err(Cause::Shutdown));
                    return None;
                }
                let object = format!("o{number}");
                self.servers.objects.insert(object.clone());
                let is_wanted = self.table.uploaded(number, Ok((object.clone(), 7)));
                (!is_wanted).then_some(Job::Discard(object))
            }
            Job::Discard(object) => {
                self.servers.objects.remove(&object);
                None
            }
            Job::Find {
                number,
                reply,
                found: None,
            } => {
                let is_behind = self.script.fails(4);
                let found = Some(self.servers.find(&reply, is_behind, now));
                Some(Job::Find {
                    number,
                    reply,
                    found,
                })
            }
            Job::Find {
                number,
                found: Some(found),
                ..
            } => {
                self.table.found(number, found, now);
                None
            }
            Job::Retire {
                reply,
                place,
                record,
                body,
            } => {
                let place = match place {
                    MessagePlace::Unknown => {
                        let found = self.servers.find(&reply, false, now);
                        found.map_or(MessagePlace::NotInStream, MessagePlace::At)
                    }
                    MessagePlace::At(seq) => {
                        self.servers.delete(seq, false, now);
                        MessagePlace::NotInStream
                    }
                    MessagePlace::NotInStream => {
                        self.servers.swap(&reply, record, body, now);
                        self.table.retired();
                        return None;
                    }
                };
                Some(Job::Retire {
                    reply,
                    place,
                    record,
                    body,
                })
            }
            Job::WriteLoss(loss) => {
                let body = OutcomeBody::Inline(ItemRuns::default());
                let (by, attempt) = (loss.by.as_ref().clone(), loss.attempt);
                let body = Record::Outcome(OutcomeRecord { by, attempt, body });
                let seq = self
                    .servers
                    .swap(&loss.reply, loss.expected, body.clone(), now);
                Some(Job::LossWritten(loss, seq.map(|seq| (seq, body))))
            }
            Job::LossWritten(loss, None) => {
                self.table.loss_not_written(loss.number);
                self.table.retired();
                None
            }
            Job::LossWritten(loss, Some((record, body))) => {
                self.table.loss_written(loss.number);
                let LossToWrite { reply, place, .. } = loss;
                Some(Job::Retire {
                    reply,
                    place,
                    record,
                    body,
                })
            }
        }
    }
}
