//! The errors of a start.

use std::borrow::Cow;
use std::fmt;
use std::io;
use std::time::Duration;

use crate::panic::PanicReport;
use crate::sys::Exit;
use crate::wire::identity::VERSION;

/// A hint for a process that does not serve as a worker.
const IS_INIT_FIRST: &str = "if that always happens, call concurrent_futures::init() first in main";

/// A process did not become a worker.
#[derive(Debug)]
pub(in crate::process) enum StartError {
    System {
        doing: Cow<'static, str>,
        error: io::Error,
    },
    TimedOut(Duration),
    /// It ended, or closed the connection, before it sent anything.
    SentNothing,
    /// It ended, or closed the connection, before it was ready.
    Ended,
    Garbage(String),
    OtherVersion(u16),
    OtherBuild,
    /// The initializer or the preload returned an error or panicked.
    UserCode(&'static str, Result<String, PanicReport>),
    /// The fork server ended before it was ready.
    ForkServerDied {
        pid: u32,
        exit: Exit,
        sent_nothing: bool,
        stderr_tail: String,
    },
    /// The fork server has ended and cannot be replaced.
    ForkServerLost,
    /// The pool was shut down.
    Closed,
}

impl StartError {
    pub(in crate::process) fn system(doing: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |error| Self::System {
            doing: doing.into(),
            error,
        }
    }
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::System { doing, error } => write!(f, "the system refused to {doing}: {error}"),
            Self::TimedOut(limit) => write!(
                f,
                "a process was not ready within {limit:?} and was killed; \
                 raise `spawn_timeout` if its initializer, or the preload, needs longer"
            ),
            Self::SentNothing => write!(f, "a process ended before it sent anything; {IS_INIT_FIRST}"),
            Self::Ended => f.write_str("a process ended before it was ready"),
            Self::Garbage(text) => {
                let start: String = text.chars().take(200).collect();
                write!(
                    f,
                    "a process wrote {start:?} instead of a worker's greeting; \
                     call concurrent_futures::init() first in main"
                )
            }
            Self::OtherVersion(version) => write!(
                f,
                "a process uses version {version} of the protocol, and this one version {}; \
                 both must be the same build",
                VERSION
            ),
            Self::OtherBuild => f.write_str(
                "a process runs another build of the executable than this one; restart this program",
            ),
            Self::UserCode(_, Ok(reason)) => f.write_str(reason),
            Self::UserCode(what, Err(_)) => write!(f, "the {what}"),
            Self::ForkServerDied { sent_nothing, .. } => {
                f.write_str("the fork server ended before it was ready")?;
                if *sent_nothing {
                    write!(f, "; {IS_INIT_FIRST}")?;
                }
                Ok(())
            }
            Self::ForkServerLost => f.write_str(
                "the fork server has ended, and with StartMethod::Fork it cannot be replaced; \
                 build a new pool, or use StartMethod::ForkServer",
            ),
            Self::Closed => f.write_str("the pool was shut down"),
        }
    }
}
