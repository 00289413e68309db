//! [`StartFailure`]: a start that failed, and what it means for the next one.

use super::error::StartError;
use crate::executor::error::{Death, InitFailure};
use crate::process::verdict::death;

/// Why a process could not be made ready.
#[derive(Debug)]
pub(in crate::process) struct StartFailure {
    pub(in crate::process) error: StartError,
    /// How the process ended, if there was one.
    pub(in crate::process) death: Option<Death>,
}

/// What a failed start says about the next one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::process) enum FailureKind {
    /// The system refused something. It refuses this to every start for now, and may grant it later.
    Refused,
    /// The process ended or was not ready in time.
    Lost,
    /// Every start would fail in the same way.
    Permanent,
}

impl StartFailure {
    pub(in crate::process) fn kind(&self) -> FailureKind {
        match self.error {
            StartError::System { .. } => FailureKind::Refused,
            StartError::TimedOut(_)
            | StartError::SentNothing
            | StartError::Ended
            | StartError::ForkServerDied { .. }
            | StartError::Closed => FailureKind::Lost,
            StartError::UserCode(..)
            | StartError::ForkServerLost
            | StartError::OtherVersion(_)
            | StartError::OtherBuild
            | StartError::Garbage(_) => FailureKind::Permanent,
        }
    }

    /// The report for callers that wait for the process.
    pub(in crate::process) fn into_report(self) -> Box<InitFailure> {
        let reason = self.error.to_string();
        let (death, panic) = match self.error {
            StartError::ForkServerDied {
                pid,
                exit,
                stderr_tail,
                ..
            } => (Some(death(pid, exit, stderr_tail, u64::MAX)), None),
            // The process ended by itself.
            StartError::SentNothing | StartError::Ended => (self.death, None),
            StartError::UserCode(_, Err(panic)) => (None, Some(panic)),
            _ => (None, None),
        };
        Box::new(InitFailure {
            reason,
            death,
            panic,
            ..InitFailure::default()
        })
    }
}

/// A failure without a process.
impl From<StartError> for StartFailure {
    fn from(error: StartError) -> Self {
        Self { error, death: None }
    }
}

#[cfg(all(test, not(properties)))]
mod tests {
    use std::io;
    use std::time::Duration;

    use super::*;
    use crate::sys::Exit;

    #[test]
    fn a_start_failure_is_permanent_if_the_program_caused_it_and_not_if_the_system_refused() {
        let refused = io::ErrorKind::OutOfMemory.into();
        for (error, kind) in [
            (
                StartError::UserCode("preload", Ok("no".to_owned())),
                FailureKind::Permanent,
            ),
            (StartError::OtherBuild, FailureKind::Permanent),
            (StartError::ForkServerLost, FailureKind::Permanent),
            (
                StartError::system("fork a process")(refused),
                FailureKind::Refused,
            ),
            (StartError::TimedOut(Duration::ZERO), FailureKind::Lost),
            (StartError::SentNothing, FailureKind::Lost),
        ] {
            assert_eq!(StartFailure::from(error).kind(), kind);
        }
    }

    #[test]
    fn the_end_of_a_fork_server_is_reported_as_that_of_a_worker() {
        let exit = Exit {
            code: Some(7),
            ..Exit::default()
        };
        let error = StartError::ForkServerDied {
            pid: 12,
            exit,
            sent_nothing: false,
            stderr_tail: "out of luck".to_owned(),
        };
        let report = StartFailure::from(error).into_report();
        let death = report.death.expect("the process has ended");
        assert_eq!((death.pid, death.exit_code), (12, Some(7)));
        assert_eq!(death.stderr_tail, "out of luck");
        assert!(report.panic.is_none() && !report.broken);
    }
}
