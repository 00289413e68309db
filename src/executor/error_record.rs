//! A [`TaskError`] as data. Its fields are part of the public interface: the docs of `TaskError` list them.

use std::sync::Arc;
use std::time::Duration;

use serde::de::{Deserialize, Deserializer, Error};
use serde::ser::{Serialize, Serializer};

use super::error::{Cause, Death, ErrorOrigin, InitFailure, Rejection, Shortfall, TaskError};
use super::options::TaskName;
use crate::panic::PanicReport;
use crate::record::record;

/// The fields of all kinds of errors together.
#[derive(Default)]
struct TaskErrorRecord {
    task: String,
    kind: String,
    started: bool,
    limit: Option<Duration>,
    capacity: Option<usize>,
    refusal: Option<String>,
    reason: Option<String>,
    panic: Option<PanicReport>,
    death: Option<Death>,
    broken: bool,
    ready: Option<usize>,
    wanted: Option<usize>,
    index: Option<usize>,
    attempts: u32,
    host: Option<String>,
    worker: Option<String>,
    worker_name: Option<String>,
}

record!(TaskErrorRecord as "TaskError" {
    task,
    kind,
    started,
    limit = None,
    capacity = None,
    refusal = None,
    reason = None,
    panic = None,
    death = None,
    broken = false,
    ready = None,
    wanted = None,
    index = None,
    attempts = 1,
    host = None,
    worker = None,
    worker_name = None,
});

record!(Death as "WorkerDeath" {
    pid,
    exit_code = None,
    signal = None,
    stderr_tail = String::new(),
    out_of_memory = false,
    runs = 0,
    protocol = None,
    exit_discarded = false,
});

const KINDS: &[&str] = &[
    "cancelled",
    "panicked",
    "worker_lost",
    "timed_out",
    "rejected",
    "shutdown",
    "codec",
    "init_failed",
];

const REFUSALS: &[&str] = &[
    "queue_full",
    #[cfg(feature = "cluster")]
    "stream_full",
    "waited_too_long",
    "other_process",
    "invalid_setting",
];

impl From<&TaskError> for TaskErrorRecord {
    fn from(error: &TaskError) -> Self {
        let record = Self {
            task: error.task_name().to_owned(),
            kind: error.kind().to_owned(),
            started: error.was_started(),
            index: error.index(),
            attempts: error.attempts(),
            host: error.host().map(str::to_owned),
            worker: error.remote_worker().map(str::to_owned),
            worker_name: error.origin().and_then(|origin| origin.name.clone()),
            ..Self::default()
        };
        match error.cause().clone() {
            Cause::Cancelled | Cause::Shutdown => record,
            Cause::Panic(panic) => Self {
                panic: Some(panic),
                ..record
            },
            Cause::WorkerLost(death) => Self {
                death: Some(death),
                ..record
            },
            Cause::TimedOut { limit } => Self {
                limit: Some(limit),
                ..record
            },
            Cause::Rejected(rejection) => record.refused(rejection),
            Cause::Codec(reason) => Self {
                reason: Some(reason.into_owned()),
                ..record
            },
            Cause::InitFailed(failure) => Self {
                reason: Some(failure.reason),
                panic: failure.panic,
                death: failure.death,
                broken: failure.broken,
                ready: failure.shortfall.map(|shortfall| shortfall.ready),
                wanted: failure.shortfall.map(|shortfall| shortfall.wanted),
                ..record
            },
        }
    }
}

impl TaskErrorRecord {
    fn refused(mut self, rejection: Rejection) -> Self {
        let refusal = match rejection {
            Rejection::QueueFull { capacity } => {
                self.capacity = Some(capacity);
                "queue_full"
            }
            #[cfg(feature = "cluster")]
            Rejection::StreamFull(limit) => {
                self.reason = Some(limit.into_owned());
                "stream_full"
            }
            Rejection::WaitedTooLong { limit } => {
                self.limit = Some(limit);
                "waited_too_long"
            }
            Rejection::OtherProcess => "other_process",
            Rejection::InvalidSetting(setting) => {
                self.reason = Some(setting.into_owned());
                "invalid_setting"
            }
        };
        self.refusal = Some(refusal.to_owned());
        self
    }

    fn into_error<E: Error>(self) -> Result<TaskError, E> {
        let missing = E::missing_field;
        let cause = match &*self.kind {
            "cancelled" => Cause::Cancelled,
            "panicked" => Cause::Panic(self.panic.ok_or_else(|| missing("panic"))?),
            "worker_lost" => Cause::WorkerLost(self.death.ok_or_else(|| missing("death"))?),
            "timed_out" => Cause::TimedOut {
                limit: self.limit.ok_or_else(|| missing("limit"))?,
            },
            "rejected" => Cause::Rejected(match self.refusal.as_deref() {
                Some("queue_full") => Rejection::QueueFull {
                    capacity: self.capacity.ok_or_else(|| missing("capacity"))?,
                },
                #[cfg(feature = "cluster")]
                Some("stream_full") => {
                    Rejection::StreamFull(self.reason.ok_or_else(|| missing("reason"))?.into())
                }
                Some("waited_too_long") => Rejection::WaitedTooLong {
                    limit: self.limit.ok_or_else(|| missing("limit"))?,
                },
                Some("other_process") => Rejection::OtherProcess,
                Some("invalid_setting") => {
                    let setting = self.reason.ok_or_else(|| missing("reason"))?;
                    Rejection::InvalidSetting(setting.into())
                }
                Some(unknown) => return Err(E::unknown_variant(unknown, REFUSALS)),
                None => return Err(missing("refusal")),
            }),
            "shutdown" => Cause::Shutdown,
            "codec" => Cause::Codec(self.reason.ok_or_else(|| missing("reason"))?.into()),
            "init_failed" => Cause::InitFailed(InitFailure {
                reason: self.reason.ok_or_else(|| missing("reason"))?,
                panic: self.panic,
                death: self.death,
                broken: self.broken,
                shortfall: (self.ready.zip(self.wanted))
                    .map(|(ready, wanted)| Shortfall { ready, wanted }),
            }),
            unknown => return Err(E::unknown_variant(unknown, KINDS)),
        };
        let task = TaskName::Given(self.task.into());
        let error = TaskError::new(task, self.started, cause);
        let error = error.after(self.attempts.saturating_sub(1), self.started);
        let error = match self.host.zip(self.worker) {
            Some((host, worker)) => {
                let name = self.worker_name;
                error.of_worker(Arc::new(ErrorOrigin { host, worker, name }))
            }
            None => error,
        };
        Ok(match self.index {
            Some(index) => error.at(index),
            None => error,
        })
    }
}

impl Serialize for TaskError {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        TaskErrorRecord::from(self).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for TaskError {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        TaskErrorRecord::deserialize(deserializer)?.into_error()
    }
}

#[cfg(all(test, not(properties)))]
mod tests {
    use std::collections::BTreeSet;
    use std::error::Error as _;

    use super::*;
    use crate::panic::Location;
    use crate::wire::{Chain, codec};

    fn panic() -> PanicReport {
        PanicReport {
            message: "out of cheese".to_owned(),
            location: Some(Location::new("src/shop.rs", 12, 5)),
            backtrace: Some("0: main".to_owned()),
        }
    }

    fn death() -> Death {
        Death {
            pid: 4711,
            exit_code: None,
            signal: Some(9),
            exit_discarded: true,
            stderr_tail: "last words\n".to_owned(),
            out_of_memory: true,
            runs: 3,
            protocol: Some("a frame without an end".to_owned()),
        }
    }

    fn init_failure() -> InitFailure {
        InitFailure {
            reason: "the initializer".to_owned(),
            panic: Some(panic()),
            death: Some(death()),
            broken: true,
            shortfall: Some(Shortfall {
                ready: 2,
                wanted: 4,
            }),
        }
    }

    /// Each cause, in each of its forms.
    fn causes() -> Vec<Cause> {
        let limit = Duration::new(3, 5);
        let exited = Death {
            exit_code: Some(3),
            ..Death::default()
        };
        let bare = PanicReport {
            message: String::new(),
            location: None,
            backtrace: None,
        };
        vec![
            Cause::Cancelled,
            Cause::Panic(panic()),
            Cause::Panic(bare),
            Cause::WorkerLost(death()),
            Cause::WorkerLost(exited),
            Cause::WorkerLost(Death::default()),
            Cause::TimedOut { limit },
            Cause::TimedOut {
                limit: Duration::MAX,
            },
            Cause::Rejected(Rejection::QueueFull { capacity: 16 }),
            #[cfg(feature = "cluster")]
            Cause::Rejected(Rejection::StreamFull("maximum messages exceeded".into())),
            Cause::Rejected(Rejection::WaitedTooLong { limit }),
            Cause::Rejected(Rejection::OtherProcess),
            Cause::Rejected(Rejection::InvalidSetting("chunk_size is 0".into())),
            Cause::Shutdown,
            Cause::Codec("cannot be sent: no reason".into()),
            Cause::InitFailed(init_failure()),
            Cause::InitFailed(InitFailure::default()),
        ]
    }

    fn origin() -> Arc<ErrorOrigin> {
        Arc::new(ErrorOrigin {
            host: "db1.example".to_owned(),
            worker: "Kx3".to_owned(),
            name: Some("books".to_owned()),
        })
    }

    fn errors() -> impl Iterator<Item = TaskError> {
        let names = [
            TaskName::Function("shop::open"),
            TaskName::Given("open".into()),
        ];
        let names = names
            .into_iter()
            .flat_map(|name| [(name.clone(), false), (name, true)]);
        names.flat_map(|(name, started)| {
            causes()
                .into_iter()
                .map(move |cause| TaskError::new(name.clone(), started, cause))
                .flat_map(|error| [error.clone(), error.at(7)])
                .flat_map(|error| [error.clone(), error.after(2, true)])
                .flat_map(|error| [error.clone(), error.of_worker(origin())])
        })
    }

    /// Everything that a user can read from an error.
    fn answers(error: &TaskError) -> Vec<String> {
        let predicates = [
            error.is_cancelled(),
            error.is_panic(),
            error.is_worker_lost(),
            error.is_timeout(),
            error.is_rejected(),
            error.is_shutdown(),
            error.is_codec(),
            error.is_init_failed(),
            error.is_out_of_memory(),
            error.was_started(),
        ];
        vec![
            error.to_string(),
            format!("{error:?}"),
            format!("{predicates:?} {}", error.kind()),
            format!("{:?} {:?}", error.task_name(), error.index()),
            error.attempts().to_string(),
            format!("{:?} {:?}", error.host(), error.remote_worker()),
            format!("{:?}", error.source().map(ToString::to_string)),
            format!("{:?} {:?}", error.panic_message(), error.panic_location()),
            format!("{:?}", error.panic_backtrace()),
            format!("{:?} {:?}", error.exit_code(), error.signal()),
            format!("{:?} {:?}", error.worker_pid(), error.stderr_tail()),
        ]
    }

    #[test]
    fn an_error_answers_the_same_after_a_trip_to_another_process() {
        for error in errors() {
            let mut chain = Chain::new();
            codec::put(error.clone(), &mut chain).expect("the error encodes");
            let mut input = chain.into_reader();
            let again: TaskError = codec::get(&mut input).expect("the error decodes");
            assert_eq!(answers(&again), answers(&error));
        }
    }

    #[test]
    fn an_error_from_another_machine_names_host_worker_and_attempt() {
        let error = TaskError::new(TaskName::Given("open".into()), true, Cause::Panic(panic()));
        let text = error.after(1, true).of_worker(origin()).to_string();
        let expected = "task `open` (attempt 2) (host db1.example, worker books, id Kx3) panicked";
        assert!(text.starts_with(expected), "{text}");
    }

    struct Words {
        kind: String,
        refusal: Option<String>,
    }

    record!(Words as "TaskError" { kind, refusal });

    #[test]
    fn every_kind_and_every_refusal_is_in_the_list_of_its_words() {
        let words = errors().map(|error| -> Words {
            let bytes = rmp_serde::to_vec_named(&error).expect("the error encodes");
            rmp_serde::from_slice(&bytes).expect("the error decodes")
        });
        let words: Vec<Words> = words.collect();
        let kinds: BTreeSet<&str> = words.iter().map(|words| &*words.kind).collect();
        let refusals: BTreeSet<&str> = words
            .iter()
            .filter_map(|words| words.refusal.as_deref())
            .collect();
        assert_eq!(kinds, KINDS.iter().copied().collect());
        assert_eq!(refusals, REFUSALS.iter().copied().collect());
    }
}
